//! Q6_K: 256 weights in 16 sub-blocks, each with an 8-bit scale.
//!
//! ```text
//! w[i] = d · s[j] · (q[i] − 32)
//!
//! low bits of q 128 bytes, high pairs of q 64 bytes, s 16 × i8, d f16    210 bytes, 6.5625 bits
//! ```
//!
//! Byte l of half h of the low bits holds weight 128h + l in its low half and 128h + 64 + l in
//! its high half. The high pairs lie as the codes of Q2_K.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, put_bytes, put_f16};
use crate::k_fields::{join_nibble_runs, join_pairs, split_nibble_runs, split_pairs};

pub(crate) struct Q6K;

impl Coded<256, 210> for Q6K {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 16,
        bits: 6,
        value: CodeValue::Offset(32),
        has_mins: false,
        sub_scale_min: -128,
        sub_scale_max: 127,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 210], out: &mut Unpacked) {
        let scales: &[u8; 16] = bytes_at(block, 192);
        out.scale = f16_at(block, 208);
        out.sub_scales = scales.map(|byte| byte as i8);
        out.clear_mins();
        split_nibble_runs::<64>(bytes_at(block, 0), &mut out.codes);
        let mut pairs = [0; 256];
        split_pairs(bytes_at(block, 128), &mut pairs);
        for (code, pair) in out.codes.iter_mut().zip(pairs) {
            *code |= pair << 4;
        }
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 210]) {
        join_nibble_runs::<64>(&fields.codes, &mut block[..128]);
        put_bytes(block, 128, join_pairs(&fields.codes, 4));
        put_bytes(block, 192, fields.sub_scales.map(|sub_scale| sub_scale as u8));
        put_f16(block, 208, fields.scale);
    }
}
