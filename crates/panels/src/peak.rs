//! What this machine reads and multiplies at best: the roofs under which products run.
//!
//! Loops of the operations that products consist of, without anything around them. A roof is the
//! best of several short runs: others may use the machine too, and nobody makes it faster.

use std::hint::black_box;
use std::time::Instant;

use par::Pool;
use quant::{CodeValue, QuantType};
use simd::amx::{self, Factors, Tile};
use simd::{Best, Isa, Kernel, dispatch};

/// Runs of which the best counts.
const RUNS: usize = 9;
/// Rounds of an arithmetic run: some milliseconds.
const ROUNDS: usize = 40_000;
/// f32 that a task reads: 256 KiB.
const TASK_LEN: usize = 1 << 16;

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peak {
    /// Multiply and add of f32.
    Float,
    /// Unsigned by signed bytes, widened to 32 bits after each four products of a row.
    Int8,
    /// Unsigned 4-bit codes by signed bytes: eight products add up in 16 bits before one widening.
    Int4,
}

impl Peak {
    pub const ALL: [Peak; 3] = [Peak::Float, Peak::Int8, Peak::Int4];

    pub fn name(self) -> &'static str {
        match self {
            Peak::Float => "f32",
            Peak::Int8 => "int8",
            Peak::Int4 => "int4",
        }
    }

    /// The roof of products with weights of a type.
    pub fn of(ty: QuantType) -> Peak {
        match ty.code_layout() {
            None => Peak::Float,
            Some(layout) if layout.bits > 4 => Peak::Int8,
            Some(layout) => match layout.value {
                CodeValue::Offset(_) => Peak::Int4,
                // Looked up or signed, such codes fill a byte.
                CodeValue::Signed | CodeValue::Table(_) => Peak::Int8,
            },
        }
    }

    /// Operations a second, a multiplication and an addition being two, by all threads of `pool`.
    pub fn measure(self, best: Best, pool: &Pool) -> f64 {
        let ops = dispatch(best, Rounds(self)) * pool.threads() as u64;
        let runs = (0..RUNS).map(|_| {
            let start = Instant::now();
            pool.run(pool.threads(), |_| {
                black_box(dispatch(best, Rounds(self)));
            });
            start.elapsed().as_secs_f64()
        });
        ops as f64 / runs.fold(f64::INFINITY, f64::min)
    }
}

/// Bytes a second at which all threads of `pool` read `data` from its beginning to its end. Longer
/// than the caches, it comes from memory.
///
/// # Panics
///
/// If `data` is shorter than a task.
pub fn read_bandwidth(best: Best, pool: &Pool, data: &[f32]) -> f64 {
    let tasks: Vec<&[f32]> = data.chunks_exact(TASK_LEN).collect();
    assert!(!tasks.is_empty(), "at least {TASK_LEN} numbers to read");
    let runs = (0..RUNS).map(|_| {
        let start = Instant::now();
        pool.run(tasks.len(), |i| {
            black_box(dispatch(best, Read(tasks[i])));
        });
        start.elapsed().as_secs_f64()
    });
    let bytes = tasks.len() * TASK_LEN * size_of::<f32>();
    bytes as f64 / runs.fold(f64::INFINITY, f64::min)
}

/// The sum of a task's numbers, which takes a load and an addition a vector.
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
        let mut total = 0.0;
        for sum in sums {
            total += isa.sum(sum);
        }
        total
    }
}

/// One run of a peak on one thread.
struct Rounds(Peak);

impl Kernel for Rounds {
    /// Operations done.
    type Output = u64;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u64 {
        match self.0 {
            Peak::Int8 | Peak::Int4 if isa.amx().is_some() => tile_rounds(isa),
            Peak::Float => float_rounds(isa),
            Peak::Int8 => code_rounds::<I, 1>(isa),
            Peak::Int4 => code_rounds::<I, CODES>(isa),
        }
    }
}

/// Sums at once: as many as hide the latency of an FMA on two ports.
const FLOAT_SUMS: usize = 12;

#[inline(always)]
fn float_rounds<I: Isa>(isa: I) -> u64 {
    let x = isa.splat(black_box(0.5));
    let mut sums = [isa.splat(0.0); FLOAT_SUMS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = isa.fma(x, x, *sum);
        }
    }
    for sum in sums {
        black_box(isa.sum(sum));
    }
    (2 * ROUNDS * FLOAT_SUMS * I::LANES) as u64
}

/// Vectors of codes in a round, and quads that each is multiplied with. All but the codes stay in
/// registers: in products too, a vector that was loaded serves a whole tile.
const CODES: usize = 8;
const QUADS: usize = 4;

/// Rounds of `CODES` vectors of codes by `QUADS` quads, widened after each `IN_SUM` products.
#[inline(always)]
fn code_rounds<I: Isa, const IN_SUM: usize>(isa: I) -> u64 {
    // Another part in each round: the same products again would be computed once.
    let codes = black_box([0x05_u8; 2 * CODES * VECTOR_BYTES]);
    let quads = black_box([0x0102_0304_i32; QUADS]).map(
        #[inline(always)]
        |quad| isa.splat_quad(quad),
    );
    let mut totals = [isa.splat_i32(0); QUADS];
    for round in 0..ROUNDS {
        let codes = &codes[isa.hide(round % CODES) * VECTOR_BYTES..][..CODES * VECTOR_BYTES];
        let mut sums = [isa.zero_sum(); QUADS];
        for c in 0..CODES {
            let codes = isa.load_bytes(&codes[c * VECTOR_BYTES..]);
            for q in 0..QUADS {
                sums[q] = isa.dot(sums[q], codes, quads[q]);
                if (c + 1) % IN_SUM == 0 {
                    totals[q] = isa.add_sum(totals[q], sums[q]);
                    sums[q] = isa.zero_sum();
                }
            }
        }
    }
    for total in totals {
        black_box(isa.sum(isa.to_f32(total)));
    }
    (2 * ROUNDS * CODES * QUADS * 4 * I::LANES) as u64
}

/// Rounds of the same blocks by tiles, of which each sum is stored: a scale is for 32 weights.
#[inline(always)]
fn tile_rounds<I: Isa>(isa: I) -> u64 {
    let Some(amx) = isa.amx() else { return 0 };
    let (x, w) = ([Tile::ZERO; amx::BLOCKS / 2], [0; amx::BLOCKS * amx::BLOCK_BYTES]);
    let factors = Factors { x: &x, w: &w };
    let mut sums = [Tile::ZERO; amx::BLOCKS];
    let mut tiles = amx.tiles();
    tiles.start(factors);
    for _ in 0..ROUNDS {
        tiles.next(black_box(&mut sums), factors);
    }
    (2 * ROUNDS * amx::BLOCKS * amx::SIDE * amx::BLOCK_BYTES) as u64
}

/// Bytes of a vector on the widest ISA.
const VECTOR_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_the_roof_of_its_codes() {
        let roofs = [
            (QuantType::F32, Peak::Float),
            (QuantType::Bf16, Peak::Float),
            (QuantType::F8E4M3, Peak::Float),
            (QuantType::Q8_0, Peak::Int8),
            (QuantType::Q6K, Peak::Int8),
            (QuantType::Iq4Xs, Peak::Int8),
            (QuantType::Q4_0, Peak::Int4),
            (QuantType::Q4K, Peak::Int4),
            (QuantType::Q2K, Peak::Int4),
        ];
        for (ty, peak) in roofs {
            assert_eq!(Peak::of(ty), peak, "{}", ty.name());
        }
    }

    #[test]
    fn every_isa_does_what_it_counts() {
        for best in Best::all() {
            // The same rounds, whatever the type: only the lanes differ.
            let [float, int8, int4] = Peak::ALL.map(|peak| dispatch(best, Rounds(peak)));
            assert_eq!(int8, int4, "{}", best.name());
            if best.name() == "amx" {
                continue;
            }
            assert_eq!(float * 8 * 4 * 4, int8 * 12, "{}", best.name());
        }
    }

    #[test]
    fn reading_touches_every_number() {
        let data: Vec<f32> = (0..1 << 12).map(|i| (i % 3) as f32).collect();
        let expected: f32 = data.iter().sum();
        for best in Best::all() {
            assert_eq!(dispatch(best, Read(&data)), expected, "{}", best.name());
        }
        let bandwidth = read_bandwidth(Best::detect(), &Pool::new(1), &vec![1.0; TASK_LEN]);
        assert!(bandwidth.is_finite() && bandwidth > 0.0);
    }
}
