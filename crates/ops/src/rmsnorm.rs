//! RMSNorm (arXiv 1910.07467): a row scaled to unit mean square, then by a learned weight.
//!
//! ```text
//! y = x · r · w        r = 1 / √(mean(x²) + eps)
//! ```

use par::{Chunks, Pool};
use simd::{Best, Isa, Kernel, dispatch};

/// Rows are handed to threads in groups of so many.
const ROWS_PER_TASK: usize = 8;

/// y (T, D) = norm of x (T, D), scaled by w (D).
pub fn forward(pool: &Pool, y: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
    let d = w.len();
    assert_eq!(y.len(), x.len(), "a norm keeps the shape");
    assert_eq!(x.len() % d, 0, "rows of {d}");
    let best = Best::detect();
    pool.for_chunks(y, ROWS_PER_TASK * d, |i, y| {
        let x = &x[i * ROWS_PER_TASK * d..][..y.len()];
        dispatch(best, Norm { y, x, w, eps });
    });
}

/// The same on the heads of x (T, heads·D), in place; rows are `width` = heads·D long.
pub fn forward_heads(pool: &Pool, x: &mut [f32], width: usize, w: &[f32], eps: f32) {
    let best = Best::detect();
    pool.for_parts(Chunks::new(x, ROWS_PER_TASK * width), |_, rows| {
        dispatch(best, NormInPlace { x: rows, w, eps });
    });
}

/// Columns of d_w a task.
const COLUMNS_PER_TASK: usize = 64;

/// dx (T, D) += … and, unless it is frozen, dw (D) += …, from dy (T, D) and what the norm read.
pub fn backward(
    pool: &Pool,
    (dx, dw): (&mut [f32], Option<&mut [f32]>),
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    eps: f32,
) {
    let d = w.len();
    assert_eq!(dx.len(), x.len());
    assert_eq!(dy.len(), x.len());
    assert_eq!(x.len() % d, 0, "rows of {d}");
    let best = Best::detect();
    let mut inverse = vec![0.0; x.len() / d];
    let parts = (Chunks::new(dx, ROWS_PER_TASK * d), Chunks::new(&mut inverse, ROWS_PER_TASK));
    pool.for_parts(parts, |i, (dx, inverse)| {
        let at = i * ROWS_PER_TASK * d;
        let (dy, x) = (&dy[at..][..dx.len()], &x[at..][..dx.len()]);
        dispatch(best, NormBack { dx, inverse, dy, x, w, eps });
    });
    let Some(dw) = dw else { return };
    assert_eq!(dw.len(), d);
    pool.for_chunks(dw, COLUMNS_PER_TASK, |i, dw| {
        let rows = dy.chunks_exact(d).zip(x.chunks_exact(d)).zip(&inverse);
        for ((dy, x), r) in rows {
            let from = i * COLUMNS_PER_TASK;
            let (dy, x) = (&dy[from..][..dw.len()], &x[from..][..dw.len()]);
            for i in 0..dw.len() {
                dw[i] += dy[i] * x[i] * r;
            }
        }
    });
}

struct NormBack<'a> {
    dx: &'a mut [f32],
    /// r of each row.
    inverse: &'a mut [f32],
    dy: &'a [f32],
    x: &'a [f32],
    w: &'a [f32],
    eps: f32,
}

impl Kernel for NormBack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let d = self.w.len();
        let rows = self.dx.chunks_exact_mut(d).zip(self.inverse);
        let inputs = self.dy.chunks_exact(d).zip(self.x.chunks_exact(d));
        for ((dx, r), (dy, x)) in rows.zip(inputs) {
            *r = inverse_rms(isa, x, self.eps);
            // Sixteen sums over ascending i, then added by halving.
            let mut sums = [0.0f32; 16];
            for ((dy, w), x) in dy.chunks(16).zip(self.w.chunks(16)).zip(x.chunks(16)) {
                for i in 0..dy.len() {
                    sums[i] += dy[i] * w[i] * x[i];
                }
            }
            let mut half = 8;
            while half > 0 {
                (0..half).for_each(|i| sums[i] += sums[i + half]);
                half /= 2;
            }
            let pull = *r * *r * (sums[0] / d as f32);
            for i in 0..d {
                dx[i] += *r * (dy[i] * self.w[i] - x[i] * pull);
            }
        }
    }
}

struct Norm<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    w: &'a [f32],
    eps: f32,
}

impl Kernel for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let d = self.w.len();
        for (y, x) in self.y.chunks_exact_mut(d).zip(self.x.chunks_exact(d)) {
            let r = inverse_rms(isa, x, self.eps);
            for i in 0..d {
                y[i] = x[i] * r * self.w[i];
            }
        }
    }
}

struct NormInPlace<'a> {
    x: &'a mut [f32],
    w: &'a [f32],
    eps: f32,
}

impl Kernel for NormInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let d = self.w.len();
        for x in self.x.chunks_exact_mut(d) {
            let r = inverse_rms(isa, x, self.eps);
            for i in 0..d {
                x[i] = x[i] * r * self.w[i];
            }
        }
    }
}

/// r of one row.
#[inline(always)]
fn inverse_rms<I: Isa>(isa: I, x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(isa, x) / x.len() as f32 + eps).sqrt()
}

/// Σ x², in sixteen lanes over ascending i, then halved: the same tree on every vector width.
#[inline(always)]
fn sum_of_squares<I: Isa>(isa: I, x: &[f32]) -> f32 {
    const WIDTH: usize = 16;
    let mut acc = [isa.splat(0.0); 2];
    let whole = x.len() / WIDTH * WIDTH;
    for x in x[..whole].chunks_exact(WIDTH) {
        for (part, acc) in acc.iter_mut().enumerate().take(WIDTH / I::LANES) {
            let x = isa.load(&x[part * I::LANES..]);
            *acc = isa.fma(x, x, *acc);
        }
    }
    let tail = &x[whole..];
    for (part, acc) in acc.iter_mut().enumerate().take(WIDTH / I::LANES) {
        let x = isa.load_head(&tail[(part * I::LANES).min(tail.len())..], 0.0);
        *acc = isa.fma(x, x, *acc);
    }
    if I::LANES == WIDTH { isa.sum(acc[0]) } else { isa.sum(isa.add(acc[0], acc[1])) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    #[test]
    fn gradient_matches_finite_difference() {
        let (rows, d, eps) = (11, 70, 1e-3);
        let (x, w, dy) = (noise(1, rows * d), noise(2, d), noise(3, rows * d));
        let (mut dx, mut dw) = (vec![0.0; rows * d], vec![0.0; d]);
        backward(&Pool::new(2), (&mut dx, Some(&mut dw)), &dy, &x, &w, eps as f32);
        let loss = |x: &dyn Fn(usize) -> f64, w: &dyn Fn(usize) -> f64| {
            let row = |t: usize| {
                let mean = (0..d).map(|i| x(t * d + i).powi(2)).sum::<f64>() / d as f64;
                let terms = (0..d).map(|i| f64::from(dy[t * d + i]) * x(t * d + i) * w(i));
                terms.sum::<f64>() / (mean + eps).sqrt()
            };
            (0..rows).map(row).sum()
        };
        check(|at| loss(&|i| at[i], &|i| w[i].into()), &x, &dx, 1e-5);
        check(|at| loss(&|i| x[i].into(), &|i| at[i]), &w, &dw, 1e-5);
    }

    #[test]
    fn a_row_worked_by_hand() {
        let mut y = [0.0; 2];
        forward(&Pool::new(1), &mut y, &[3.0, 4.0], &[1.0, 2.0], 0.0);
        let rms = 12.5f32.sqrt();
        assert!((y[0] - 3.0 / rms).abs() < 1e-6 && (y[1] - 8.0 / rms).abs() < 1e-6, "{y:?}");
    }

    #[test]
    fn every_isa_agrees_with_f64_at_odd_lengths() {
        for d in [1, 7, 15, 16, 17, 96, 576, 1001] {
            let x: Vec<f32> = (0..d).map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0).collect();
            let w: Vec<f32> = (0..d).map(|i| 1.0 + (i % 5) as f32).collect();
            let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / d as f64;
            for best in Best::all() {
                let mut y = vec![0.0; d];
                dispatch(best, Norm { y: &mut y, x: &x, w: &w, eps: 1e-6 });
                for i in 0..d {
                    let exact = f64::from(x[i]) * f64::from(w[i]) / (mean + 1e-6).sqrt();
                    let error = (f64::from(y[i]) - exact).abs();
                    assert!(error <= 1e-6 * exact.abs().max(1e-3), "{} {d} {i}", best.name());
                }
            }
        }
    }
}
