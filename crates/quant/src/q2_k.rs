//! Q2_K: 256 weights in 16 sub-blocks, each with a 4-bit scale and a 4-bit min.
//!
//! ```text
//! w[i] = d · s[j] · q[i] − dmin · m[j]
//!
//! s, m 16 bytes (s low, m high), q 64 bytes, d f16, dmin f16    84 bytes, 2.625 bits
//! ```
//!
//! Byte l of half h of q holds the weights 128h + 32k + l, for k in 0..4, lowest bits first.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, put_bytes, put_f16};
use crate::k_fields::{join_pairs, split_pairs};

pub(crate) struct Q2K;

impl Coded<256, 84> for Q2K {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 16,
        bits: 2,
        value: CodeValue::Offset(0),
        has_mins: true,
        sub_scale_min: 0,
        sub_scale_max: 15,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 84], out: &mut Unpacked) {
        let scales: &[u8; 16] = bytes_at(block, 0);
        out.scale = f16_at(block, 80);
        out.min = f16_at(block, 82);
        out.sub_scales = scales.map(|byte| (byte & 15) as i8);
        out.sub_mins = scales.map(|byte| byte >> 4);
        split_pairs(bytes_at(block, 16), &mut out.codes);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 84]) {
        for (j, byte) in block[..16].iter_mut().enumerate() {
            *byte = fields.sub_scales[j] as u8 | fields.sub_mins[j] << 4;
        }
        put_bytes(block, 16, join_pairs(&fields.codes, 0));
        put_f16(block, 80, fields.scale);
        put_f16(block, 82, fields.min);
    }
}
