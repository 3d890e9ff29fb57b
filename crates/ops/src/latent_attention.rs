//! Multi-head latent attention (arXiv 2405.04434) in its absorbed form: all heads attend over one
//! cached row a token, and what comes out is still latent.
//!
//! ```text
//! y = Σⱼ softmax(scale · q·cⱼ) cⱼ[..R]     cⱼ (R + rope): the normed latent, then the roped key
//! ```
//!
//! q is the head's query times the latent-to-key matrix, then its roped part, so that q·c is the
//! score of the plain form; the latent-to-value matrix is applied to y afterwards. The plain form,
//! which turns every cached row into keys and values first, rounds differently: see
//! `model::attention::mla`.
//!
//! Heads lie in lanes for scores, and latent elements for sums; pages are taken in order. So a
//! query gets the same bits alone, in a prompt, or after a cached prefix. A page holds
//! [`PAGE`] rows of one layer.

use par::{Chunks, Pool};
use simd::{Best, Isa, Kernel, dispatch};

use crate::attention::{PAGE, Spans};
use crate::element::Element;

/// Heads of a task: one vector of the widest ISA.
pub const HEADS: usize = 16;
/// The longest cached row that a task's scratch holds.
pub const WIDTH_MAX: usize = 1024;
/// Positions whose scores are in registers at once.
const ROWS: usize = 4;

/// The dims of latent attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// H.
    pub n_heads: usize,
    /// R.
    pub latent_rank: usize,
    pub rope_dim: usize,
}

impl Shape {
    /// Elements that the cache keeps for a token.
    pub fn width(&self) -> usize {
        self.latent_rank + self.rope_dim
    }

    /// Elements of a page in one layer.
    pub fn page_len(&self) -> usize {
        PAGE * self.width()
    }

    /// Groups of [`HEADS`] heads, the last maybe not full.
    pub fn n_groups(&self) -> usize {
        self.n_heads.div_ceil(HEADS)
    }

    /// f32 of one token's queries as [`interleave`] lays them out.
    pub fn queries_len(&self) -> usize {
        self.n_groups() * self.width() * HEADS
    }
}

/// Puts the latents (T, R) and roped keys (T, rope) of a step's tokens into their pages.
pub fn store<E: Element>(
    cache: &mut [E],
    latents: &[f32],
    keys: &[f32],
    spans: Spans<'_>,
    shape: Shape,
) {
    let (rank, rope) = (shape.latent_rank, shape.rope_dim);
    let mut rows = latents.chunks_exact(rank).zip(keys.chunks_exact(rope));
    for span in spans.spans {
        for position in span.position..span.position + span.n_tokens {
            let (latent, key) = rows.next().expect("spans cover the tokens of the step");
            let page = spans.page(span, position) * shape.page_len();
            let row = &mut cache[page + position % PAGE * shape.width()..][..shape.width()];
            for (to, &from) in row.iter_mut().zip(latent.iter().chain(key)) {
                *to = E::from_f32(from);
            }
        }
    }
    assert!(rows.next().is_none(), "spans cover the tokens of the step");
}

/// Lays queries out with heads in lanes: from latent (H, T, R) and roped parts, of head h of token
/// t at `roped[(t·H + h)·stride + from..][..rope]`, to out (T, groups, R + rope, 16).
pub fn interleave(
    pool: &Pool,
    out: &mut [f32],
    latent: &[f32],
    roped: &[f32],
    (stride, from): (usize, usize),
    shape: Shape,
) {
    let (heads, rank, rope) = (shape.n_heads, shape.latent_rank, shape.rope_dim);
    let n_tokens = out.len() / shape.queries_len();
    assert_eq!(latent.len(), heads * n_tokens * rank);
    assert_eq!(roped.len(), n_tokens * heads * stride);
    pool.for_chunks(out, shape.width() * HEADS, |task, out| {
        let (t, group) = (task / shape.n_groups(), task % shape.n_groups());
        for lane in 0..HEADS {
            let head = group * HEADS + lane;
            if head >= heads {
                out.iter_mut().skip(lane).step_by(HEADS).for_each(|q| *q = 0.0);
                continue;
            }
            let latent = &latent[(head * n_tokens + t) * rank..][..rank];
            let roped = &roped[(t * heads + head) * stride + from..][..rope];
            for (q, &x) in out.iter_mut().skip(lane).step_by(HEADS).zip(latent.iter().chain(roped))
            {
                *q = x;
            }
        }
    });
}

/// y (T, groups·16, R) from queries as [`interleave`] lays them out and the cache, in which the
/// step's own rows are stored already.
///
/// # Panics
///
/// If a cached row is longer than [`WIDTH_MAX`].
pub fn forward<E: Element>(
    pool: &Pool,
    y: &mut [f32],
    queries: &[f32],
    cache: &[E],
    spans: Spans<'_>,
    (shape, scale): (Shape, f32),
) {
    assert!(shape.width() <= WIDTH_MAX, "cached rows of {}", shape.width());
    let n_tokens = spans.ends.last().copied().unwrap_or(0);
    assert_eq!(queries.len(), n_tokens * shape.queries_len());
    assert_eq!(y.len(), n_tokens * shape.n_groups() * HEADS * shape.latent_rank);
    let best = Best::detect();
    pool.for_parts(Chunks::new(y, HEADS * shape.latent_rank), |task, y| {
        let token = task / shape.n_groups();
        let queries = &queries[task * shape.width() * HEADS..][..shape.width() * HEADS];
        let index = spans.ends.partition_point(|&end| end <= token);
        let span = spans.spans[index];
        let n_visible = span.position + span.n_tokens - (spans.ends[index] - token) + 1;
        let pages = &spans.pages[span.pages_from..];
        let attend = Attend { y, queries, cache, pages, n_visible, shape, scale };
        dispatch(best, attend);
    });
}

/// Sixteen heads of one token.
struct Attend<'a, E> {
    /// (16, R): the sums, and at the end the outcome.
    y: &'a mut [f32],
    /// (R + rope, 16)
    queries: &'a [f32],
    cache: &'a [E],
    pages: &'a [u32],
    n_visible: usize,
    shape: Shape,
    scale: f32,
}

impl<E: Element> Kernel for Attend<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut largest = [f32::NEG_INFINITY; HEADS];
        let mut total = [0.0; HEADS];
        self.y.fill(0.0);
        let mut weights = [[0.0; HEADS]; PAGE];
        for (page, rows) in (0..self.n_visible).step_by(PAGE).zip(self.pages) {
            let n_rows = (self.n_visible - page).min(PAGE);
            let start = *rows as usize * self.shape.page_len();
            let rows = &self.cache[start..][..n_rows * self.shape.width()];
            let weights = &mut weights[..n_rows];
            scores(isa, weights, self.queries, rows);
            let mut shrink = [0.0; HEADS];
            for at in (0..HEADS).step_by(I::LANES) {
                let state = (&mut largest[at..][..I::LANES], &mut total[at..][..I::LANES]);
                online(isa, weights, at, self.scale, state, &mut shrink[at..][..I::LANES]);
            }
            mix(isa, self.y, weights, &shrink, rows, self.shape.latent_rank);
        }
        for (y, total) in self.y.chunks_exact_mut(self.shape.latent_rank).zip(total) {
            let inverse = 1.0 / total;
            y.iter_mut().for_each(|y| *y *= inverse);
        }
    }
}

/// q·c of sixteen heads (width, 16) and n cached rows (n, width): (n, 16).
#[inline(always)]
fn scores<I: Isa, E: Element>(isa: I, out: &mut [[f32; HEADS]], queries: &[f32], rows: &[E]) {
    let width = queries.len() / HEADS;
    let mut wide = [[0.0; WIDTH_MAX]; ROWS];
    for (out, rows) in out.chunks_mut(ROWS).zip(rows.chunks(ROWS * width)) {
        for (wide, row) in wide.iter_mut().zip(rows.chunks_exact(width)) {
            widen(isa, &mut wide[..width], row);
        }
        // A last group that is not full computes stale rows too, and does not keep them.
        let [a, b, c, d] = &wide;
        let mut acc = [[isa.splat(0.0); HEADS / 8]; ROWS];
        for (i, q) in queries.chunks_exact(HEADS).enumerate() {
            for v in 0..HEADS / I::LANES {
                let q = isa.load(&q[v * I::LANES..]);
                acc[0][v] = isa.fma(isa.splat(a[i]), q, acc[0][v]);
                acc[1][v] = isa.fma(isa.splat(b[i]), q, acc[1][v]);
                acc[2][v] = isa.fma(isa.splat(c[i]), q, acc[2][v]);
                acc[3][v] = isa.fma(isa.splat(d[i]), q, acc[3][v]);
            }
        }
        for (out, acc) in out.iter_mut().zip(acc) {
            for v in 0..HEADS / I::LANES {
                isa.store(acc[v], &mut out[v * I::LANES..]);
            }
        }
    }
}

/// A cached row as f32.
#[inline(always)]
fn widen<I: Isa, E: Element>(isa: I, wide: &mut [f32], row: &[E]) {
    let whole = row.len() / I::LANES * I::LANES;
    for (wide, row) in wide.chunks_exact_mut(I::LANES).zip(row.chunks_exact(I::LANES)) {
        isa.store(E::load(isa, row), wide);
    }
    for (wide, row) in wide[whole..].iter_mut().zip(&row[whole..]) {
        *wide = row.to_f32();
    }
}

/// Turns the scores of the lanes from `at` into weights e^(scale·score − largest); updates largest
/// and total, and leaves in `shrink` what earlier sums are to be multiplied by.
#[inline(always)]
fn online<I: Isa>(
    isa: I,
    weights: &mut [[f32; HEADS]],
    at: usize,
    scale: f32,
    (largest, total): (&mut [f32], &mut [f32]),
    shrink: &mut [f32],
) {
    let scale = isa.splat(scale);
    let before = isa.load(largest);
    let mut top = before;
    for row in weights.iter_mut() {
        let score = isa.mul(isa.load(&row[at..]), scale);
        isa.store(score, &mut row[at..]);
        top = isa.max(score, top);
    }
    let less = simd::math::exp(isa, isa.sub(before, top));
    let mut sum = isa.mul(isa.load(total), less);
    for row in weights.iter_mut() {
        let weight = simd::math::exp(isa, isa.sub(isa.load(&row[at..]), top));
        isa.store(weight, &mut row[at..]);
        sum = isa.add(sum, weight);
    }
    isa.store(top, largest);
    isa.store(sum, total);
    isa.store(less, shrink);
}

/// y (16, R) = y · shrink + Σⱼ weightⱼ · cⱼ[..R], over n cached rows (n, width).
#[inline(always)]
fn mix<I: Isa, E: Element>(
    isa: I,
    y: &mut [f32],
    weights: &[[f32; HEADS]],
    shrink: &[f32; HEADS],
    rows: &[E],
    rank: usize,
) {
    /// Heads and vectors whose sums are in registers at once.
    const TILE: (usize, usize) = (4, 2);
    let width = rows.len() / weights.len();
    let whole = rank / (TILE.1 * I::LANES) * (TILE.1 * I::LANES);
    for (heads, y) in y.chunks_exact_mut(TILE.0 * rank).enumerate() {
        let head = heads * TILE.0;
        for at in (0..whole).step_by(TILE.1 * I::LANES) {
            let mut acc = [[isa.splat(0.0); TILE.1]; TILE.0];
            for h in 0..TILE.0 {
                for v in 0..TILE.1 {
                    let sum = isa.load(&y[h * rank + at + v * I::LANES..]);
                    acc[h][v] = isa.mul(sum, isa.splat(shrink[head + h]));
                }
            }
            for (row, weights) in rows.chunks_exact(width).zip(weights) {
                for v in 0..TILE.1 {
                    let c = E::load(isa, &row[at + v * I::LANES..]);
                    for h in 0..TILE.0 {
                        acc[h][v] = isa.fma(isa.splat(weights[head + h]), c, acc[h][v]);
                    }
                }
            }
            for h in 0..TILE.0 {
                for v in 0..TILE.1 {
                    isa.store(acc[h][v], &mut y[h * rank + at + v * I::LANES..]);
                }
            }
        }
        for h in 0..TILE.0 {
            for i in whole..rank {
                let mut sum = y[h * rank + i] * shrink[head + h];
                for (row, weights) in rows.chunks_exact(width).zip(weights) {
                    sum += weights[head + h] * row[i].to_f32();
                }
                y[h * rank + i] = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::attention::Span;

    const SHAPE: Shape = Shape { n_heads: 20, latent_rank: 36, rope_dim: 6 };
    const N: usize = 71;

    fn noise(seed: u32, n: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 * 4.0 - 2.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// y (N, 32, R), computed in the chunks that `cuts` end, into pages of garbage.
    fn attend<E: Element>(cuts: &[usize], threads: usize) -> Vec<f32> {
        let (rank, rope, heads) = (SHAPE.latent_rank, SHAPE.rope_dim, SHAPE.n_heads);
        let (latents, keys) = (noise(1, N * rank), noise(2, N * rope));
        // Queries (N, H, R) and (N, H, rope), the rope part behind two other elements.
        let (queries, roped) = (noise(3, N * heads * rank), noise(4, N * heads * (rope + 2)));
        let pool = Pool::new(threads);
        let pages: Vec<u32> = (0..N.div_ceil(PAGE) as u32).rev().collect();
        let mut cache = vec![E::from_f32(f32::NAN); pages.len() * SHAPE.page_len()];
        let mut out = Vec::new();
        let mut from = 0;
        for &to in cuts {
            let n = to - from;
            let span = [Span { position: from, n_tokens: n, pages_from: 0 }];
            let spans = Spans { spans: &span, ends: &[n], pages: &pages };
            let (latents, keys) = (&latents[from * rank..to * rank], &keys[from * rope..to * rope]);
            store(&mut cache, latents, keys, spans, SHAPE);
            let mut by_head = vec![0.0; heads * n * rank];
            for h in 0..heads {
                for t in 0..n {
                    let query = &queries[((from + t) * heads + h) * rank..][..rank];
                    by_head[(h * n + t) * rank..][..rank].copy_from_slice(query);
                }
            }
            let roped = &roped[from * heads * (rope + 2)..to * heads * (rope + 2)];
            let mut laid = vec![f32::NAN; n * SHAPE.queries_len()];
            interleave(&pool, &mut laid, &by_head, roped, (rope + 2, 2), SHAPE);
            let mut y = vec![f32::NAN; n * SHAPE.n_groups() * HEADS * rank];
            forward(&pool, &mut y, &laid, &cache, spans, (SHAPE, 0.2));
            out.extend(y);
            from = to;
        }
        out
    }

    fn exact(token: usize, head: usize) -> Vec<f64> {
        let (rank, rope, heads) = (SHAPE.latent_rank, SHAPE.rope_dim, SHAPE.n_heads);
        let (latents, keys) = (noise(1, N * rank), noise(2, N * rope));
        let (queries, roped) = (noise(3, N * heads * rank), noise(4, N * heads * (rope + 2)));
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let query = &queries[(token * heads + head) * rank..][..rank];
        let roped = &roped[(token * heads + head) * (rope + 2) + 2..][..rope];
        let weights: Vec<f64> = (0..=token)
            .map(|j| {
                let latent = dot(query, &latents[j * rank..][..rank]);
                (0.2 * (latent + dot(roped, &keys[j * rope..][..rope]))).exp()
            })
            .collect();
        let total: f64 = weights.iter().sum();
        (0..rank)
            .map(|i| {
                let value = |j: usize| f64::from(latents[j * rank + i]);
                weights.iter().enumerate().map(|(j, w)| w / total * value(j)).sum()
            })
            .collect()
    }

    #[test]
    fn latent_attention_agrees_with_f64() {
        for (tolerance, y) in [(4e-6, attend::<f32>(&[N], 2)), (6e-2, attend::<bf16>(&[N], 1))] {
            for token in [0, 1, 31, 32, 70] {
                for head in [0, 7, 16, 19] {
                    let at = (token * SHAPE.n_groups() * HEADS + head) * SHAPE.latent_rank;
                    for (y, exact) in y[at..].iter().zip(exact(token, head)) {
                        assert!((f64::from(*y) - exact).abs() < tolerance, "{token} {head}");
                    }
                }
            }
        }
    }

    #[test]
    fn chunks_and_threads_change_no_bit() {
        let whole = attend::<bf16>(&[N], 1);
        let single: Vec<usize> = (1..=N).collect();
        for cuts in [&[1, 33, N][..], &[64, 65, N], &single] {
            for threads in [1, 3] {
                let y = attend::<bf16>(cuts, threads);
                assert!(y.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "{cuts:?}");
            }
        }
    }
}
