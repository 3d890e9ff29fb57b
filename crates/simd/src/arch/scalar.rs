//! Plain arrays: what every other ISA is checked against, and what any CPU can run.

use half::{bf16, f16};

use crate::Isa;

/// The instructions that every CPU has.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

const LANES: usize = 8;
type F32 = [f32; LANES];
type I32 = [i32; LANES];

#[inline(always)]
fn map2<T: Copy, U: Copy, R>(a: [T; LANES], b: [U; LANES], f: impl Fn(T, U) -> R) -> [R; LANES] {
    std::array::from_fn(
        #[inline(always)]
        |i| f(a[i], b[i]),
    )
}

#[inline(always)]
fn halve(mut v: F32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            v[i] = f(v[i], v[i + half]);
        }
        half /= 2;
    }
    v[0]
}

#[inline(always)]
fn dot_quad(a: i32, w: [i32; 4], x: [u8; 4]) -> i32 {
    let products: [i32; 4] = std::array::from_fn(
        #[inline(always)]
        |i| w[i].wrapping_mul(i32::from(x[i] as i8)),
    );
    a.wrapping_add(products[0])
        .wrapping_add(products[1])
        .wrapping_add(products[2])
        .wrapping_add(products[3])
}

impl Isa for Scalar {
    const NAME: &'static str = "scalar";
    const LANES: usize = LANES;
    const VECTORS: bool = false;
    const SIGNED_BIAS: u8 = 0;
    const TOTAL_START: i32 = 0;
    type F32 = F32;
    type I32 = I32;
    type Bytes = [[u8; 4]; LANES];
    type Sum = I32;
    type Signed = [[u8; 4]; LANES];
    type Pairs = [[i16; 2]; LANES];
    type Scale = F32;

    #[inline(never)]
    fn outline<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }

    #[inline(always)]
    fn hide(self, n: usize) -> usize {
        std::hint::black_box(n)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32 {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, xs: &[f32]) -> F32 {
        *xs.first_chunk().expect("a full vector")
    }

    #[inline(always)]
    fn store(self, v: F32, out: &mut [f32]) {
        *out.first_chunk_mut().expect("a full vector") = v;
    }

    #[inline(always)]
    fn load_f16(self, xs: &[f16]) -> F32 {
        xs.first_chunk::<LANES>().expect("a full vector").map(f16::to_f32)
    }

    #[inline(always)]
    fn load_bf16(self, xs: &[bf16]) -> F32 {
        xs.first_chunk::<LANES>().expect("a full vector").map(bf16::to_f32)
    }

    #[inline(always)]
    fn load_e4m3(self, xs: &[u8]) -> F32 {
        xs.first_chunk::<LANES>().expect("a full vector").map(e4m3)
    }

    #[inline(always)]
    fn store_f16(self, v: F32, out: &mut [f16]) {
        *out.first_chunk_mut().expect("a full vector") = v.map(f16::from_f32);
    }

    #[inline(always)]
    fn store_bf16(self, v: F32, out: &mut [bf16]) {
        *out.first_chunk_mut().expect("a full vector") = v.map(bf16::from_f32);
    }

    #[inline(always)]
    fn add(self, a: F32, b: F32) -> F32 {
        map2(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: F32, b: F32) -> F32 {
        map2(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: F32, b: F32) -> F32 {
        map2(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: F32, b: F32) -> F32 {
        map2(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: F32, b: F32, c: F32) -> F32 {
        // Not `mul_add`: without FMA that is a library call for each element.
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: F32, b: F32) -> F32 {
        map2(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: F32, b: F32) -> F32 {
        map2(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn abs(self, a: F32) -> F32 {
        a.map(f32::abs)
    }

    #[inline(always)]
    fn round(self, a: F32) -> F32 {
        a.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn exp2i(self, n: F32) -> F32 {
        n.map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }

    #[inline(always)]
    fn sum(self, v: F32) -> f32 {
        halve(v, |a, b| a + b)
    }

    #[inline(always)]
    fn max_lane(self, v: F32) -> f32 {
        halve(v, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> I32 {
        [x; LANES]
    }

    #[inline(always)]
    fn add_i32(self, a: I32, b: I32) -> I32 {
        map2(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub_i32(self, a: I32, b: I32) -> I32 {
        map2(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn shl_i32(self, a: I32, n: u32) -> I32 {
        a.map(|a| a << n)
    }

    #[inline(always)]
    fn to_f32(self, a: I32) -> F32 {
        a.map(|a| a as f32)
    }

    #[inline(always)]
    fn load_i32(self, xs: &[i32]) -> I32 {
        *xs.first_chunk().expect("a full vector")
    }

    #[inline(always)]
    fn scale(self, x: F32) -> F32 {
        x
    }

    #[inline(always)]
    fn scaled(self, total: I32, scale: F32) -> F32 {
        self.mul(self.to_f32(total), scale)
    }

    #[inline(always)]
    fn store_quads(self, v: F32, out: &mut [i32]) {
        // Rust's cast saturates and takes NaN to 0, x86 takes both to its lowest integer.
        let v = v.map(|x| if x.is_finite() { x.round_ties_even() as i8 } else { i8::MIN });
        for (quad, out) in v.chunks_exact(4).zip(&mut out[..LANES / 4]) {
            *out = i32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]].map(|x| x as u8));
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}

    #[inline(always)]
    fn load_bytes(self, xs: &[u8]) -> Self::Bytes {
        let xs: &[u8; 4 * LANES] = xs.first_chunk().expect("a full vector");
        std::array::from_fn(|i| [xs[4 * i], xs[4 * i + 1], xs[4 * i + 2], xs[4 * i + 3]])
    }

    #[inline(always)]
    fn store_bytes(self, v: Self::Bytes, out: &mut [u8]) {
        out[..4 * LANES].copy_from_slice(v.as_flattened());
    }

    #[inline(always)]
    fn splat_quad(self, quad: i32) -> Self::Bytes {
        [quad.to_le_bytes(); LANES]
    }

    #[inline(always)]
    fn bits(self, v: Self::Bytes, shift: i32, mask: u8) -> Self::Bytes {
        v.map(|v| v.map(|b| (if shift < 0 { b << -shift } else { b >> shift }) & mask))
    }

    #[inline(always)]
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, |a, b| std::array::from_fn(|i| a[i] | b[i]))
    }

    #[inline(always)]
    fn less(self, v: Self::Bytes, by: u8) -> Self::Bytes {
        v.map(|v| v.map(|b| b.wrapping_sub(by)))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: Self::Bytes) -> Self::Bytes {
        index.map(|row| row.map(|i| table[usize::from(i)] as u8))
    }

    #[inline(always)]
    fn quads_in_sum(self, _max_code: u8) -> usize {
        usize::MAX
    }

    #[inline(always)]
    fn zero_sum(self) -> I32 {
        [0; LANES]
    }

    #[inline(always)]
    fn dot(self, sum: I32, codes: Self::Bytes, quad: Self::Bytes) -> I32 {
        std::array::from_fn(|i| dot_quad(sum[i], codes[i].map(i32::from), quad[i]))
    }

    #[inline(always)]
    fn add_sum(self, a: I32, sum: I32) -> I32 {
        self.add_i32(a, sum)
    }

    #[inline(always)]
    fn add_scaled_first(self, a: I32, sum: I32, scales: Self::Pairs) -> I32 {
        std::array::from_fn(|i| a[i] + sum[i] * i32::from(scales[i][0]))
    }

    #[inline(always)]
    fn add_scaled_second(self, a: I32, sum: I32, scales: Self::Pairs) -> I32 {
        std::array::from_fn(|i| a[i] + sum[i] * i32::from(scales[i][1]))
    }

    #[inline(always)]
    fn signed(self, codes: Self::Bytes) -> Self::Signed {
        codes
    }

    #[inline(always)]
    fn dot_signed(self, a: I32, codes: Self::Signed, quad: Self::Bytes) -> I32 {
        std::array::from_fn(|i| dot_quad(a[i], codes[i].map(|w| i32::from(w as i8)), quad[i]))
    }

    #[inline(always)]
    fn load_pairs_i8(self, xs: &[u8]) -> Self::Pairs {
        std::array::from_fn(|i| [xs[2 * i], xs[2 * i + 1]].map(|x| i16::from(x as i8)))
    }

    #[inline(always)]
    fn load_pairs_u8(self, xs: &[u8]) -> Self::Pairs {
        std::array::from_fn(|i| [i16::from(xs[2 * i]), i16::from(xs[2 * i + 1])])
    }

    #[inline(always)]
    fn load_pairs_low(self, xs: &[u8]) -> Self::Pairs {
        self.load_pairs_u8(xs).map(|pair| pair.map(|x| x & 15))
    }

    #[inline(always)]
    fn load_pairs_high(self, xs: &[u8]) -> Self::Pairs {
        self.load_pairs_u8(xs).map(|pair| pair.map(|x| x >> 4))
    }

    #[inline(always)]
    fn dot_pairs(self, a: I32, xs: Self::Pairs, pair: i32) -> I32 {
        let (first, second) = (i32::from(pair as i16), pair >> 16);
        std::array::from_fn(|i| a[i] + i32::from(xs[i][0]) * first + i32::from(xs[i][1]) * second)
    }
}

/// FP8 E4M3 without infinities: sign, four bits of exponent (bias 7), three of fraction.
#[inline(always)]
fn e4m3(byte: u8) -> f32 {
    let magnitude = byte & 0x7f;
    if magnitude == 0x7f {
        return f32::NAN;
    }
    // The same fields as an f16, whose bias is 15: short of a factor of 2⁸.
    let half = f16::from_bits(u16::from(byte & 0x80) << 8 | u16::from(magnitude) << 7);
    half.to_f32() * 256.0
}
