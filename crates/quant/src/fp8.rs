//! FP8 E4M3 (OCP's E4M3FN): a sign, four bits of exponent with bias 7, three of fraction.
//!
//! There is no infinity: of the top exponent only 0x7f and 0xff are not numbers, so the largest
//! weight is 448. The scale of a 128×128 block is a tensor of its own and applied by its reader.

use crate::plain::Plain;

pub(crate) struct F8E4M3;

const MAX: f32 = 448.0;
const NAN: u8 = 0x7f;

impl Plain<1> for F8E4M3 {
    #[inline(always)]
    fn decode([byte]: [u8; 1]) -> f32 {
        // A subnormal's fraction counts in steps of 2⁻⁹: put it below the leading bit of 2⁻⁶,
        // and take that away again.
        const SMALLEST_NORMAL: u32 = (127 - 6) << 23;
        const REBIAS: u32 = (127 - 7) << 23;
        let sign = u32::from(byte & 0x80) << 24;
        let rest = u32::from(byte & 0x7f) << 20;
        let subnormal = f32::from_bits(rest + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
        let magnitude = if byte & 0x7f == NAN {
            f32::NAN.to_bits()
        } else if rest < 8 << 20 {
            subnormal.to_bits()
        } else {
            rest + REBIAS
        };
        f32::from_bits(sign | magnitude)
    }

    /// To the nearest, ties to even; beyond ±448 it saturates, infinities too; a NaN stays one.
    #[inline(always)]
    fn encode(weight: f32) -> [u8; 1] {
        let sign = (weight.to_bits() >> 24) as u8 & 0x80;
        if weight.is_nan() {
            return [sign | NAN];
        }
        let magnitude = weight.abs().min(MAX);
        // Below 2⁻⁶ the step is 2⁻⁹; adding 2¹⁴ leaves f32 with just that step, rounded to even.
        const STEP: f32 = 16384.0;
        let small = (magnitude + STEP).to_bits() - STEP.to_bits();
        // Above, three of the 23 bits of fraction stay.
        let bits = magnitude.to_bits();
        let large = (bits + 0x7_ffff + ((bits >> 20) & 1)) >> 20;
        let rest = if magnitude < 1.0 / 64.0 { small } else { large - ((127 - 7) << 3) };
        [sign | rest as u8]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value by its definition, in the f64 that has no rounding to hide behind.
    fn by_definition(byte: u8) -> f64 {
        let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
        let (exponent, fraction) = (i32::from(byte >> 3 & 15), f64::from(byte & 7));
        match exponent {
            15 if byte & 7 == 7 => f64::NAN,
            0 => sign * fraction / 8.0 * 2f64.powi(-6),
            _ => sign * (1.0 + fraction / 8.0) * 2f64.powi(exponent - 7),
        }
    }

    #[test]
    fn every_byte_decodes_by_the_definition_and_encodes_to_itself() {
        for byte in 0..=u8::MAX {
            let weight = F8E4M3::decode([byte]);
            assert!(f64::from(weight) == by_definition(byte) || byte & 0x7f == NAN);
            assert_eq!(weight.is_nan(), byte & 0x7f == NAN);
            assert_eq!(F8E4M3::encode(weight), [byte], "{weight}");
        }
    }

    #[test]
    fn encode_takes_the_nearest_and_even_of_two() {
        for byte in 0..NAN - 1 {
            let (low, high) = (F8E4M3::decode([byte]), F8E4M3::decode([byte + 1]));
            let middle = (low + high) / 2.0;
            let even = byte + (byte & 1);
            assert_eq!(F8E4M3::encode(middle), [even]);
            assert_eq!(F8E4M3::encode(middle.next_down()), [byte]);
            assert_eq!(F8E4M3::encode(-middle.next_up()), [(byte + 1) | 0x80]);
        }
        assert_eq!(F8E4M3::encode(f32::INFINITY), [0x7e]);
        assert_eq!(F8E4M3::encode(-1e30), [0xfe]);
    }
}
