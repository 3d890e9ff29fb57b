//! Every operation of every ISA does what the scalar one does, lane for lane.

use half::{bf16, f16};
use ruminate_simd::testing::for_each_isa;
use ruminate_simd::{Best, Isa, Kernel, dispatch};

/// What a check works on: enough lanes for two vectors of the widest ISA.
const N: usize = 32;

/// Numbers that look random, the same in each run.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    })
}

fn floats(seed: u64) -> Vec<f32> {
    noise(seed).map(|x| (x % 20_001) as f32 * 0.01 - 100.0).take(N).collect()
}

fn bytes(seed: u64) -> Vec<u8> {
    noise(seed).map(|x| x as u8).take(4 * N).collect()
}

struct Floats<'a> {
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
}

impl Kernel for Floats<'_> {
    /// The results of each operation, (N) each.
    type Output = Vec<Vec<f32>>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let mut results = vec![vec![0.0; N]; 9];
        for at in (0..N).step_by(I::LANES) {
            let (a, b) = (isa.load(&self.a[at..]), isa.load(&self.b[at..]));
            let vectors = [
                isa.add(a, b),
                isa.sub(a, b),
                isa.mul(a, b),
                isa.div(a, b),
                isa.max(a, b),
                isa.min(a, b),
                isa.abs(a),
                isa.round(a),
                isa.exp2i(isa.round(a)),
            ];
            for (v, out) in vectors.into_iter().zip(&mut results) {
                isa.store(v, &mut out[at..]);
            }
        }
        results
    }
}

#[test]
fn float_operations_are_the_scalar_ones() {
    let (mut a, mut b) = (floats(1), floats(2));
    let c = floats(3);
    a[3] = f32::NAN;
    b[5] = f32::NAN;
    b[9] = 0.0;
    a[11] = 0.5;
    a[12] = 1.5;
    a[13] = -2.5;
    let run = |best| dispatch(best, Floats { a: &a, b: &b, c: &c });
    let expected = run(Best::named("scalar").unwrap());
    assert_eq!(expected[7][11..14], [0.0, 2.0, -2.0]);
    for_each_isa(|best| {
        for (op, (found, expected)) in run(best).iter().zip(&expected).enumerate() {
            for i in 0..N {
                let same = found[i].to_bits() == expected[i].to_bits()
                    || (found[i].is_nan() && expected[i].is_nan())
                    // 2ⁿ of NaN has no meaning.
                    || (op == 8 && a[i].is_nan());
                assert!(same, "operation {op}, lane {i}: {} and {}", found[i], expected[i]);
            }
        }
    });
}

struct Fma<'a>(Floats<'a>);

impl Kernel for Fma<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Vec<f32> {
        let mut out = vec![0.0; N];
        for at in (0..N).step_by(I::LANES) {
            let [a, b, c] = [self.0.a, self.0.b, self.0.c].map(|x| isa.load(&x[at..]));
            isa.store(isa.fma(a, b, c), &mut out[at..]);
        }
        out
    }
}

#[test]
fn fma_rounds_once_where_the_isa_can() {
    let (a, b, c) = (floats(4), floats(5), floats(6));
    for_each_isa(|best| {
        let found = dispatch(best, Fma(Floats { a: &a, b: &b, c: &c }));
        for i in 0..N {
            let once = a[i].mul_add(b[i], c[i]);
            let twice = a[i] * b[i] + c[i];
            assert_eq!(found[i], if best.name() == "scalar" { twice } else { once });
        }
    });
}

/// Sum and largest lane of each vector.
struct Across<'a>(&'a [f32]);

impl Kernel for Across<'_> {
    type Output = Vec<(usize, f32, f32)>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let vectors = self.0.chunks_exact(I::LANES).map(|x| isa.load(x));
        vectors.map(|v| (I::LANES, isa.sum(v), isa.max_lane(v))).collect()
    }
}

#[test]
fn sums_run_by_halving() {
    let xs = floats(7);
    for_each_isa(|best| {
        for (i, (lanes, sum, largest)) in dispatch(best, Across(&xs)).into_iter().enumerate() {
            let mut v = xs[i * lanes..(i + 1) * lanes].to_vec();
            assert_eq!(largest, v.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            while v.len() > 1 {
                let half = v.len() / 2;
                v = (0..half).map(|i| v[i] + v[i + half]).collect();
            }
            assert_eq!(sum, v[0]);
        }
    });
}

/// All f16 and bf16 patterns to f32 and back, all FP8 patterns to f32.
struct Narrow<'a>(&'a [f32]);

impl Kernel for Narrow<'_> {
    /// Bits of f16 to f32, bf16 to f32, FP8 to f32, and `self.0` to f16 and bf16.
    type Output = (Vec<u32>, Vec<u32>, Vec<u32>, Vec<u16>, Vec<u16>);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let (mut wide16, mut widebf, mut wide8) = (Vec::new(), Vec::new(), Vec::new());
        let mut out = vec![0.0; I::LANES];
        let mut bits = |v: I::F32, to: &mut Vec<u32>| {
            isa.store(v, &mut out);
            to.extend(out.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }));
        };
        for x in all.chunks_exact(I::LANES) {
            let halves: Vec<_> = x.iter().map(|&x| f16::from_bits(x)).collect();
            bits(isa.load_f16(&halves), &mut wide16);
            let halves: Vec<_> = x.iter().map(|&x| bf16::from_bits(x)).collect();
            bits(isa.load_bf16(&halves), &mut widebf);
            let bytes: Vec<_> = x.iter().map(|&x| x as u8).collect();
            bits(isa.load_e4m3(&bytes), &mut wide8);
        }
        let mut narrow16 = vec![f16::ZERO; self.0.len()];
        let mut narrowbf = vec![bf16::ZERO; self.0.len()];
        for at in (0..self.0.len()).step_by(I::LANES) {
            isa.store_f16(isa.load(&self.0[at..]), &mut narrow16[at..]);
            isa.store_bf16(isa.load(&self.0[at..]), &mut narrowbf[at..]);
        }
        let narrow16 = narrow16.iter().map(|x| if x.is_nan() { 0x7e00 } else { x.to_bits() });
        let narrowbf = narrowbf.iter().map(|x| x.to_bits());
        (wide16, widebf, wide8, narrow16.collect(), narrowbf.collect())
    }
}

#[test]
fn narrow_floats_are_read_and_rounded_as_in_scalar_code() {
    let mut xs: Vec<f32> = noise(8).take(4_096).map(|x| f32::from_bits(x as u32)).collect();
    // Ties, overflow, NaN and infinity.
    xs[..6].copy_from_slice(&[1.003_906_3, 1.011_718_8, 65_520.0, f32::NAN, f32::INFINITY, 1e-41]);
    let expected = dispatch(Best::named("scalar").unwrap(), Narrow(&xs));
    assert_eq!(f32::from_bits(expected.2[0x7e]), 448.0);
    assert_eq!(f32::from_bits(expected.2[0x81]), -1.0 / 512.0);
    for_each_isa(|best| assert!(dispatch(best, Narrow(&xs)) == expected));
}

struct Integers<'a> {
    codes: &'a [u8],
    quads: &'a [i32],
    scales: &'a [u8],
    floats: &'a [f32],
}

impl Kernel for Integers<'_> {
    /// Rows of (shifted bytes as i32, dots, scaled dots, signed dots, pair dots), and quads.
    type Output = (Vec<Vec<i32>>, Vec<i32>);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let mut rows = vec![vec![0; N]; 9];
        let mut quads = vec![0; N / 4];
        for at in (0..N).step_by(I::LANES) {
            let codes = isa.load_bytes(&self.codes[4 * at..]);
            let nibbles = [isa.bits(codes, 0, 15), isa.bits(codes, 4, 15)];
            let moved = isa.or(isa.bits(codes, -3, 0x10), isa.bits(codes, 6, 3));
            let table = std::array::from_fn(|i| (i as i8 - 8) * 13);
            let looked = isa.lookup(&table, nibbles[1]);
            let [x, y] = [self.quads[0], self.quads[1]].map(|quad| isa.splat_quad(quad));
            let sum = isa.dot(isa.dot(isa.zero_sum(), nibbles[0], x), nibbles[1], y);
            let pairs = isa.load_pairs_u8(&self.scales[2 * at..]);
            let signed_pairs = isa.load_pairs_i8(&self.scales[2 * at..]);
            let low = isa.load_pairs_low(&self.scales[2 * at..]);
            let high = isa.load_pairs_high(&self.scales[2 * at..]);
            let base = isa.splat_i32(1_000);
            let x_sum: i32 = self.quads[2..4].iter().flat_map(|q| q.to_le_bytes()).fold(
                0,
                #[inline(always)]
                |sum, x| sum + i32::from(x as i8),
            );
            let mut signed = isa.splat_i32(-x_sum * i32::from(I::SIGNED_BIAS));
            for &quad in &self.quads[2..4] {
                let sum = isa.dot_signed(isa.zero_sum(), isa.signed(codes), isa.splat_quad(quad));
                signed = isa.add_sum(signed, sum);
            }
            let results = [
                isa.add_sum(base, sum),
                isa.add_scaled_first(base, sum, pairs),
                isa.add_scaled_second(base, sum, signed_pairs),
                signed,
                isa.dot_pairs(base, signed_pairs, -5 << 16 | 300),
                isa.dot_pairs(isa.dot_pairs(base, low, 7), high, -9 << 16),
                isa.sub_i32(base, isa.shl_i32(isa.add_sum(base, sum), 5)),
            ];
            for (v, out) in results.into_iter().zip(&mut rows) {
                let mut floats = vec![0.0; I::LANES];
                isa.store(isa.to_f32(v), &mut floats);
                for (x, out) in floats.iter().zip(&mut out[at..]) {
                    *out = *x as i32;
                }
            }
            for (v, out) in [moved, looked].into_iter().zip(&mut rows[7..]) {
                let mut bytes = vec![0; 4 * I::LANES];
                isa.store_bytes(v, &mut bytes);
                for (x, out) in bytes.chunks_exact(4).zip(&mut out[at..]) {
                    *out = i32::from_le_bytes([x[0], x[1], x[2], x[3]]);
                }
            }
            isa.store_quads(isa.load(&self.floats[at..]), &mut quads[at / 4..]);
        }
        (rows, quads)
    }
}

#[test]
fn integer_operations_are_the_scalar_ones_at_their_extremes_too() {
    let mut codes = bytes(9);
    codes[..16].fill(0xff);
    codes[16..32].fill(0x80);
    codes[32..48].fill(0x7f);
    let mut scales = bytes(10);
    scales[..8].fill(0xff);
    let mut xs = floats(11);
    xs[..6].copy_from_slice(&[127.0, -127.0, 0.5, 1.5, f32::NAN, f32::INFINITY]);
    let extreme = [127i8, -127].map(|x| i32::from_le_bytes([x as u8; 4]));
    let mixed = [0x7f81_ff01u32, 0x0102_fffe].map(|x| x as i32);
    for quads in [[extreme[0]; 4], [extreme[1]; 4], [extreme[0], extreme[1], mixed[0], mixed[1]]] {
        let kernel = || Integers { codes: &codes, quads: &quads, scales: &scales, floats: &xs };
        let expected = dispatch(Best::named("scalar").unwrap(), kernel());
        for_each_isa(|best| assert_eq!(dispatch(best, kernel()), expected));
    }
}

#[test]
fn as_many_quads_fit_a_sum_as_the_isa_says() {
    struct Fill(u8);
    impl Kernel for Fill {
        type Output = (f32, f32);

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> (f32, f32) {
            let n = isa.quads_in_sum(self.0).min(64);
            let codes = isa.load_bytes(&[self.0; 64]);
            let mut sum = isa.zero_sum();
            for _ in 0..n {
                sum = isa.dot(sum, codes, isa.splat_quad(i32::from_le_bytes([127; 4])));
            }
            let sum = isa.max_lane(isa.to_f32(isa.add_sum(isa.splat_i32(0), sum)));
            (sum, n as f32 * 4.0 * 127.0 * f32::from(self.0))
        }
    }
    for max_code in [1, 3, 7, 15, 31, 63] {
        for_each_isa(|best| {
            let (found, expected) = dispatch(best, Fill(max_code));
            assert_eq!(found, expected);
        });
    }
}
