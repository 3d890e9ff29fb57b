//! SwiGLU (arXiv 2002.05202), between its two products.
//!
//! ```text
//! y = silu(gate) · up        silu(x) = x / (1 + e⁻ˣ)
//! ```

use par::{Chunks, Pool};
use simd::{Best, Isa, Kernel, dispatch};

/// Elements a task: enough to be worth a thread.
const ELEMENTS_PER_TASK: usize = 8 * 1024;

/// y (…) = silu(gate (…)) · up (…), element by element.
pub fn forward(pool: &Pool, y: &mut [f32], gate: &[f32], up: &[f32]) {
    assert_eq!(y.len(), gate.len());
    assert_eq!(y.len(), up.len());
    let best = Best::detect();
    pool.for_chunks(y, ELEMENTS_PER_TASK, |i, y| {
        let gate = &gate[i * ELEMENTS_PER_TASK..][..y.len()];
        let up = &up[i * ELEMENTS_PER_TASK..][..y.len()];
        dispatch(best, Gate { y, gate, up });
    });
}

/// dy (…), the gradient of y, becomes that of gate; d_up (…) = that of up.
pub fn backward(pool: &Pool, dy: &mut [f32], d_up: &mut [f32], gate: &[f32], up: &[f32]) {
    assert_eq!(dy.len(), gate.len());
    assert_eq!(dy.len(), up.len());
    let best = Best::detect();
    let parts = (Chunks::new(dy, ELEMENTS_PER_TASK), Chunks::new(d_up, ELEMENTS_PER_TASK));
    pool.for_parts(parts, |i, (dy, d_up)| {
        let gate = &gate[i * ELEMENTS_PER_TASK..][..dy.len()];
        let up = &up[i * ELEMENTS_PER_TASK..][..dy.len()];
        dispatch(best, GateBack { dy, d_up, gate, up });
    });
}

struct Gate<'a> {
    y: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
}

struct GateBack<'a> {
    dy: &'a mut [f32],
    d_up: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
}

impl Kernel for GateBack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let grads = self.dy.chunks_mut(I::LANES).zip(self.d_up.chunks_mut(I::LANES));
        let inputs = self.gate.chunks(I::LANES).zip(self.up.chunks(I::LANES));
        for ((dy, d_up), (gate, up)) in grads.zip(inputs) {
            let one = isa.splat(1.0);
            let (d, g) = (isa.load_head(dy, 0.0), isa.load_head(gate, 0.0));
            let sigmoid = simd::math::sigmoid(isa, g);
            // silu' = σ · (1 + x · (1 − σ))
            let slope = isa.mul(sigmoid, isa.fma(g, isa.sub(one, sigmoid), one));
            isa.store_head(isa.mul(d, isa.mul(g, sigmoid)), d_up);
            isa.store_head(isa.mul(isa.mul(d, isa.load_head(up, 0.0)), slope), dy);
        }
    }
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let whole = self.y.len() / I::LANES * I::LANES;
        let (body, tail) = self.y.split_at_mut(whole);
        let (body_gate, tail_gate) = self.gate.split_at(whole);
        let (body_up, tail_up) = self.up.split_at(whole);
        let inputs = body_gate.chunks_exact(I::LANES).zip(body_up.chunks_exact(I::LANES));
        for (y, (gate, up)) in body.chunks_exact_mut(I::LANES).zip(inputs) {
            isa.store(isa.mul(simd::math::silu(isa, isa.load(gate)), isa.load(up)), y);
        }
        let gate = isa.load_head(tail_gate, 0.0);
        let up = isa.load_head(tail_up, 0.0);
        isa.store_head(isa.mul(simd::math::silu(isa, gate), up), tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    #[test]
    fn gradient_matches_finite_difference() {
        for n in [1, 19, 64] {
            let (gate, up, dy) = (noise(1, n), noise(2, n), noise(3, n));
            let (mut d_gate, mut d_up) = (dy.clone(), vec![f32::NAN; n]);
            backward(&Pool::new(2), &mut d_gate, &mut d_up, &gate, &up);
            let term = |i: usize, g: f64, u: f64| f64::from(dy[i]) * g / (1.0 + (-g).exp()) * u;
            let by_gate = |g: &[f64]| (0..n).map(|i| term(i, g[i], up[i].into())).sum();
            let by_up = |u: &[f64]| (0..n).map(|i| term(i, gate[i].into(), u[i])).sum();
            check(by_gate, &gate, &d_gate, 1e-5);
            check(by_up, &up, &d_up, 1e-5);
        }
    }

    #[test]
    fn every_isa_agrees_with_f64() {
        for n in [1, 8, 19, 64] {
            let gate: Vec<f32> = (0..n).map(|i| i as f32 - 9.5).collect();
            let up: Vec<f32> = (0..n).map(|i| 1.0 - i as f32 / 3.0).collect();
            for best in Best::all() {
                let mut y = vec![0.0; n];
                dispatch(best, Gate { y: &mut y, gate: &gate, up: &up });
                for i in 0..n {
                    let g = f64::from(gate[i]);
                    let exact = g / (1.0 + (-g).exp()) * f64::from(up[i]);
                    assert!((f64::from(y[i]) - exact).abs() <= 1e-6 * exact.abs().max(1e-3));
                }
            }
        }
    }
}
