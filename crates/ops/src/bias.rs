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

    #[test]
    fn each_row_gets_the_bias_once() {
        let mut y = vec![1.0; 3 * 70];
        add(&Pool::new(2), &mut y, &[0.0, 1.0, 2.0]);
        assert!(y.chunks(3).all(|row| row == [1.0, 2.0, 3.0]));
    }
}
