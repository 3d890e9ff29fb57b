//! Q3_K: 256 weights in 16 sub-blocks, each with a 6-bit scale.
//!
//! ```text
//! w[i] = d · (s[j] − 32) · (q[i] − 4)
//!
//! third bits of q 32 bytes, low bits of q 64 bytes, s 12 bytes, d f16    110 bytes, 3.4375 bits
//! ```
//!
//! The low bits of q lie as in Q2_K, its third bits as the fifth bits of Q5_K. Of s, byte b of
//! the first 8 holds the low halves of s[b] and s[b + 8]; byte b of the last 4 the two high bits
//! of s[b + 4k], for k in 0..4, lowest first.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, put_bytes, put_f16};
use crate::k_fields::{add_high_bits, high_bits, join_pairs, split_pairs};

pub(crate) struct Q3K;

impl Coded<256, 110> for Q3K {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 16,
        bits: 3,
        value: CodeValue::Offset(4),
        has_mins: false,
        sub_scale_min: -32,
        sub_scale_max: 31,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 110], out: &mut Unpacked) {
        let scales: &[u8; 12] = bytes_at(block, 96);
        out.scale = f16_at(block, 108);
        out.clear_mins();
        for (j, sub_scale) in out.sub_scales.iter_mut().enumerate() {
            let low = scales[j % 8] >> (j / 8 * 4) & 15;
            let high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
            *sub_scale = (low | high << 4) as i8 - 32;
        }
        split_pairs(bytes_at(block, 32), &mut out.codes);
        add_high_bits(bytes_at(block, 0), 2, &mut out.codes);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 110]) {
        let mut scales = [0; 12];
        for (j, &sub_scale) in fields.sub_scales.iter().enumerate() {
            let sub_scale = (sub_scale + 32) as u8;
            scales[j % 8] |= (sub_scale & 15) << (j / 8 * 4);
            scales[8 + j % 4] |= sub_scale >> 4 << (j / 4 * 2);
        }
        put_bytes(block, 0, high_bits(&fields.codes, 2));
        put_bytes(block, 32, join_pairs(&fields.codes, 0));
        put_bytes(block, 96, scales);
        put_f16(block, 108, fields.scale);
    }
}
