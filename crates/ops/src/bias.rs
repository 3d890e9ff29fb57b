//! A learned bias on every row of a product.

use par::Pool;
use simd::{Best, Isa, Kernel, dispatch};

/// Rows a task.
const ROWS_PER_TASK: usize = 32;

/// y (T, N) += bias (N), to each row.
pub fn add(pool: &Pool, y: &mut [f32], bias: &[f32]) {
    assert_eq!(y.len() % bias.len(), 0, "rows of {}", bias.len());
    let best = Best::detect();
    pool.for_chunks(y, ROWS_PER_TASK * bias.len(), |_, y| dispatch(best, AddRow { y, bias }));
}

/// Columns a task.
const COLUMNS_PER_TASK: usize = 64;

/// d_bias (N) += the rows of dy (T, N), one after another.
pub fn backward(pool: &Pool, d_bias: &mut [f32], dy: &[f32]) {
    let n = d_bias.len();
    assert_eq!(dy.len() % n, 0, "rows of {n}");
    pool.for_chunks(d_bias, COLUMNS_PER_TASK, |i, d_bias| {
        for dy in dy.chunks_exact(n) {
            let dy = &dy[i * COLUMNS_PER_TASK..][..d_bias.len()];
            d_bias.iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
        }
    });
}

struct AddRow<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for AddRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            for (y, bias) in row.iter_mut().zip(self.bias) {
                *y += bias;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    #[test]
    fn gradient_matches_finite_difference() {
        let (n, bias, dy) = (70, noise(1, 70), noise(2, 3 * 70));
        let mut d_bias = vec![0.0; n];
        backward(&Pool::new(2), &mut d_bias, &dy);
        let loss = |bias: &[f64]| (0..3 * n).map(|i| bias[i % n] * f64::from(dy[i])).sum();
        check(loss, &bias, &d_bias, 1e-5);
    }

    #[test]
    fn each_row_gets_the_bias_once() {
        let mut y = vec![1.0; 3 * 70];
        add(&Pool::new(2), &mut y, &[0.0, 1.0, 2.0]);
        assert!(y.chunks(3).all(|row| row == [1.0, 2.0, 3.0]));
    }
}
