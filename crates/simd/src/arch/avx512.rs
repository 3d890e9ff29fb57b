//! AVX-512 (F, BW, DQ, VL, VNNI): sixteen lanes.
#![expect(unsafe_code, reason = "intrinsics live here")]

use std::arch::asm;
#[cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "a list of every intrinsic would say nothing")
)]
use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::{Amx, Avx2, Isa};

/// Proof that this CPU has AVX-512 F, BW, DQ, VL and VNNI, what `Avx2` stands for, and perhaps AMX.
#[derive(Clone, Copy, Debug)]
pub struct Avx512 {
    avx2: Avx2,
    amx: Option<Amx>,
}

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        Avx2::detect().filter(|_| found).map(|avx2| Self { avx2, amx: None })
    }

    /// The same with AMX for products of many rows, if this CPU has it too.
    pub fn with_amx(self) -> Option<Self> {
        Amx::detect().map(|amx| Self { amx: Some(amx), ..self })
    }

    /// The name in `RUMINATE_ISA`.
    pub fn name(self) -> &'static str {
        if self.amx.is_some() { "amx" } else { Self::NAME }
    }

    /// Runs `f` compiled with all that the token proves.
    #[inline(always)]
    pub(crate) fn run<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn enabled<R>(isa: Avx512, f: impl FnOnce(Avx512) -> R) -> R {
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

const LANES: usize = 16;

/// 1.5 · 2²³: near it, f32 are the integers.
const ANCHOR: f32 = 12_582_912.0;

/// A scale d (an f16 as f32), and -`ANCHOR` · d, which is exact.
#[derive(Clone, Copy)]
pub struct Scale {
    scale: __m512,
    anchor: __m512,
}

#[inline(always)]
fn load_32_bytes(xs: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes, the load may be unaligned.
    unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) }
}

#[inline(always)]
fn halves(v: __m512) -> (__m256, __m256) {
    (op!(_mm512_castps512_ps256(v)), op!(_mm512_extractf32x8_ps::<1>(v)))
}

impl Isa for Avx512 {
    const NAME: &'static str = "avx512";
    const LANES: usize = LANES;
    const VECTORS: bool = true;
    const SIGNED_BIAS: u8 = 128;
    /// Its bits and a total, added as i32, are the f32 of their sum.
    const TOTAL_START: i32 = ANCHOR.to_bits() as i32;
    type F32 = __m512;
    type I32 = __m512i;
    type Bytes = __m512i;
    /// One i32 a row.
    type Sum = __m512i;
    /// Codes + 128, unsigned.
    type Signed = __m512i;
    type Pairs = __m512i;
    type Scale = Scale;

    #[inline(always)]
    fn amx(self) -> Option<Amx> {
        self.amx
    }

    #[inline(always)]
    fn outline<R>(self, f: impl FnOnce(Self) -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        #[inline(never)]
        fn outlined<R>(isa: Avx512, f: impl FnOnce(Avx512) -> R) -> R {
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
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, xs: &[f32]) -> __m512 {
        let xs: &[f32; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is sixteen readable floats, the load may be unaligned.
        unsafe { _mm512_loadu_ps(xs.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32]) {
        let out: &mut [f32; LANES] = out.first_chunk_mut().expect("a full vector");
        // SAFETY: `out` is sixteen writable floats, the store may be unaligned.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn load_f16(self, xs: &[f16]) -> __m512 {
        let xs: &[f16; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is 32 readable bytes, the load may be unaligned.
        let halves = unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) };
        op!(_mm512_cvtph_ps(halves))
    }

    #[inline(always)]
    fn load_bf16(self, xs: &[bf16]) -> __m512 {
        let xs: &[bf16; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is 32 readable bytes, the load may be unaligned.
        let halves = unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) };
        let bits = op!(_mm512_slli_epi32::<16>(op!(_mm512_cvtepu16_epi32(halves))));
        op!(_mm512_castsi512_ps(bits))
    }

    #[inline(always)]
    fn load_e4m3(self, xs: &[u8]) -> __m512 {
        let xs: &[u8; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: sixteen readable bytes, the load may be unaligned.
        let bytes = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
        // The same fields as an f16, whose bias is 15 and not 7: short of a factor of 2⁸.
        let wide = op!(_mm256_cvtepi8_epi16(bytes));
        let fields = op!(_mm256_slli_epi16::<7>(wide));
        let magnitude = op!(_mm256_and_si256(fields, op!(_mm256_set1_epi16(0x3f80))));
        let sign = op!(_mm256_and_si256(wide, op!(_mm256_set1_epi16(i16::MIN))));
        let nan = op!(_mm256_cmpeq_epi16(magnitude, op!(_mm256_set1_epi16(0x3f80))));
        let nan = op!(_mm256_and_si256(nan, op!(_mm256_set1_epi16(0x7e00))));
        let half = op!(_mm256_or_si256(magnitude, sign));
        let half = op!(_mm256_or_si256(half, nan));
        op!(_mm512_mul_ps(op!(_mm512_cvtph_ps(half)), op!(_mm512_set1_ps(256.0))))
    }

    #[inline(always)]
    fn store_f16(self, v: __m512, out: &mut [f16]) {
        let out: &mut [f16; LANES] = out.first_chunk_mut().expect("a full vector");
        let halves = op!(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        // SAFETY: `out` is 32 writable bytes, the store may be unaligned.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), halves) }
    }

    #[inline(always)]
    fn store_bf16(self, v: __m512, out: &mut [bf16]) {
        let out: &mut [bf16; LANES] = out.first_chunk_mut().expect("a full vector");
        let bits = op!(_mm512_castps_si512(v));
        let upper = op!(_mm512_srli_epi32::<16>(bits));
        let odd = op!(_mm512_and_si512(upper, op!(_mm512_set1_epi32(1))));
        let bias = op!(_mm512_add_epi32(odd, op!(_mm512_set1_epi32(0x7fff))));
        let rounded = op!(_mm512_srli_epi32::<16>(op!(_mm512_add_epi32(bits, bias))));
        let quiet = op!(_mm512_or_si512(upper, op!(_mm512_set1_epi32(0x40))));
        let nan = op!(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v));
        let wide = op!(_mm512_mask_blend_epi32(nan, rounded, quiet));
        let halves = op!(_mm512_cvtepi32_epi16(wide));
        // SAFETY: `out` is 32 writable bytes, the store may be unaligned.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), halves) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        op!(_mm512_abs_ps(a))
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        op!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }

    #[inline(always)]
    fn exp2i(self, n: __m512) -> __m512 {
        let n = op!(_mm512_cvtps_epi32(n));
        let biased = op!(_mm512_add_epi32(n, op!(_mm512_set1_epi32(127))));
        op!(_mm512_castsi512_ps(op!(_mm512_slli_epi32::<23>(biased))))
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        let (low, high) = halves(v);
        self.avx2.sum(self.avx2.add(low, high))
    }

    #[inline(always)]
    fn max_lane(self, v: __m512) -> f32 {
        let (low, high) = halves(v);
        self.avx2.max_lane(self.avx2.max(low, high))
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        op!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn sub_i32(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_sub_epi32(a, b))
    }

    #[inline(always)]
    fn shl_i32(self, a: __m512i, n: u32) -> __m512i {
        op!(_mm512_sll_epi32(a, op!(_mm_cvtsi32_si128(n as i32))))
    }

    #[inline(always)]
    fn to_f32(self, a: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn load_i32(self, xs: &[i32]) -> __m512i {
        let xs: &[i32; LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is sixteen readable i32, the load may be unaligned.
        unsafe { _mm512_loadu_si512(xs.as_ptr().cast()) }
    }

    #[inline(always)]
    fn scale(self, scale: __m512) -> Scale {
        Scale { scale, anchor: self.mul(scale, self.splat(-ANCHOR)) }
    }

    #[inline(always)]
    fn scaled(self, total: __m512i, scale: Scale) -> __m512 {
        // (ANCHOR + total) · d - ANCHOR · d: one instruction where there would be two.
        self.fma(op!(_mm512_castsi512_ps(total)), scale.scale, scale.anchor)
    }

    #[inline(always)]
    fn store_quads(self, v: __m512, out: &mut [i32]) {
        let out: &mut [i32; LANES / 4] = out.first_chunk_mut().expect("a full vector");
        let bytes = op!(_mm512_cvtsepi32_epi8(op!(_mm512_cvtps_epi32(v))));
        // SAFETY: `out` is sixteen writable bytes, the store may be unaligned.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) }
    }

    #[inline(always)]
    fn prefetch<T>(self, xs: &[T], ahead: usize) {
        let at = xs.as_ptr().wrapping_add(ahead);
        // SAFETY: a prefetch reads nothing that a program sees, and no address makes it fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn load_bytes(self, xs: &[u8]) -> __m512i {
        let xs: &[u8; 4 * LANES] = xs.first_chunk().expect("a full vector");
        // SAFETY: `xs` is 64 readable bytes, the load may be unaligned.
        unsafe { _mm512_loadu_si512(xs.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_bytes(self, v: __m512i, out: &mut [u8]) {
        let out: &mut [u8; 4 * LANES] = out.first_chunk_mut().expect("a full vector");
        // SAFETY: `out` is 64 writable bytes, the store may be unaligned.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn splat_quad(self, quad: i32) -> __m512i {
        op!(_mm512_set1_epi32(quad))
    }

    #[inline(always)]
    fn bits(self, v: __m512i, shift: i32, mask: u8) -> __m512i {
        let count = op!(_mm_cvtsi32_si128(shift.abs()));
        let moved = match shift {
            0 => v,
            1.. => op!(_mm512_srl_epi16(v, count)),
            _ => op!(_mm512_sll_epi16(v, count)),
        };
        op!(_mm512_and_si512(moved, op!(_mm512_set1_epi8(mask as i8))))
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn less(self, v: __m512i, by: u8) -> __m512i {
        op!(_mm512_sub_epi8(v, op!(_mm512_set1_epi8(by as i8))))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: __m512i) -> __m512i {
        // SAFETY: sixteen readable bytes, the load may be unaligned.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        op!(_mm512_shuffle_epi8(op!(_mm512_broadcast_i32x4(table)), index))
    }

    #[inline(always)]
    fn quads_in_sum(self, _max_code: u8) -> usize {
        usize::MAX
    }

    #[inline(always)]
    fn zero_sum(self) -> __m512i {
        op!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn dot(self, sum: __m512i, codes: __m512i, quad: __m512i) -> __m512i {
        op!(_mm512_dpbusd_epi32(sum, codes, quad))
    }

    #[inline(always)]
    fn add_sum(self, a: __m512i, sum: __m512i) -> __m512i {
        op!(_mm512_add_epi32(a, sum))
    }

    #[inline(always)]
    fn dot_i32(self, a: __m512i, codes: __m512i, quad: __m512i) -> __m512i {
        op!(_mm512_dpbusd_epi32(a, codes, quad))
    }

    #[inline(always)]
    fn add_scaled_first(self, a: __m512i, sum: __m512i, scales: __m512i) -> __m512i {
        let scales = op!(_mm512_srai_epi32::<16>(op!(_mm512_slli_epi32::<16>(scales))));
        op!(_mm512_add_epi32(a, op!(_mm512_mullo_epi32(sum, scales))))
    }

    #[inline(always)]
    fn add_scaled_second(self, a: __m512i, sum: __m512i, scales: __m512i) -> __m512i {
        let scales = op!(_mm512_srai_epi32::<16>(scales));
        op!(_mm512_add_epi32(a, op!(_mm512_mullo_epi32(sum, scales))))
    }

    #[inline(always)]
    fn signed(self, codes: __m512i) -> __m512i {
        op!(_mm512_xor_si512(codes, op!(_mm512_set1_epi8(i8::MIN))))
    }

    #[inline(always)]
    fn dot_signed(self, sum: __m512i, codes: __m512i, quad: __m512i) -> __m512i {
        op!(_mm512_dpbusd_epi32(sum, codes, quad))
    }

    #[inline(always)]
    fn load_pairs_i8(self, xs: &[u8]) -> __m512i {
        let xs: &[u8; 2 * LANES] = xs.first_chunk().expect("a full vector");
        op!(_mm512_cvtepi8_epi16(load_32_bytes(xs)))
    }

    #[inline(always)]
    fn load_pairs_u8(self, xs: &[u8]) -> __m512i {
        let xs: &[u8; 2 * LANES] = xs.first_chunk().expect("a full vector");
        op!(_mm512_cvtepu8_epi16(load_32_bytes(xs)))
    }

    #[inline(always)]
    fn load_pairs_low(self, xs: &[u8]) -> __m512i {
        op!(_mm512_and_si512(self.load_pairs_u8(xs), op!(_mm512_set1_epi16(15))))
    }

    #[inline(always)]
    fn load_pairs_high(self, xs: &[u8]) -> __m512i {
        op!(_mm512_srli_epi16::<4>(self.load_pairs_u8(xs)))
    }

    #[inline(always)]
    fn dot_pairs(self, a: __m512i, xs: __m512i, pair: i32) -> __m512i {
        op!(_mm512_dpwssd_epi32(a, xs, op!(_mm512_set1_epi32(pair))))
    }
}
