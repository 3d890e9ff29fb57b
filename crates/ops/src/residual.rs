//! The residual stream: what a layer computes is added to what goes past it.

use par::Pool;
use simd::{Best, Isa, Kernel, dispatch};

/// Elements a task: enough to be worth a thread.
const ELEMENTS_PER_TASK: usize = 16 * 1024;

/// x (…) += y (…).
pub fn add(pool: &Pool, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    let best = Best::detect();
    pool.for_chunks(x, ELEMENTS_PER_TASK, |i, x| {
        let y = &y[i * ELEMENTS_PER_TASK..][..x.len()];
        dispatch(best, Add { x, y });
    });
}

struct Add<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        for (x, y) in self.x.iter_mut().zip(self.y) {
            *x += y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_added_once() {
        let n = 3 * ELEMENTS_PER_TASK + 5;
        let mut x: Vec<f32> = (0..n).map(|i| i as f32).collect();
        add(&Pool::new(2), &mut x, &vec![1.0; n]);
        assert!(x.iter().enumerate().all(|(i, &x)| x == i as f32 + 1.0));
    }
}
