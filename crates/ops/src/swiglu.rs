//! SwiGLU (arXiv 2002.05202), between its two products.
//!
//! ```text
//! y = silu(gate) · up        silu(x) = x / (1 + e⁻ˣ)
//! ```

use par::Pool;
use simd::{Best, Isa, Kernel, dispatch};

/// Elements a task: enough to be worth a thread.
const ELEMENTS_PER_TASK: usize = 8 * 1024;

/// gate (…) = silu(gate) · up (…), element by element.
pub fn forward(pool: &Pool, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    let best = Best::detect();
    pool.for_chunks(gate, ELEMENTS_PER_TASK, |i, gate| {
        let up = &up[i * ELEMENTS_PER_TASK..][..gate.len()];
        dispatch(best, Gate { gate, up });
    });
}

struct Gate<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let whole = self.gate.len() / I::LANES * I::LANES;
        let (body, tail) = self.gate.split_at_mut(whole);
        let (body_up, tail_up) = self.up.split_at(whole);
        for (gate, up) in body.chunks_exact_mut(I::LANES).zip(body_up.chunks_exact(I::LANES)) {
            isa.store(isa.mul(simd::math::silu(isa, isa.load(gate)), isa.load(up)), gate);
        }
        let gate = isa.load_head(tail, 0.0);
        let up = isa.load_head(tail_up, 0.0);
        isa.store_head(isa.mul(simd::math::silu(isa, gate), up), tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_agrees_with_f64() {
        for n in [1, 8, 19, 64] {
            let gate: Vec<f32> = (0..n).map(|i| i as f32 - 9.5).collect();
            let up: Vec<f32> = (0..n).map(|i| 1.0 - i as f32 / 3.0).collect();
            for best in Best::all() {
                let mut y = gate.clone();
                dispatch(best, Gate { gate: &mut y, up: &up });
                for i in 0..n {
                    let g = f64::from(gate[i]);
                    let exact = g / (1.0 + (-g).exp()) * f64::from(up[i]);
                    assert!((f64::from(y[i]) - exact).abs() <= 1e-6 * exact.abs().max(1e-3));
                }
            }
        }
    }
}
