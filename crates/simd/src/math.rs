//! The transcendental functions, one implementation each for vector bodies and tails, and slices.
//!
//! ```text
//! exp(x) = 2ⁿ · e^r      n = round(x / ln 2)      r = x - n · ln 2, at most ln 2 / 2
//! ```
//!
//! Errors hold for every ISA, the scalar one (which rounds each fma twice) too.

use crate::{Best, Isa, Kernel, dispatch};

/// eˣ in each lane, within 2 ULP; 0 below -104, infinite above 88.73, NaN for NaN.
#[inline(always)]
pub fn exp<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    // ln 2 in two parts; the first has few enough bits for n times it to be exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Cephes' expf: e^r = 1 + r + r² · polynomial.
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

    // x is the second operand, which is what comes out for NaN.
    let x = isa.min(isa.splat(89.0), isa.max(isa.splat(-104.0), x));
    let n = isa.round(isa.mul(x, isa.splat(std::f32::consts::LOG2_E)));
    let r = isa.fma(n, isa.splat(-LN_2_HIGH), x);
    let r = isa.fma(n, isa.splat(-LN_2_LOW), r);
    let mut p = isa.splat(POLYNOMIAL[0]);
    for &c in &POLYNOMIAL[1..] {
        p = isa.fma(p, r, isa.splat(c));
    }
    let p = isa.add(isa.fma(p, isa.mul(r, r), r), isa.splat(1.0));
    // In two steps: 2ⁿ itself may be below or above what an f32 holds.
    let half = isa.round(isa.mul(n, isa.splat(0.5)));
    isa.mul(isa.mul(p, isa.exp2i(half)), isa.exp2i(isa.sub(n, half)))
}

/// 1 / (1 + e⁻ˣ) in each lane, within 4 ULP.
#[inline(always)]
pub fn sigmoid<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let one = isa.splat(1.0);
    isa.div(one, isa.add(one, exp(isa, isa.sub(isa.splat(0.0), x))))
}

/// x / (1 + e⁻ˣ) in each lane, within 4 ULP where the result is a normal number.
#[inline(always)]
pub fn silu<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    isa.div(x, isa.add(isa.splat(1.0), exp(isa, isa.sub(isa.splat(0.0), x))))
}

/// The largest of xs, -∞ of none. Without NaN in xs.
#[inline(always)]
pub fn max<I: Isa>(isa: I, xs: &[f32]) -> f32 {
    let mut largest = isa.splat(f32::NEG_INFINITY);
    let (body, tail) = xs.split_at(xs.len() - xs.len() % I::LANES);
    for x in body.chunks_exact(I::LANES) {
        largest = isa.max(largest, isa.load(x));
    }
    isa.max_lane(isa.max(largest, isa.load_head(tail, f32::NEG_INFINITY)))
}

/// xs (N) become e^(x - shift); returns their sum, in an order that N alone sets.
///
/// f32 sums are cut at 512 elements and meet in f64, so the error doesn't grow with N.
#[inline(always)]
pub fn exp_sum<I: Isa>(isa: I, xs: &mut [f32], shift: f32) -> f32 {
    let shift = isa.splat(shift);
    let mut total = 0.0;
    for run in xs.chunks_mut(SUM_RUN) {
        let mut sum = isa.splat(0.0);
        let (body, tail) = run.split_at_mut(run.len() - run.len() % I::LANES);
        for x in body.chunks_exact_mut(I::LANES) {
            let e = exp(isa, isa.sub(isa.load(x), shift));
            isa.store(e, x);
            sum = isa.add(sum, e);
        }
        // A lane without an element holds e^-∞ = 0.
        let e = exp(isa, isa.sub(isa.load_head(tail, f32::NEG_INFINITY), shift));
        isa.store_head(e, tail);
        total += f64::from(isa.sum(isa.add(sum, e)));
    }
    total as f32
}

const SUM_RUN: usize = 512;

/// ln Σ eˣ over xs (N), which must hold a finite number; within 1e-6 · (1 + |result|).
///
/// The one function for the sampler's log-probabilities and for losses: the same bits.
pub fn log_sum_exp(best: Best, xs: &[f32]) -> f32 {
    dispatch(best, LogSumExp { xs })
}

struct LogSumExp<'a> {
    /// (N)
    xs: &'a [f32],
}

impl Kernel for LogSumExp<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f32 {
        let largest = max(isa, self.xs);
        let mut total = 0.0;
        let mut run = [0.0; SUM_RUN];
        for xs in self.xs.chunks(SUM_RUN) {
            run[..xs.len()].copy_from_slice(xs);
            total += f64::from(exp_sum(isa, &mut run[..xs.len()], largest));
        }
        (f64::from(largest) + total.ln()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_isa;

    /// How far y is from the true value, in units of the last place of an f32 of that size.
    fn ulps(y: f32, truth: f64) -> f64 {
        if f64::from(y) == truth || (y.is_infinite() && truth > f64::from(f32::MAX)) {
            return 0.0;
        }
        let exponent = truth.abs().log2().floor().max(-126.0);
        (f64::from(y) - truth).abs() / (exponent - 23.0).exp2()
    }

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Sigmoid,
        Silu,
    }

    struct Map<'a> {
        function: Function,
        xs: &'a mut [f32],
    }

    impl Kernel for Map<'_> {
        type Output = ();

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            for xs in self.xs.chunks_mut(I::LANES) {
                let x = isa.load_head(xs, 0.0);
                let y = match self.function {
                    Function::Exp => exp(isa, x),
                    Function::Sigmoid => sigmoid(isa, x),
                    Function::Silu => silu(isa, x),
                };
                isa.store_head(y, xs);
            }
        }
    }

    fn map(best: Best, function: Function, xs: &[f32]) -> Vec<f32> {
        let mut ys = xs.to_vec();
        dispatch(best, Map { function, xs: &mut ys });
        ys
    }

    /// Even steps over the range, and fine ones near zero.
    fn points(low: f32, high: f32) -> Vec<f32> {
        let even = (0..200_000).map(|i| low + (high - low) * (i as f32 / 200_000.0));
        even.chain((0..20_000).map(|i| (i as f32 - 10_000.0) * 1e-5)).collect()
    }

    fn worst(best: Best, function: Function, xs: &[f32], truth: impl Fn(f64) -> f64) -> f64 {
        let ys = map(best, function, xs);
        xs.iter().zip(ys).map(|(&x, y)| ulps(y, truth(x.into()))).fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for_each_isa(|best| {
            let worst = worst(best, Function::Exp, &points(-104.0, 89.0), f64::exp);
            assert!(worst <= 2.0, "{worst} ULP");
        });
    }

    #[test]
    fn sigmoid_and_silu_are_within_four_ulp() {
        for_each_isa(|best| {
            let xs = points(-80.0, 80.0);
            let sigmoid = worst(best, Function::Sigmoid, &xs, |x| 1.0 / (1.0 + (-x).exp()));
            let silu = worst(best, Function::Silu, &xs, |x| x / (1.0 + (-x).exp()));
            assert!(sigmoid <= 4.0, "{sigmoid} ULP");
            assert!(silu <= 4.0, "{silu} ULP");
        });
    }

    #[test]
    fn exp_has_the_right_ends() {
        for_each_isa(|best| {
            let xs = [f32::NEG_INFINITY, -200.0, 0.0, 88.8, 1e9, f32::INFINITY, f32::NAN];
            let ys = map(best, Function::Exp, &xs);
            assert_eq!(ys[..6], [0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY]);
            assert!(ys[6].is_nan());
        });
    }

    #[test]
    fn an_element_has_the_same_bits_at_every_position() {
        for_each_isa(|best| {
            let alone = map(best, Function::Silu, &[1.234_567])[0];
            for at in 0..40 {
                let mut xs = vec![-0.5; 41];
                xs[at] = 1.234_567;
                assert_eq!(map(best, Function::Silu, &xs)[at].to_bits(), alone.to_bits());
            }
        });
    }

    #[test]
    fn log_sum_exp_agrees_with_f64_at_odd_lengths() {
        for_each_isa(|best| {
            for len in [1, 2, 7, 8, 9, 31, 511, 512, 513, 50_001] {
                let xs: Vec<f32> =
                    (0..len).map(|i| ((i * 7_919) % 1_000) as f32 * 0.03 - 20.0).collect();
                let truth = xs.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
                let found = f64::from(log_sum_exp(best, &xs));
                assert!((found - truth).abs() <= 1e-6 * (1.0 + truth.abs()), "{len}: {found}");
            }
        });
    }

    #[test]
    fn log_sum_exp_takes_masked_and_large_logits() {
        for_each_isa(|best| {
            assert_eq!(log_sum_exp(best, &[f32::NEG_INFINITY, 3.0]), 3.0);
            let large = log_sum_exp(best, &[1e4, 1e4]);
            assert!((f64::from(large) - (1e4 + 2f64.ln())).abs() < 1e-3);
        });
    }
}
