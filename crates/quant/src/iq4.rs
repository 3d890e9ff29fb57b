//! IQ4_NL and IQ4_XS: 4-bit codes that name entries of a table, dense around zero.
//!
//! ```text
//! IQ4_NL    w[i] = d · T[q[i]]                  32 weights:  d f16, q 16 bytes
//!                                               18 bytes, 4.5 bits a weight
//! IQ4_XS    w[i] = d · (s[j] − 32) · T[q[i]]    256 weights: d f16, high pairs of s 2 bytes,
//!                                               low halves of s 4 bytes, q 128 bytes
//!                                               136 bytes, 4.25 bits a weight
//! ```
//!
//! Each run of 16 bytes of q holds 32 weights as in Q4_0. The low half of s[j] is half j % 2 of
//! byte j / 2, its high pair the bits 2j and 2j + 1.

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked};
use crate::coded::{bytes_at, f16_at, join_nibbles, put_bytes, put_f16, split_nibbles};
use crate::k_fields::{join_nibble_runs, split_nibble_runs};

/// The values of the codes of IQ4_NL and IQ4_XS.
pub const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(crate) struct Iq4Nl;
pub(crate) struct Iq4Xs;

const LAYOUT: CodeLayout = CodeLayout {
    sub_len: 32,
    bits: 4,
    value: CodeValue::Table(&IQ4_VALUES),
    has_mins: false,
    sub_scale_min: 1,
    sub_scale_max: 1,
};

impl Coded<32, 18> for Iq4Nl {
    const LAYOUT: CodeLayout = LAYOUT;

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

impl Coded<256, 136> for Iq4Xs {
    const LAYOUT: CodeLayout = CodeLayout { sub_scale_min: -32, sub_scale_max: 31, ..LAYOUT };

    #[inline(always)]
    fn unpack(block: &[u8; 136], out: &mut Unpacked) {
        let high = u16::from_le_bytes(*bytes_at(block, 2));
        let low: &[u8; 4] = bytes_at(block, 4);
        out.scale = f16_at(block, 0);
        out.clear_mins();
        for (j, sub_scale) in out.sub_scales[..8].iter_mut().enumerate() {
            let low = low[j / 2] >> (j % 2 * 4) & 15;
            let high = (high >> (2 * j) & 3) as u8;
            *sub_scale = (low | high << 4) as i8 - 32;
        }
        split_nibble_runs::<16>(bytes_at(block, 8), &mut out.codes);
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 136]) {
        let (mut high, mut low) = (0u16, [0; 4]);
        for (j, sub_scale) in fields.sub_scales[..8].iter().enumerate() {
            let sub_scale = (sub_scale + 32) as u8;
            low[j / 2] |= (sub_scale & 15) << (j % 2 * 4);
            high |= u16::from(sub_scale >> 4) << (2 * j);
        }
        put_f16(block, 0, fields.scale);
        put_bytes(block, 2, high.to_le_bytes());
        put_bytes(block, 4, low);
        join_nibble_runs::<16>(&fields.codes, &mut block[8..]);
    }
}
