//! Q4_K: 256 weights in 8 sub-blocks, each with a 6-bit scale and a 6-bit min.
//!
//! ```text
//! w[i] = d · s[j] · q[i] − dmin · m[j]
//!
//! d f16, dmin f16, s and m 12 bytes, q 128 bytes    144 bytes, 4.5 bits
//! ```
//!
//! Byte l of quarter h of q holds weight 64h + l in its low half and 64h + 32 + l in its high half.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, put_bytes, put_f16};
use crate::k_fields::{join_nibble_runs, pack_sub_fields, split_nibble_runs, unpack_sub_fields};

pub(crate) struct Q4K;

impl Coded<256, 144> for Q4K {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 4,
        value: CodeValue::Offset(0),
        has_mins: true,
        sub_scale_min: 0,
        sub_scale_max: 63,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 144], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.min = f16_at(block, 2);
        unpack_sub_fields(bytes_at(block, 4), out);
        split_nibble_runs::<32>(bytes_at(block, 16), &mut out.codes);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 144]) {
        put_f16(block, 0, fields.scale);
        put_f16(block, 2, fields.min);
        put_bytes(block, 4, pack_sub_fields(fields));
        join_nibble_runs::<32>(&fields.codes, &mut block[16..]);
    }
}
