//! The quantised types as the kernels see them: planes of bits, sub-blocks, mins.

use quant::{CodeLayout, CodeValue, IQ4_VALUES, QuantType};

use crate::PANEL_ROWS;

/// One quantised type. Everything is a constant, so that each type is a kernel of its own.
///
/// A block of a panel (16 rows of `BLOCK` weights) holds its codes as *planes*: the low
/// `LOW_BITS` of each code, then, for 3, 5 and 6 bits, the `HIGH_BITS` above them. A plane is a
/// run of vectors of 64 bytes, 16 rows of four k; a byte of it holds that k of `8 / bits` quads,
/// the first one in its lowest bits.
pub(crate) trait Format {
    const TYPE: QuantType;
    /// Weights of a block: 32, or 256 in sub-blocks with scales of their own.
    const BLOCK: usize;
    const LAYOUT: CodeLayout;

    const LOW_BITS: usize = match Self::LAYOUT.bits {
        2 | 3 => 2,
        8 => 8,
        _ => 4,
    };
    const HIGH_BITS: usize = Self::LAYOUT.bits as usize - Self::LOW_BITS;
    const QUADS: usize = Self::BLOCK / 4;
    const SUB_QUADS: usize = Self::LAYOUT.sub_len / 4;
    const SUBS: usize = Self::BLOCK / Self::LAYOUT.sub_len;
    const SIGNED: bool = !matches!(Self::LAYOUT.value, CodeValue::Offset(_));
    /// What the codes are above their values, if they aren't signed.
    const OFFSET: u8 = match Self::LAYOUT.value {
        CodeValue::Offset(offset) => offset,
        _ => 0,
    };
    const MAX_CODE: u8 = if Self::SIGNED { 128 } else { (1 << Self::LAYOUT.bits) - 1 };

    /// Bytes of the low plane of a panel's block, and of both planes.
    const LOW_BYTES: usize = PANEL_ROWS * Self::BLOCK * Self::LOW_BITS / 8;
    const PLANE_BYTES: usize = Self::LOW_BYTES + PANEL_ROWS * Self::BLOCK * Self::HIGH_BITS / 8;
    /// f16 of a panel's block: sixteen scales, sixteen mins.
    const SCALES: usize = if Self::LAYOUT.has_mins { 2 * PANEL_ROWS } else { PANEL_ROWS };
    /// Whether a sub-block's scale and min share a byte.
    const SUB_NIBBLES: bool = Self::LAYOUT.has_mins && Self::LAYOUT.sub_scale_max <= 15;
    /// Bytes of one row's sub-block scales (and mins) in a panel's block, times sixteen.
    const SUB_BYTES: usize = match (Self::SUBS, Self::LAYOUT.has_mins && !Self::SUB_NIBBLES) {
        (1, _) => 0,
        (subs, false) => PANEL_ROWS * subs,
        (subs, true) => 2 * PANEL_ROWS * subs,
    };
}

const BYTE: CodeLayout = CodeLayout {
    sub_len: 32,
    bits: 8,
    value: CodeValue::Signed,
    has_mins: false,
    sub_scale_min: 1,
    sub_scale_max: 1,
};
const NIBBLE: CodeLayout = CodeLayout { bits: 4, value: CodeValue::Offset(8), ..BYTE };
const K: CodeLayout = CodeLayout {
    bits: 4,
    value: CodeValue::Offset(0),
    has_mins: true,
    sub_scale_min: 0,
    sub_scale_max: 63,
    ..BYTE
};
const K_16: CodeLayout = CodeLayout { sub_len: 16, has_mins: false, ..K };

macro_rules! formats {
    ($($name:ident: $block:literal, $layout:expr;)*) => {
        $(
            pub(crate) struct $name;

            impl Format for $name {
                const TYPE: QuantType = QuantType::$name;
                const BLOCK: usize = $block;
                const LAYOUT: CodeLayout = $layout;
            }
        )*

        /// Calls a macro-like expression with `F` bound to the format of a coded type.
        macro_rules! with_format {
            ($ty:expr, $F:ident => $body:expr) => {
                match $ty {
                    $(quant::QuantType::$name => {
                        type $F = $crate::format::$name;
                        $body
                    })*
                    other => unreachable!("{} has no codes", other.name()),
                }
            };
        }
    };
}

formats! {
    Q8_0: 32, BYTE;
    Q4_0: 32, NIBBLE;
    Q4_1: 32, CodeLayout { value: CodeValue::Offset(0), has_mins: true, ..NIBBLE };
    Q5_0: 32, CodeLayout { bits: 5, value: CodeValue::Offset(16), ..NIBBLE };
    Q5_1: 32, CodeLayout { bits: 5, value: CodeValue::Offset(0), has_mins: true, ..NIBBLE };
    Iq4Nl: 32, CodeLayout { value: CodeValue::Table(&IQ4_VALUES), ..NIBBLE };
    Q4K: 256, K;
    Q5K: 256, CodeLayout { bits: 5, ..K };
    Q2K: 256, CodeLayout { bits: 2, has_mins: true, sub_scale_max: 15, ..K_16 };
    Q3K: 256, CodeLayout {
        bits: 3, value: CodeValue::Offset(4), sub_scale_min: -32, sub_scale_max: 31, ..K_16
    };
    Q6K: 256, CodeLayout {
        bits: 6, value: CodeValue::Offset(32), sub_scale_min: -128, sub_scale_max: 127, ..K_16
    };
    Iq4Xs: 256, CodeLayout {
        value: CodeValue::Table(&IQ4_VALUES),
        has_mins: false,
        sub_scale_min: -32,
        sub_scale_max: 31,
        ..K
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coded_type_is_listed_as_quant_says() {
        for &ty in QuantType::ALL {
            let Some(layout) = ty.code_layout() else { continue };
            let (block, listed) = with_format!(ty, F => (F::BLOCK, F::LAYOUT));
            assert_eq!((block, listed), (ty.block_len(), layout), "{}", ty.name());
        }
    }
}
