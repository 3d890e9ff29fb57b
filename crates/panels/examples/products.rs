//! Speed of the products beside what this machine reads and multiplies at best.
//!
//! `cargo run --release -p ruminate-panels --example products -- [ISA] [THREADS] [TYPE]…`

#![expect(clippy::print_stdout, reason = "a bench prints its rows")]

use std::time::{Duration, Instant};

use par::Pool;
use quant::QuantType;
use ruminate_panels::{Activations, Form, Group, Panels, Rows, Start, multiply};
use simd::{Best, Isa, Kernel, dispatch};

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

    let read = bandwidth(best, &pool);
    let [nibble, byte, float] =
        [Roof::Nibble, Roof::Byte, Roof::Float].map(|roof| peak(best, &pool, roof));
    println!("{} × {threads}: reads {read:.1} GB/s", best.name());
    println!("peaks {nibble:.0} 4-bit, {byte:.0} 8-bit, {float:.0} f32 GOP/s");
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
    // Short enough that others on this machine seldom interrupt it.
    let rows = (64 * 512 / tokens).clamp(64, 1_024) / if tokens == 1 { 8 } else { 1 };
    let w = weights(pool, ty, rows);
    let x = activations(best, pool, &w, tokens);
    let mut y = vec![0.0; tokens * rows];
    let time = fastest(12, |_| {
        multiply(best, pool, &mut y, &x, &[Group { w: &w, rows: Rows::All }], Start::Zero);
    });
    w.ops(tokens) as f64 / time.as_secs_f64() / 1e9
}

struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f32 {
        let mut sums = [isa.splat(0.0); 8];
        for xs in self.0.chunks_exact(8 * I::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = isa.add(*sum, isa.load(&xs[i * I::LANES..]));
            }
        }
        sums.map(|sum| isa.sum(sum)).iter().sum()
    }
}

fn bandwidth(best: Best, pool: &Pool) -> f64 {
    let data = vec![1.0f32; STREAM_BYTES / 4];
    let tasks: Vec<&[f32]> = data.chunks(1 << 16).collect();
    let part = tasks.len() / 16;
    let time = fastest(64, |run| {
        let tasks = &tasks[run % 16 * part..][..part];
        pool.run(part, |i| {
            std::hint::black_box(dispatch(best, Read(tasks[i])));
        });
    });
    (part << 18) as f64 / time.as_secs_f64() / 1e9
}

#[derive(Clone, Copy)]
enum Roof {
    /// Unsigned 4-bit codes, as many products before a widening as fit.
    Nibble,
    /// Signed 8-bit codes.
    Byte,
    Float,
}

const ROUNDS: usize = 20_000;

impl Kernel for Roof {
    /// Operations done.
    type Output = u64;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u64 {
        let codes = isa.bits(isa.load_bytes(&[0x35; 64]), 0, 15);
        let x = isa.splat(std::hint::black_box(0.5));
        let quads: [i32; 8] = std::hint::black_box([1, 2, 3, 4, 5, 6, 7, 8]);
        let mut totals = [isa.splat_i32(0); 4];
        let mut floats = [isa.splat(0.0); 12];
        let in_sum = if let Self::Byte = self { isa.quads_in_sum(128) } else { 8 }.min(8);
        for _ in 0..ROUNDS {
            if let Self::Float = self {
                for f in &mut floats {
                    *f = isa.fma(x, x, *f);
                }
                continue;
            }
            // Weights that the compiler takes for new ones, as unpacked as they come.
            let codes = std::hint::black_box([codes; 4]);
            let mut sums = [isa.zero_sum(); 4];
            for q in 0..isa.hide(8) {
                let quad = isa.splat_quad(quads[q % 8]);
                for i in 0..4 {
                    sums[i] = match self {
                        Self::Byte => isa.dot_signed(sums[i], isa.signed(codes[i]), quad),
                        _ => isa.dot(sums[i], codes[i], quad),
                    };
                    if in_sum == 1 {
                        totals[i] = isa.add_sum(totals[i], sums[i]);
                        sums[i] = isa.zero_sum();
                    }
                }
            }
            for i in 0..4 {
                totals[i] = isa.add_sum(totals[i], sums[i]);
            }
        }
        std::hint::black_box(isa.sum(isa.to_f32(totals[0])));
        for f in floats {
            std::hint::black_box(isa.sum(f));
        }
        let macs = if let Self::Float = self { 12 * I::LANES } else { 4 * 8 * 4 * I::LANES };
        (2 * ROUNDS * macs) as u64
    }
}

/// GOP/s of a loop without memory.
fn peak(best: Best, pool: &Pool, roof: Roof) -> f64 {
    let ops = dispatch(best, roof) * pool.threads() as u64;
    let time = fastest(20, |_| {
        pool.run(pool.threads(), |_| {
            std::hint::black_box(dispatch(best, roof));
        });
    });
    ops as f64 / time.as_secs_f64() / 1e9
}
