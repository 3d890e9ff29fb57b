//! What the cache keeps keys and values as.

use half::{bf16, f16};
use simd::Isa;

/// A float type of the cache. Arithmetic on it is done in f32.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// Rounded to nearest, ties to even.
    fn from_f32(x: f32) -> Self;
    fn to_f32(self) -> f32;
    /// The first `LANES` of xs.
    fn load<I: Isa>(isa: I, xs: &[Self]) -> I::F32;
}

impl Element for f32 {
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<I: Isa>(isa: I, xs: &[Self]) -> I::F32 {
        isa.load(xs)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        f16::from_f32(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn load<I: Isa>(isa: I, xs: &[Self]) -> I::F32 {
        isa.load_f16(xs)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn load<I: Isa>(isa: I, xs: &[Self]) -> I::F32 {
        isa.load_bf16(xs)
    }
}
