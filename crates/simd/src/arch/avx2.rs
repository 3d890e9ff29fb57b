//! AVX2, FMA and F16C: eight lanes.
#![expect(unsafe_code, reason = "intrinsics live here")]

use std::arch::asm;
#[cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "a list of every intrinsic would say nothing")
)]
use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::Isa;

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        (found && !cfg!(miri)).then_some(Self(()))
    }

    /// Runs `f` compiled with AVX2, FMA and F16C enabled.
    #[inline(always)]
    pub(crate) fn run<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn enabled<R>(isa: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
            f(isa)
        }
        // SAFETY: `self` exists only if `detect` found every feature that `enabled` asks for.
        unsafe { enabled(self, f) }
    }
}

/// One intrinsic on values; its arguments are evaluated outside the unsafe block.
macro_rules! op {
    ($name:ident $(::<$n:tt>)? ($($arg:expr),* $(,)?)) => {
        op!(@ $name ($($n)?) () ($($arg,)*))
    };
    (@ $name:ident $n:tt ($($done:ident)*) ($arg:expr, $($rest:expr,)*)) => {{
        let arg = $arg;
        op!(@ $name $n ($($done)* arg) ($($rest,)*))
    }};
    (@ $name:ident ($($n:tt)?) ($($arg:ident)*) ()) => {
        // SAFETY: the token proves the features that the intrinsic needs; it touches no memory.
        unsafe { $name $(::<$n>)? ($($arg),*) }
    };
}

const LANES: usize = 8;

/// Eight rows of four i8: their magnitudes and themselves.
#[derive(Clone, Copy)]
pub struct Signed {
    magnitude: __m256i,
    value: __m256i,
}

// A pair of products of dot_signed is at most 2 · 128 · 127, which fits 16 bits.
const _: () = assert!(2 * 128 * 127 <= i16::MAX as i32);

#[inline(always)]
fn low_half(v: __m256) -> __m128 {
    op!(_mm256_castps256_ps128(v))
}

#[inline(always)]
fn load_16_bytes(xs: &[u8; 16]) -> __m128i {
    // SAFETY: sixteen readable bytes, the load may be unaligned.
    unsafe { _mm_loadu_si128(xs.as_ptr().cast()) }
}

/// Both halves of a row become its first (0) or second (2) i16.
#[inline(always)]
fn spread(pairs: __m256i, at: i8) -> __m256i {
    let (a, b) = (at, at + 1);
    let row = op!(_mm256_setr_epi8(
        a,
        b,
        a,
        b,
        4 + a,
        4 + b,
        4 + a,
        4 + b,
        8 + a,
        8 + b,
        8 + a,
        8 + b,
        12 + a,
        12 + b,
        12 + a,
        12 + b,
        a,
        b,
        a,
        b,
        4 + a,
        4 + b,
        4 + a,
        4 + b,
        8 + a,
        8 + b,
        8 + a,
        8 + b,
        12 + a,
        12 + b,
        12 + a,
        12 + b,
    ));
    op!(_mm256_shuffle_epi8(pairs, row))
}

impl Isa for Avx2 {
    const NAME: &'static str = "avx2";
    const LANES: usize = LANES;
    const VECTORS: bool = true;
    const SIGNED_BIAS: u8 = 0;
    const TOTAL_START: i32 = 0;
    type F32 = __m256;
    type I32 = __m256i;
    type Bytes = __m256i;
    /// Two i16 a row: products 0 and 1 of each quad, and 2 and 3.
    type Sum = __m256i;
    type Signed = Signed;
    type Pairs = __m256i;
    type Scale = __m256;

    #[inline(always)]
    fn outline<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        fn outlined<R>(isa: Avx2, f: impl FnOnce(Avx2) -> R) -> R {
            f(isa)
        }
        // SAFETY: the token proves every feature that `outlined` asks for.
        unsafe { outlined(self, f) }
    }

    #[inline(always)]
    fn hide(self, mut n: usize) -> usize {
        // SAFETY: no instruction at all; the register keeps its value.
        unsafe { asm!("/* {0} */", inout(reg) n, options(pure, nomem, nostack, preserves_flags)) };
        n
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        op!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, xs: &[f32]) -> __m256 {
        let xs: &[f32; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is eight readable floats, the load may be unaligned; `self` proves AVX.
        unsafe { _mm256_loadu_ps(xs.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: __m256, out: &mut [f32]) {
        let out: &mut [f32; LANES] = out.first_chunk_mut().expect("a full vector");
        // SAFETY: `out` is eight writable floats, the store may be unaligned; `self` proves AVX.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn load_f16(self, xs: &[f16]) -> __m256 {
        let xs: &[f16; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is sixteen readable bytes, the load may be unaligned.
        let halves = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
        op!(_mm256_cvtph_ps(halves))
    }

    #[inline(always)]
    fn load_bf16(self, xs: &[bf16]) -> __m256 {
        let xs: &[bf16; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is sixteen readable bytes, the load may be unaligned.
        let halves = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
        let wide = op!(_mm256_cvtepu16_epi32(halves));
        let bits = op!(_mm256_slli_epi32::<16>(wide));
        op!(_mm256_castsi256_ps(bits))
    }

    #[inline(always)]
    fn load_e4m3(self, xs: &[u8]) -> __m256 {
        let xs: &[u8; LANES] = xs.first_chunk().expect("a full vector");
        let bytes = op!(_mm_set1_epi64x(i64::from_le_bytes(*xs)));
        // The same fields as an f16, whose bias is 15 and not 7: short of a factor of 2⁸.
        let wide = op!(_mm_cvtepi8_epi16(bytes));
        let fields = op!(_mm_slli_epi16::<7>(wide));
        let magnitude = op!(_mm_and_si128(fields, op!(_mm_set1_epi16(0x3f80))));
        let sign = op!(_mm_and_si128(wide, op!(_mm_set1_epi16(i16::MIN))));
        let nan = op!(_mm_cmpeq_epi16(magnitude, op!(_mm_set1_epi16(0x3f80))));
        let nan = op!(_mm_and_si128(nan, op!(_mm_set1_epi16(0x7e00))));
        let half = op!(_mm_or_si128(magnitude, sign));
        let half = op!(_mm_or_si128(half, nan));
        op!(_mm256_mul_ps(op!(_mm256_cvtph_ps(half)), op!(_mm256_set1_ps(256.0))))
    }

    #[inline(always)]
    fn store_f16(self, v: __m256, out: &mut [f16]) {
        let out: &mut [f16; LANES] = out.first_chunk_mut().expect("a full vector");
        let halves = op!(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        // SAFETY: `out` is sixteen writable bytes, the store may be unaligned.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), halves) }
    }

    #[inline(always)]
    fn store_bf16(self, v: __m256, out: &mut [bf16]) {
        let out: &mut [bf16; LANES] = out.first_chunk_mut().expect("a full vector");
        let bits = op!(_mm256_castps_si256(v));
        let upper = op!(_mm256_srli_epi32::<16>(bits));
        let odd = op!(_mm256_and_si256(upper, op!(_mm256_set1_epi32(1))));
        let bias = op!(_mm256_add_epi32(odd, op!(_mm256_set1_epi32(0x7fff))));
        let rounded = op!(_mm256_srli_epi32::<16>(op!(_mm256_add_epi32(bits, bias))));
        let quiet = op!(_mm256_or_si256(upper, op!(_mm256_set1_epi32(0x40))));
        let nan = op!(_mm256_castps_si256(op!(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v))));
        let wide = op!(_mm256_blendv_epi8(rounded, quiet, nan));
        let packed = op!(_mm256_packus_epi32(wide, wide));
        let packed = op!(_mm256_permute4x64_epi64::<0b1000>(packed));
        let halves = op!(_mm256_castsi256_si128(packed));
        // SAFETY: `out` is sixteen writable bytes, the store may be unaligned.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), halves) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        op!(_mm256_andnot_ps(op!(_mm256_set1_ps(-0.0)), a))
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        op!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }

    #[inline(always)]
    fn exp2i(self, n: __m256) -> __m256 {
        let n = op!(_mm256_cvtps_epi32(n));
        let biased = op!(_mm256_add_epi32(n, op!(_mm256_set1_epi32(127))));
        op!(_mm256_castsi256_ps(op!(_mm256_slli_epi32::<23>(biased))))
    }

    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        let v = op!(_mm_add_ps(low_half(v), op!(_mm256_extractf128_ps::<1>(v))));
        let v = op!(_mm_add_ps(v, op!(_mm_movehl_ps(v, v))));
        let v = op!(_mm_add_ss(v, op!(_mm_movehdup_ps(v))));
        op!(_mm_cvtss_f32(v))
    }

    #[inline(always)]
    fn max_lane(self, v: __m256) -> f32 {
        let v = op!(_mm_max_ps(low_half(v), op!(_mm256_extractf128_ps::<1>(v))));
        let v = op!(_mm_max_ps(v, op!(_mm_movehl_ps(v, v))));
        let v = op!(_mm_max_ss(v, op!(_mm_movehdup_ps(v))));
        op!(_mm_cvtss_f32(v))
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m256i {
        op!(_mm256_set1_epi32(x))
    }

    #[inline(always)]
    fn add_i32(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn sub_i32(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_sub_epi32(a, b))
    }

    #[inline(always)]
    fn shl_i32(self, a: __m256i, n: u32) -> __m256i {
        op!(_mm256_sll_epi32(a, op!(_mm_cvtsi32_si128(n as i32))))
    }

    #[inline(always)]
    fn to_f32(self, a: __m256i) -> __m256 {
        op!(_mm256_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn load_i32(self, xs: &[i32]) -> __m256i {
        let xs: &[i32; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is eight readable i32, the load may be unaligned; `self` proves AVX.
        unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) }
    }

    #[inline(always)]
    fn scale(self, x: __m256) -> __m256 {
        x
    }

    #[inline(always)]
    fn scaled(self, total: __m256i, scale: __m256) -> __m256 {
        self.mul(self.to_f32(total), scale)
    }

    #[inline(always)]
    fn store_quads(self, v: __m256, out: &mut [i32]) {
        let wide = op!(_mm256_cvtps_epi32(v));
        let words = op!(_mm256_packs_epi32(wide, wide));
        let bytes = op!(_mm256_packs_epi16(words, words));
        out[0] = op!(_mm256_extract_epi32::<0>(bytes));
        out[1] = op!(_mm256_extract_epi32::<4>(bytes));
    }

    #[inline(always)]
    fn prefetch<T>(self, xs: &[T], ahead: usize) {
        let at = xs.as_ptr().wrapping_add(ahead);
        // SAFETY: a prefetch reads nothing that a program sees, and no address makes it fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn load_bytes(self, xs: &[u8]) -> __m256i {
        let xs: &[u8; 4 * LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is 32 readable bytes, the load may be unaligned; `self` proves AVX.
        unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_bytes(self, v: __m256i, out: &mut [u8]) {
        let out: &mut [u8; 4 * LANES] = out.first_chunk_mut().expect("a full vector");
        // SAFETY: `out` is 32 writable bytes, the store may be unaligned; `self` proves AVX.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn splat_quad(self, quad: i32) -> __m256i {
        op!(_mm256_set1_epi32(quad))
    }

    #[inline(always)]
    fn bits(self, v: __m256i, shift: i32, mask: u8) -> __m256i {
        let count = op!(_mm_cvtsi32_si128(shift.abs()));
        let moved = match shift {
            0 => v,
            1.. => op!(_mm256_srl_epi16(v, count)),
            _ => op!(_mm256_sll_epi16(v, count)),
        };
        op!(_mm256_and_si256(moved, op!(_mm256_set1_epi8(mask as i8))))
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        op!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn less(self, v: __m256i, by: u8) -> __m256i {
        op!(_mm256_sub_epi8(v, op!(_mm256_set1_epi8(by as i8))))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: __m256i) -> __m256i {
        let table = load_16_bytes(&table.map(|x| x as u8));
        op!(_mm256_shuffle_epi8(op!(_mm256_broadcastsi128_si256(table)), index))
    }

    #[inline(always)]
    fn quads_in_sum(self, max_code: u8) -> usize {
        // Each adds two products of at most max_code · 127 to an i16.
        (i16::MAX as usize) / (2 * 127 * usize::from(max_code))
    }

    #[inline(always)]
    fn zero_sum(self) -> __m256i {
        op!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn dot(self, sum: __m256i, codes: __m256i, quad: __m256i) -> __m256i {
        op!(_mm256_add_epi16(sum, op!(_mm256_maddubs_epi16(codes, quad))))
    }

    #[inline(always)]
    fn add_sum(self, a: __m256i, sum: __m256i) -> __m256i {
        let wide = op!(_mm256_madd_epi16(sum, op!(_mm256_set1_epi16(1))));
        op!(_mm256_add_epi32(a, wide))
    }

    #[inline(always)]
    fn add_scaled_first(self, a: __m256i, sum: __m256i, scales: __m256i) -> __m256i {
        op!(_mm256_add_epi32(a, op!(_mm256_madd_epi16(sum, spread(scales, 0)))))
    }

    #[inline(always)]
    fn add_scaled_second(self, a: __m256i, sum: __m256i, scales: __m256i) -> __m256i {
        op!(_mm256_add_epi32(a, op!(_mm256_madd_epi16(sum, spread(scales, 2)))))
    }

    #[inline(always)]
    fn signed(self, codes: __m256i) -> Signed {
        Signed { magnitude: op!(_mm256_abs_epi8(codes)), value: codes }
    }

    #[inline(always)]
    fn dot_signed(self, sum: __m256i, codes: Signed, quad: __m256i) -> __m256i {
        let quad = op!(_mm256_sign_epi8(quad, codes.value));
        op!(_mm256_add_epi16(sum, op!(_mm256_maddubs_epi16(codes.magnitude, quad))))
    }

    #[inline(always)]
    fn load_pairs_i8(self, xs: &[u8]) -> __m256i {
        let xs: &[u8; 2 * LANES] = xs.first_chunk().expect("a full vector");
        op!(_mm256_cvtepi8_epi16(load_16_bytes(xs)))
    }

    #[inline(always)]
    fn load_pairs_u8(self, xs: &[u8]) -> __m256i {
        let xs: &[u8; 2 * LANES] = xs.first_chunk().expect("a full vector");
        op!(_mm256_cvtepu8_epi16(load_16_bytes(xs)))
    }

    #[inline(always)]
    fn load_pairs_low(self, xs: &[u8]) -> __m256i {
        op!(_mm256_and_si256(self.load_pairs_u8(xs), op!(_mm256_set1_epi16(15))))
    }

    #[inline(always)]
    fn load_pairs_high(self, xs: &[u8]) -> __m256i {
        op!(_mm256_srli_epi16::<4>(self.load_pairs_u8(xs)))
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m256i, xs: __m256i, pair: i32) -> __m256i {
        let products = op!(_mm256_madd_epi16(xs, op!(_mm256_set1_epi32(pair))));
        op!(_mm256_add_epi32(a, products))
    }
}
