//! Speed of the products beside what this machine reads and multiplies at best.
//!
//! `cargo run --release -p ruminate-panels --example products -- [ISA] [THREADS] [TYPE]…`

#![expect(clippy::print_stdout, reason = "a bench prints its rows")]

use std::time::{Duration, Instant};

use par::Pool;
use quant::QuantType;
use ruminate_panels::peak::{Peak, read_bandwidth};
use ruminate_panels::{Activations, Form, Group, Panels, Rows, Start, multiply};
use simd::Best;

const K: usize = 4_096;
const N: usize = 4_096;
/// More than the caches hold.
const STREAM_BYTES: usize = 160 << 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let best = args.first().and_then(|name| Best::named(name)).unwrap_or_else(Best::detect);
    let threads = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let types: Vec<_> = args.iter().skip(2).filter_map(|name| QuantType::from_name(name)).collect();
    let types = if types.is_empty() { QuantType::ALL.to_vec() } else { types };
    let pool = Pool::new(threads);

    let read = read_bandwidth(best, &pool, &vec![1.0; STREAM_BYTES / 4]) / 1e9;
    println!("{} × {threads}: reads {read:.1} GB/s", best.name());
    for peak in Peak::ALL {
        println!("{} {:.0} GOP/s", peak.name(), peak.measure(best, &pool) / 1e9);
    }
    for ty in types {
        let decode = decode_gb_per_s(best, &pool, ty);
        let cached = prompt_gop_per_s(best, &pool, ty, 1) * ty.bits_per_weight() / 16.0;
        let prompts = [8, 32, 512].map(|tokens| prompt_gop_per_s(best, &pool, ty, tokens));
        println!(
            "{:8} {K}x{N}  T=1 {decode:6.1} GB/s {:3.0} % (cached {cached:4.0})   \
             GOP/s T=8 {:5.0}  T=32 {:5.0}  T=512 {:5.0}",
            ty.name(),
            100.0 * decode / read,
            prompts[0],
            prompts[1],
            prompts[2],
        );
    }
}

/// The best of some runs, as others use this machine too.
fn fastest(runs: usize, mut run: impl FnMut(usize)) -> Duration {
    let times = (0..runs).map(|i| {
        let start = Instant::now();
        run(i);
        start.elapsed()
    });
    times.min().expect("at least one run")
}

fn weights(pool: &Pool, ty: QuantType, rows: usize) -> Panels {
    let floats: Vec<f32> =
        (0..16 * K).map(|i| ((i * 7_919) % 1_009) as f32 / 504.0 - 1.0).collect();
    let mut bytes = vec![0; ty.row_bytes(K).expect("whole blocks") * 16];
    quant::encode(ty, &floats, &mut bytes);
    Panels::pack(pool, ty, rows, K, &bytes.repeat(rows / 16))
}

fn activations(best: Best, pool: &Pool, w: &Panels, tokens: usize) -> Activations {
    let mut x = Activations::new(tokens, K, &[w.form()]);
    for (i, x) in x.resize(tokens, K).iter_mut().enumerate() {
        *x = ((i * 104_729) % 2_003) as f32 / 1_001.0 - 1.0;
    }
    if w.form() != Form::F32 {
        x.prepare_on(best, pool, w.form());
    }
    x
}

fn decode_gb_per_s(best: Best, pool: &Pool, ty: QuantType) -> f64 {
    let first = weights(pool, ty, N);
    let copies = STREAM_BYTES.div_ceil(first.bytes());
    let matrices: Vec<_> = (0..copies).map(|_| weights(pool, ty, N)).collect();
    let x = activations(best, pool, &first, 1);
    let mut y = vec![0.0; N];
    let time = fastest(3 * copies, |i| {
        let groups = [Group { w: &matrices[i % copies], rows: Rows::All }];
        multiply(best, pool, &mut y, &x, &groups, Start::Zero);
    });
    first.bytes() as f64 / time.as_secs_f64() / 1e9
}

fn prompt_gop_per_s(best: Best, pool: &Pool, ty: QuantType, tokens: usize) -> f64 {
    // Panels for several strips a thread; one token's fit a cache.
    let rows = if tokens == 1 { 128 } else { 1_024 };
    let w = weights(pool, ty, rows);
    let x = activations(best, pool, &w, tokens);
    let mut y = vec![0.0; tokens * rows];
    let time = fastest(12, |_| {
        multiply(best, pool, &mut y, &x, &[Group { w: &w, rows: Rows::All }], Start::Zero);
    });
    w.ops(tokens) as f64 / time.as_secs_f64() / 1e9
}
