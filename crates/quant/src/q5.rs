//! Q5_0 and Q5_1: Q4_0 and Q4_1 with a fifth bit for each weight, kept apart.
//!
//! ```text
//! Q5_0    w[i] = d · (q[i] − 16)   d f16, h 4 bytes, q 16 bytes         22 bytes, 5.5 bits
//! Q5_1    w[i] = d · q[i] + m      d f16, m f16, h 4 bytes, q 16 bytes  24 bytes, 6 bits
//! ```
//!
//! Bit i of h is the fifth bit of weight i.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked, bytes_at, f16_at, split_nibbles};

pub(crate) struct Q5_0;
pub(crate) struct Q5_1;

impl Coded<32, 22> for Q5_0 {
    const LAYOUT: CodeLayout =
        CodeLayout { sub_len: 32, bits: 5, value: CodeValue::Offset(16), has_mins: false };

    #[inline(always)]
    fn unpack(block: &[u8; 22], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.clear_mins();
        join_codes(bytes_at(block, 2), bytes_at(block, 6), out);
    }
}

impl Coded<32, 24> for Q5_1 {
    const LAYOUT: CodeLayout =
        CodeLayout { sub_len: 32, bits: 5, value: CodeValue::Offset(0), has_mins: true };

    #[inline(always)]
    fn unpack(block: &[u8; 24], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.min = -f16_at(block, 2);
        out.sub_mins[0] = 1;
        join_codes(bytes_at(block, 4), bytes_at(block, 8), out);
    }
}

#[inline(always)]
fn join_codes(high: &[u8; 4], low: &[u8; 16], out: &mut Unpacked) {
    split_nibbles(low, &mut out.codes[..32]);
    for (codes, high) in out.codes[..32].chunks_exact_mut(8).zip(high) {
        for (bit, code) in codes.iter_mut().enumerate() {
            *code |= (high >> bit & 1) << 4;
        }
    }
}
