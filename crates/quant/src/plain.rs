//! F32, F16 and BF16: a weight stands alone.

/// A format whose blocks are single weights of `BYTES` bytes.
pub(crate) trait Plain<const BYTES: usize> {
    fn decode(bytes: [u8; BYTES]) -> f32;
    fn encode(weight: f32) -> [u8; BYTES];
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;

impl Plain<4> for F32 {
    #[inline(always)]
    fn decode(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }

    #[inline(always)]
    fn encode(weight: f32) -> [u8; 4] {
        weight.to_le_bytes()
    }
}

impl Plain<2> for F16 {
    #[inline(always)]
    fn decode(bytes: [u8; 2]) -> f32 {
        f16_to_f32(u16::from_le_bytes(bytes))
    }

    #[inline(always)]
    fn encode(weight: f32) -> [u8; 2] {
        half::f16::from_f32(weight).to_le_bytes()
    }
}

impl Plain<2> for Bf16 {
    #[inline(always)]
    fn decode(bytes: [u8; 2]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
    }

    /// To the nearest, ties to even; a NaN stays one.
    #[inline(always)]
    fn encode(weight: f32) -> [u8; 2] {
        let bits = weight.to_bits();
        let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        (if weight.is_nan() { quiet } else { nearest } as u16).to_le_bytes()
    }
}

/// out (N) = the weights in `bytes` (N · BYTES).
pub(crate) fn decode<P: Plain<BYTES>, const BYTES: usize>(bytes: &[u8], out: &mut [f32]) {
    let (weights, rest) = bytes.as_chunks::<BYTES>();
    assert!(
        rest.is_empty() && weights.len() == out.len(),
        "bytes {} out {}",
        bytes.len(),
        out.len()
    );
    for (out, &weight) in out.iter_mut().zip(weights) {
        *out = P::decode(weight);
    }
}

/// out (N · BYTES) = the nearest to `weights` (N).
pub(crate) fn encode<P: Plain<BYTES>, const BYTES: usize>(weights: &[f32], out: &mut [u8]) {
    let out_len = out.len();
    let (out, rest) = out.as_chunks_mut::<BYTES>();
    assert!(
        rest.is_empty() && weights.len() == out.len(),
        "weights {} out {out_len}",
        weights.len()
    );
    for (out, &weight) in out.iter_mut().zip(weights) {
        *out = P::encode(weight);
    }
}

/// Integer arithmetic and three selects, so that a loop of it is vectorised on every target;
/// `half` asks for the CPU's features at each call.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    // A subnormal's fraction counts in steps of 2⁻²⁴: put it below the leading bit of 2⁻¹⁴, and
    // take that away again.
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    const REBIAS: u32 = (127 - 15) << 23;
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    let subnormal = f32::from_bits(rest + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
    let magnitude = if rest >= 0x7c00 << 13 {
        rest + 2 * REBIAS
    } else if rest < 0x0400 << 13 {
        subnormal.to_bits()
    } else {
        rest + REBIAS
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_decodes_as_half_says() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            let same = ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
            assert!(same, "{bits:#06x}: {ours} {theirs}");
        }
    }

    #[test]
    fn every_bf16_survives_and_ties_go_to_even() {
        for bits in 0..=u16::MAX {
            let weight = Bf16::decode(bits.to_le_bytes());
            if !weight.is_nan() {
                assert_eq!(Bf16::encode(weight), bits.to_le_bytes());
            }
        }
        assert_eq!(Bf16::encode(f32::from_bits(0x3f80_8000)), 0x3f80u16.to_le_bytes());
        assert_eq!(Bf16::encode(f32::from_bits(0x3f81_8000)), 0x3f82u16.to_le_bytes());
        assert_eq!(Bf16::encode(f32::MAX), 0x7f80u16.to_le_bytes());
        assert!(Bf16::decode(Bf16::encode(f32::from_bits(0x7f80_0001))).is_nan());
    }
}
