//! `Isa`: the vector operations that a kernel may use.
//!
//! Floats come as vectors of `LANES` f32. Integers come for matrix products: a weight vector holds
//! `LANES` output rows of four codes each (a *quad*: 4 consecutive k), an activation quad is
//! broadcast against all of them, and products add up in lanes, so that no sum crosses a lane.

use half::{bf16, f16};

use crate::Amx;

/// An instruction set, and by having a value of it the proof that this CPU runs it.
///
/// Slices must be at least as long as the vector that is read or written; what is longer is left
/// alone.
pub trait Isa: Copy + Send + Sync + 'static {
    /// The name in `RUMINATE_ISA` and in bench rows.
    const NAME: &'static str;
    /// f32 in a vector: 8 or 16.
    const LANES: usize;
    /// Whether there are vectors at all, and with them a gain from tiles.
    const VECTORS: bool;
    /// What [`Isa::dot_signed`] adds to each code.
    const SIGNED_BIAS: u8;
    /// What a total begins with that [`Isa::scaled`] reads.
    const TOTAL_START: i32;

    /// `LANES` f32.
    type F32: Copy;
    /// `LANES` i32.
    type I32: Copy;
    /// `LANES` rows of four bytes.
    type Bytes: Copy;
    /// `LANES` rows of products on their way to an i32, in what width suits the ISA.
    type Sum: Copy;
    /// `LANES` rows of four i8, prepared for [`Isa::dot_signed`].
    type Signed: Copy;
    /// `LANES` rows of two i16.
    type Pairs: Copy;
    /// `LANES` f32, prepared for [`Isa::scaled`].
    type Scale: Copy;

    /// The registers for products of tiles, if this CPU has them. Their sums are the same integers.
    #[inline(always)]
    fn amx(self) -> Option<Amx> {
        None
    }

    /// Runs `f` as a function of its own, compiled for the ISA: one hot loop, so that a kernel of
    /// many doesn't become a single function that takes minutes to compile.
    fn outline<R>(self, f: impl FnOnce(Self) -> R) -> R;

    /// n, which the compiler then knows nothing about: a loop to it stays a loop. Unrolled into one
    /// block, its loads would be hoisted beyond what registers hold.
    fn hide(self, n: usize) -> usize;

    // Floats.

    fn splat(self, x: f32) -> Self::F32;
    fn load(self, xs: &[f32]) -> Self::F32;
    fn store(self, v: Self::F32, out: &mut [f32]);
    fn load_f16(self, xs: &[f16]) -> Self::F32;
    fn load_bf16(self, xs: &[bf16]) -> Self::F32;
    /// FP8 E4M3 without infinities (0x7f and 0xff are NaN), as f32.
    fn load_e4m3(self, xs: &[u8]) -> Self::F32;
    /// Rounded to nearest, ties to even.
    fn store_f16(self, v: Self::F32, out: &mut [f16]);
    /// Rounded to nearest, ties to even.
    fn store_bf16(self, v: Self::F32, out: &mut [bf16]);

    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a · b + c, rounded once where the ISA can, twice in scalar code.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// a if a > b, else b: b where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a if a < b, else b: b where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn abs(self, a: Self::F32) -> Self::F32;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// 2ⁿ for integral n in -126..=127.
    fn exp2i(self, n: Self::F32) -> Self::F32;
    /// The sum of the lanes, by halving: lane i and lane i + half, until one is left.
    fn sum(self, v: Self::F32) -> f32;
    /// The largest lane, by halving.
    fn max_lane(self, v: Self::F32) -> f32;

    /// A vector of the first `LANES` of xs, or all of xs and then `fill`: for tails.
    #[inline(always)]
    fn load_head(self, xs: &[f32], fill: f32) -> Self::F32 {
        let mut full = [fill; MAX_LANES];
        let len = xs.len().min(Self::LANES);
        full[..len].copy_from_slice(&xs[..len]);
        self.load(&full)
    }

    /// Writes the first lanes, as many as `out` holds: for tails.
    #[inline(always)]
    fn store_head(self, v: Self::F32, out: &mut [f32]) {
        let mut full = [0.0; MAX_LANES];
        self.store(v, &mut full);
        let len = out.len().min(Self::LANES);
        out[..len].copy_from_slice(&full[..len]);
    }

    // Integers.

    fn splat_i32(self, x: i32) -> Self::I32;
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// a · 2ⁿ.
    fn shl_i32(self, a: Self::I32, n: u32) -> Self::I32;
    /// To the nearest f32.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    fn load_i32(self, xs: &[i32]) -> Self::I32;
    /// x, which are f16 as f32.
    fn scale(self, x: Self::F32) -> Self::Scale;
    /// (total - [`Isa::TOTAL_START`]) · scale, rounded once; for differences below 2²² in size.
    fn scaled(self, total: Self::I32, scale: Self::Scale) -> Self::F32;
    /// v rounded to nearest (ties to even) as i8, four in an i32: `LANES / 4` quads. The values
    /// are in -128..=127, or not finite: then -128.
    fn store_quads(self, v: Self::F32, out: &mut [i32]);

    /// Asks for the cache line at `xs[ahead]`, which may lie past the end: what lies behind a slice
    /// is often what is read next. Changes no value.
    fn prefetch<T>(self, xs: &[T], ahead: usize);
    /// 4 · `LANES` bytes.
    fn load_bytes(self, xs: &[u8]) -> Self::Bytes;
    fn store_bytes(self, v: Self::Bytes, out: &mut [u8]);
    /// One quad in all rows.
    fn splat_quad(self, quad: i32) -> Self::Bytes;
    /// Each byte shifted right by `shift` (left where it's negative), and masked. The mask keeps
    /// no bit that the shift brought in from outside the byte.
    fn bits(self, v: Self::Bytes, shift: i32, mask: u8) -> Self::Bytes;
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Each byte less `by`, modulo 256.
    fn less(self, v: Self::Bytes, by: u8) -> Self::Bytes;
    /// `table[index]`, for indices in 0..16.
    fn lookup(self, table: &[i8; 16], index: Self::Bytes) -> Self::Bytes;

    /// How many calls of [`Isa::dot`] may add to one sum, for codes in 0..=max_code.
    fn quads_in_sum(self, max_code: u8) -> usize;
    fn zero_sum(self) -> Self::Sum;
    /// sum + the products of a row's four unsigned codes with a quad of activations in -127..=127.
    fn dot(self, sum: Self::Sum, codes: Self::Bytes, quad: Self::Bytes) -> Self::Sum;
    /// a + sum.
    fn add_sum(self, a: Self::I32, sum: Self::Sum) -> Self::I32;
    /// a + the products of a row's four unsigned codes with a quad of activations in -127..=127.
    #[inline(always)]
    fn dot_i32(self, a: Self::I32, codes: Self::Bytes, quad: Self::Bytes) -> Self::I32 {
        self.add_sum(a, self.dot(self.zero_sum(), codes, quad))
    }
    /// a + sum · the first i16 of each row.
    fn add_scaled_first(self, a: Self::I32, sum: Self::Sum, scales: Self::Pairs) -> Self::I32;
    /// a + sum · the second i16 of each row.
    fn add_scaled_second(self, a: Self::I32, sum: Self::Sum, scales: Self::Pairs) -> Self::I32;

    /// Bytes taken as i8.
    fn signed(self, codes: Self::Bytes) -> Self::Signed;
    /// sum + the products of a row's four (signed codes + [`Isa::SIGNED_BIAS`]) with a quad of
    /// activations in -127..=127. `quads_in_sum(128)` says how many fit.
    fn dot_signed(self, sum: Self::Sum, codes: Self::Signed, quad: Self::Bytes) -> Self::Sum;

    /// 2 · `LANES` bytes taken as i8.
    fn load_pairs_i8(self, xs: &[u8]) -> Self::Pairs;
    /// 2 · `LANES` u8.
    fn load_pairs_u8(self, xs: &[u8]) -> Self::Pairs;
    /// The low halves of 2 · `LANES` u8.
    fn load_pairs_low(self, xs: &[u8]) -> Self::Pairs;
    /// The high halves of 2 · `LANES` u8.
    fn load_pairs_high(self, xs: &[u8]) -> Self::Pairs;
    /// a + the product of each row's two i16 with the two i16 of `pair`, first one in the low half.
    fn dot_pairs(self, a: Self::I32, xs: Self::Pairs, pair: i32) -> Self::I32;
}

/// No ISA has more f32 lanes.
pub(crate) const MAX_LANES: usize = 16;
