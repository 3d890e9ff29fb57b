//! Q5_0 and Q5_1: Q4_0 and Q4_1 with a fifth bit for each weight, kept apart.
//!
//! ```text
//! Q5_0    w[i] = d · (q[i] − 16)   d f16, h 4 bytes, q 16 bytes         22 bytes, 5.5 bits
//! Q5_1    w[i] = d · q[i] + m      d f16, m f16, h 4 bytes, q 16 bytes  24 bytes, 6 bits
//! ```
//!
//! Bit i of h is the fifth bit of weight i.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, join_nibbles, put_bytes, put_f16, split_nibbles};

pub(crate) struct Q5_0;
pub(crate) struct Q5_1;

impl Coded<32, 22> for Q5_0 {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 5,
        value: CodeValue::Offset(16),
        has_mins: false,
        sub_scale_min: 1,
        sub_scale_max: 1,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 22], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.clear_mins();
        join_codes(bytes_at(block, 2), bytes_at(block, 6), out);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 22]) {
        put_f16(block, 0, fields.scale);
        put_bytes(block, 2, fifth_bits(fields));
        join_nibbles(&fields.codes[..32], &mut block[6..]);
    }
}

impl Coded<32, 24> for Q5_1 {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 5,
        value: CodeValue::Offset(0),
        has_mins: true,
        sub_scale_min: 1,
        sub_scale_max: 1,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 24], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.min = -f16_at(block, 2);
        out.sub_mins[0] = 1;
        join_codes(bytes_at(block, 4), bytes_at(block, 8), out);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 24]) {
        put_f16(block, 0, fields.scale);
        put_f16(block, 2, -fields.min);
        put_bytes(block, 4, fifth_bits(fields));
        join_nibbles(&fields.codes[..32], &mut block[8..]);
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

#[inline(always)]
fn fifth_bits(fields: &Unpacked) -> [u8; 4] {
    let codes = &fields.codes;
    std::array::from_fn(|l| (0..8).fold(0, |byte, bit| byte | (codes[8 * l + bit] >> 4) << bit))
}
