//! Q4_0 and Q4_1: 32 weights share one f16 scale, and in Q4_1 one f16 minimum.
//!
//! ```text
//! Q4_0    w[i] = d · (q[i] − 8)    d f16, q 16 bytes         18 bytes, 4.5 bits a weight
//! Q4_1    w[i] = d · q[i] + m      d f16, m f16, q 16 bytes  20 bytes, 5 bits a weight
//! ```
//!
//! Byte i of q holds weight i in its low half and weight i + 16 in its high half.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, join_nibbles, put_f16, split_nibbles};

pub(crate) struct Q4_0;
pub(crate) struct Q4_1;

impl Coded<32, 18> for Q4_0 {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 4,
        value: CodeValue::Offset(8),
        has_mins: false,
        sub_scale_min: 1,
        sub_scale_max: 1,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 18], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.clear_mins();
        split_nibbles(bytes_at::<16>(block, 2), &mut out.codes[..32]);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 18]) {
        put_f16(block, 0, fields.scale);
        join_nibbles(&fields.codes[..32], &mut block[2..]);
    }
}

impl Coded<32, 20> for Q4_1 {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 4,
        value: CodeValue::Offset(0),
        has_mins: true,
        sub_scale_min: 1,
        sub_scale_max: 1,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 20], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.min = -f16_at(block, 2);
        out.sub_mins[0] = 1;
        split_nibbles(bytes_at::<16>(block, 4), &mut out.codes[..32]);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 20]) {
        put_f16(block, 0, fields.scale);
        put_f16(block, 2, -fields.min);
        join_nibbles(&fields.codes[..32], &mut block[4..]);
    }
}
