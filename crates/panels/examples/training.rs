//! Speed of the f32 products of a training step, beside what this machine multiplies at best.
//!
//! `cargo run --release -p ruminate-panels --example training -- [THREADS] [TOKENS]`

#![expect(clippy::print_stdout, reason = "a bench prints its rows")]

use std::time::Instant;

use par::Pool;
use quant::QuantType;
use ruminate_panels::peak::Peak;
use ruminate_panels::{Activations, Gemm, Panels, Start, View, gemm, matmul};
use simd::Best;

/// Inputs and outputs of the matrices of small models.
const SHAPES: [(usize, usize); 6] =
    [(576, 576), (576, 1_536), (1_536, 576), (256, 256), (256, 1_024), (1_024, 256)];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or| args.get(i).and_then(|n| n.parse().ok()).unwrap_or(or);
    let (pool, tokens) = (Pool::new(number(0, 1)), number(1, 1_024));
    for (k, n) in SHAPES {
        let noise = |seed: usize, len: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7_919 + seed) % 2_003) as f32 / 1_001.0 - 1.0).collect()
        };
        let (x, dy, w) = (noise(1, tokens * k), noise(2, tokens * n), noise(3, n * k));
        let mut panels = Panels::zeros(QuantType::F32, n, k);
        panels.fill(&pool, View::rows(&w, k));
        let mut rows = Activations::new(tokens, k, &[]);
        rows.load(&x, tokens, k);
        let (mut y, mut dx, mut dw) =
            (vec![0.0; tokens * n], vec![0.0; tokens * k], vec![0.0; n * k]);
        let roof = Peak::Float.measure(Best::detect(), &pool);
        let share = |run: &mut dyn FnMut()| {
            let times = (0..9).map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64()
            });
            let seconds = times.fold(f64::INFINITY, f64::min);
            let flops = 2.0 * (tokens * n * k) as f64 / seconds;
            format!("{:4.0} ({:2.0} %)", flops / 1e9, 100.0 * flops / roof)
        };
        let forward = share(&mut || matmul(&pool, &mut y, &rows, &panels));
        let how = |k, start| Gemm { k, start };
        let inputs = share(&mut || {
            let sides = (View::rows(&dy, n), View::rows(&w, k));
            gemm(&pool, &mut dx, k, sides, how(n, Start::Zero));
        });
        let weights = share(&mut || {
            let sides = (View::rows(&dy, n).turned(), View::rows(&x, k));
            gemm(&pool, &mut dw, k, sides, how(tokens, Start::Kept));
        });
        println!(
            "{tokens} x {k:4} to {n:4}  GFLOP/s forward {forward}  inputs {inputs}  weights \
             {weights}  of {:.0}",
            roof / 1e9
        );
    }
}
