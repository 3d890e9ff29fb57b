//! Q5_K: Q4_K with a fifth bit for each weight, kept apart.
//!
//! ```text
//! w[i] = d · s[j] · q[i] − dmin · m[j]
//!
//! d f16, dmin f16, s and m 12 bytes, fifth bits of q 32 bytes, low bits of q 128 bytes
//! 176 bytes, 5.5 bits
//! ```
//!
//! Bit k of byte l of the fifth bits belongs to weight 32k + l.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, put_bytes, put_f16};
use crate::k_fields::{
    add_high_bits, high_bits, join_nibble_runs, pack_sub_fields, split_nibble_runs,
    unpack_sub_fields,
};

pub(crate) struct Q5K;

impl Coded<256, 176> for Q5K {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 5,
        value: CodeValue::Offset(0),
        has_mins: true,
        sub_scale_min: 0,
        sub_scale_max: 63,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 176], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.min = f16_at(block, 2);
        unpack_sub_fields(bytes_at(block, 4), out);
        split_nibble_runs::<32>(bytes_at(block, 48), &mut out.codes);
        add_high_bits(bytes_at(block, 16), 4, &mut out.codes);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 176]) {
        put_f16(block, 0, fields.scale);
        put_f16(block, 2, fields.min);
        put_bytes(block, 4, pack_sub_fields(fields));
        put_bytes(block, 16, high_bits(&fields.codes, 4));
        join_nibble_runs::<32>(&fields.codes, &mut block[48..]);
    }
}
