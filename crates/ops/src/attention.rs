//! Grouped-query attention (arXiv 2305.13245) over pages of cached keys and values.
//!
//! ```text
//! y = Σⱼ softmax(scale · q·kⱼ) vⱼ        j over the positions up to the query's own
//! ```
//!
//! Softmax is taken online (arXiv 1805.02867), one page after the other in order. Positions lie in
//! lanes for scores and elements in lanes for values, so every sum runs in one fixed order: a query
//! gets the same bits alone, in a prompt, or after a cached prefix.
//!
//! A page holds [`PAGE`] positions of one layer: for each key/value head the keys (K, PAGE), then
//! the values (PAGE, their elements rounded up to [`ALIGN`]).

use par::{Pool, Strip, Tiles};
use simd::{Best, Isa, Kernel, dispatch};

use crate::element::Element;

/// Positions of a page: two vectors of the widest ISA.
pub const PAGE: usize = 32;
/// Values are padded to whole vectors of the widest ISA.
pub const ALIGN: usize = 16;
/// Queries whose scores are in registers at once: 3 · 4 accumulators on AVX2's 16 registers.
const TILE: usize = 3;
/// Queries of a task at most, and f32 of their sums: what fits the innermost cache.
const QUERIES_MAX: usize = 64;
const SUMS_MAX: usize = 8 * 1024;
/// What a task has room for: query heads that share a key/value head, and elements of a head.
pub const GROUP_MAX: usize = 16;
pub const HEAD_MAX: usize = SUMS_MAX / GROUP_MAX;
/// The few queries of a decoding step need less.
const SUMS_FEW: usize = 1024;

/// The heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// H.
    pub n_heads: usize,
    /// G.
    pub n_kv_heads: usize,
    /// K.
    pub head_dim: usize,
    /// Elements of a value: K, but for latent attention in its plain form.
    pub value_dim: usize,
}

impl Shape {
    fn padded_dim(&self) -> usize {
        self.value_dim.next_multiple_of(ALIGN)
    }

    /// Query heads that share a key/value head.
    fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Elements of one head's keys and values in a page.
    fn head_len(&self) -> usize {
        PAGE * (self.head_dim + self.padded_dim())
    }

    /// Elements of a page in one layer.
    pub fn page_len(&self) -> usize {
        self.n_kv_heads * self.head_len()
    }

    /// Tokens of one sequence that a task takes: many share a page that was loaded once.
    pub fn tokens_per_task(&self) -> usize {
        let queries = QUERIES_MAX.min(SUMS_MAX / self.padded_dim());
        (queries / self.group()).max(1)
    }
}

/// Consecutive tokens of one sequence in a step.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Position of the first token in its sequence.
    pub position: usize,
    pub n_tokens: usize,
    /// Where the sequence's pages begin in [`Spans::pages`].
    pub pages_from: usize,
}

/// The tokens of a step, in spans that cover them in order.
#[derive(Clone, Copy, Debug)]
pub struct Spans<'a> {
    pub spans: &'a [Span],
    /// The row after the last of each span.
    pub ends: &'a [usize],
    /// The pages of all sequences: position p of a span's sequence is in
    /// `pages[pages_from + p / PAGE]`.
    pub pages: &'a [u32],
}

impl Spans<'_> {
    /// The place of a position's page among the pages of the cache.
    pub(crate) fn page(&self, span: &Span, position: usize) -> usize {
        self.pages[span.pages_from + position / PAGE] as usize
    }
}

/// Puts the keys (T, G·K) and values (T, G·value) of a step's tokens into their pages.
pub fn store<E: Element>(
    cache: &mut [E],
    keys: &[f32],
    values: &[f32],
    spans: Spans<'_>,
    shape: Shape,
) {
    let (dim, value_dim, padded) = (shape.head_dim, shape.value_dim, shape.padded_dim());
    let values = values.chunks_exact(shape.n_kv_heads * value_dim);
    let mut rows = keys.chunks_exact(shape.n_kv_heads * dim).zip(values);
    for span in spans.spans {
        for position in span.position..span.position + span.n_tokens {
            let (keys, values) = rows.next().expect("spans cover the tokens of the step");
            let page = spans.page(span, position) * shape.page_len();
            let heads = cache[page..][..shape.page_len()].chunks_exact_mut(shape.head_len());
            let at = position % PAGE;
            let of_heads = keys.chunks_exact(dim).zip(values.chunks_exact(value_dim));
            for (head, (key, value)) in heads.zip(of_heads) {
                let (page_keys, page_values) = head.split_at_mut(PAGE * dim);
                for i in 0..dim {
                    page_keys[i * PAGE + at] = E::from_f32(key[i]);
                }
                let page_value = &mut page_values[at * padded..][..value_dim];
                for i in 0..value_dim {
                    page_value[i] = E::from_f32(value[i]);
                }
            }
        }
    }
    assert!(rows.next().is_none(), "spans cover the tokens of the step");
}

/// y (T, H·value) from queries (T, H·K) and the cache, in which the step's own keys and values are
/// stored already. Spans are of at most `tokens_per_task` tokens.
///
/// # Panics
///
/// If a span is longer than `tokens_per_task`, or a head is too long or shared too widely for a
/// task's scratch.
pub fn forward<E: Element>(
    pool: &Pool,
    y: &mut [f32],
    queries: &[f32],
    cache: &[E],
    spans: Spans<'_>,
    (shape, scale): (Shape, f32),
) {
    let width = shape.n_heads * shape.head_dim;
    let (y_width, strip) = (shape.n_heads * shape.value_dim, shape.group() * shape.value_dim);
    assert_eq!(y.len() / y_width, queries.len() / width, "a row of y for each of queries");
    assert_eq!(spans.spans.len(), spans.ends.len());
    let best = Best::detect();
    pool.for_parts(Tiles::new(y, y_width, strip, spans.ends), |task, y| {
        let (index, head) = (task / shape.n_kv_heads, task % shape.n_kv_heads);
        let span = spans.spans[index];
        let first = spans.ends[index] - span.n_tokens;
        let queries = &queries[first * width..][..span.n_tokens * width];
        let n_sums = span.n_tokens * shape.group() * shape.padded_dim();
        let attend = Attend { y, queries, cache, spans, span, head, shape, scale };
        if n_sums <= SUMS_FEW {
            dispatch(best, With::<E, SUMS_FEW>(attend));
        } else {
            dispatch(best, With::<E, SUMS_MAX>(attend));
        }
    });
}

/// The query heads of one key/value head, over the tokens of one span.
struct Attend<'a, E> {
    /// (tokens, group · value)
    y: Strip<'a>,
    /// (tokens, H·K)
    queries: &'a [f32],
    cache: &'a [E],
    spans: Spans<'a>,
    span: Span,
    /// The key/value head.
    head: usize,
    shape: Shape,
    scale: f32,
}

/// Attention with room for `SUMS` f32 of sums.
struct With<'a, E, const SUMS: usize>(Attend<'a, E>);

impl<E: Element, const SUMS: usize> Kernel for With<'_, E, SUMS> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut attend = self.0;
        let n_queries = attend.span.n_tokens * attend.shape.group();
        assert!(n_queries <= QUERIES_MAX, "{n_queries} queries in one task");
        let mut state = State {
            largest: [f32::NEG_INFINITY; QUERIES_MAX],
            total: [0.0; QUERIES_MAX],
            sums: [0.0; SUMS],
        };
        let last = attend.span.position + attend.span.n_tokens - 1;
        for page in 0..=last / PAGE {
            let mut query = 0;
            while query + TILE <= n_queries {
                attend.tile::<I, TILE, SUMS>(isa, &mut state, page, query);
                query += TILE;
            }
            while query < n_queries {
                attend.tile::<I, 1, SUMS>(isa, &mut state, page, query);
                query += 1;
            }
        }
        attend.finish(&state);
    }
}

/// The softmax so far of each query of a task.
struct State<const SUMS: usize> {
    /// The largest score.
    largest: [f32; QUERIES_MAX],
    /// Σ e^(score − largest).
    total: [f32; QUERIES_MAX],
    /// Σ e^(score − largest) · value, (queries, padded K).
    sums: [f32; SUMS],
}

impl<E: Element> Attend<'_, E> {
    /// Lets queries `first..first + Q` see one page.
    #[inline(always)]
    fn tile<I: Isa, const Q: usize, const SUMS: usize>(
        &self,
        isa: I,
        state: &mut State<SUMS>,
        page: usize,
        first: usize,
    ) {
        // Positions of the page that each query may see.
        let visible = std::array::from_fn::<usize, Q, _>(
            #[inline(always)]
            |i| {
                let position = self.span.position + (first + i) / self.shape.group();
                (position + 1).saturating_sub(page * PAGE).min(PAGE)
            },
        );
        let seen = *visible.iter().max().expect("a tile has queries");
        if seen == 0 {
            return;
        }
        let start = self.spans.page(&self.span, page * PAGE) * self.shape.page_len();
        let head = &self.cache[start + self.head * self.shape.head_len()..];
        let (keys, values) = head[..self.shape.head_len()].split_at(PAGE * self.shape.head_dim);
        let queries = std::array::from_fn::<&[f32], Q, _>(
            #[inline(always)]
            |i| self.query(first + i),
        );
        let mut weights = scores(isa, queries, keys);
        let mut shrink = [0.0; Q];
        for i in 0..Q {
            let query = first + i;
            let (largest, total) = (&mut state.largest[query], &mut state.total[query]);
            shrink[i] = online(isa, &mut weights[i], visible[i], self.scale, (largest, total));
        }
        let padded = self.shape.padded_dim();
        let sums = &mut state.sums[first * padded..][..Q * padded];
        let values = &values[..seen * padded];
        let mut at = 0;
        while at + 4 * I::LANES <= padded {
            mix::<I, E, Q, 4>(isa, sums, &weights, &shrink, values, at);
            at += 4 * I::LANES;
        }
        while at < padded {
            mix::<I, E, Q, 1>(isa, sums, &weights, &shrink, values, at);
            at += I::LANES;
        }
    }

    #[inline(always)]
    fn query(&self, index: usize) -> &[f32] {
        let Shape { n_heads, head_dim, .. } = self.shape;
        let (token, head) = (index / self.shape.group(), index % self.shape.group());
        let head = self.head * self.shape.group() + head;
        &self.queries[(token * n_heads + head) * head_dim..][..head_dim]
    }

    /// y = sums / total.
    #[inline(always)]
    fn finish<const SUMS: usize>(&mut self, state: &State<SUMS>) {
        let (group, dim, padded) =
            (self.shape.group(), self.shape.value_dim, self.shape.padded_dim());
        for token in 0..self.span.n_tokens {
            let row = self.y.row_mut(token);
            for (i, y) in row.chunks_exact_mut(dim).enumerate() {
                let query = token * group + i;
                let inverse = 1.0 / state.total[query];
                let sums = &state.sums[query * padded..][..dim];
                for i in 0..dim {
                    y[i] = sums[i] * inverse;
                }
            }
        }
    }
}

/// q·k of Q queries (K) and the positions of a page (K, PAGE): (Q, PAGE).
#[inline(always)]
fn scores<I: Isa, E: Element, const Q: usize>(
    isa: I,
    queries: [&[f32]; Q],
    keys: &[E],
) -> [[f32; PAGE]; Q] {
    // As many vectors as a page has on the narrowest ISA.
    let mut acc = [[isa.splat(0.0); PAGE / 8]; Q];
    for (d, keys) in keys.chunks_exact(PAGE).enumerate() {
        for v in 0..PAGE / I::LANES {
            let key = E::load(isa, &keys[v * I::LANES..]);
            for i in 0..Q {
                acc[i][v] = isa.fma(isa.splat(queries[i][d]), key, acc[i][v]);
            }
        }
    }
    let mut out = [[0.0; PAGE]; Q];
    for i in 0..Q {
        for v in 0..PAGE / I::LANES {
            isa.store(acc[i][v], &mut out[i][v * I::LANES..]);
        }
    }
    out
}

/// Turns scores (PAGE) into weights e^(scale·score − largest), 0 from `visible` on; updates largest
/// and total, and returns what earlier sums are to be multiplied by.
#[inline(always)]
fn online<I: Isa>(
    isa: I,
    scores: &mut [f32; PAGE],
    visible: usize,
    scale: f32,
    (largest, total): (&mut f32, &mut f32),
) -> f32 {
    for v in scores.chunks_exact_mut(I::LANES) {
        isa.store(isa.mul(isa.load(v), isa.splat(scale)), v);
    }
    // What lies there belongs to nobody yet: it may be anything, NaN included.
    scores[visible..].fill(f32::NEG_INFINITY);
    let mut top = isa.splat(f32::NEG_INFINITY);
    for v in scores.chunks_exact(I::LANES) {
        top = isa.max(isa.load(v), top);
    }
    let before = *largest;
    *largest = isa.max_lane(top).max(before);
    let shift = isa.splat(*largest);
    for v in scores.chunks_exact_mut(I::LANES) {
        isa.store(simd::math::exp(isa, isa.sub(isa.load(v), shift)), v);
    }
    let shrink = simd::math::exp(isa, isa.sub(isa.splat(before), shift));
    let shrink = isa.max_lane(shrink);
    *total = *total * shrink + page_sum(scores);
    shrink
}

/// The sum of a page's weights, by halving: one tree on every ISA.
#[inline(always)]
fn page_sum(weights: &[f32; PAGE]) -> f32 {
    let mut sums = *weights;
    let mut half = PAGE / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// sums (Q, padded K) = sums · shrink + Σⱼ weightⱼ · valueⱼ, for V vectors from element `at`;
/// values (seen, padded K).
#[inline(always)]
fn mix<I: Isa, E: Element, const Q: usize, const V: usize>(
    isa: I,
    sums: &mut [f32],
    weights: &[[f32; PAGE]; Q],
    shrink: &[f32; Q],
    values: &[E],
    at: usize,
) {
    let padded = sums.len() / Q;
    let mut acc = [[isa.splat(0.0); V]; Q];
    for i in 0..Q {
        for v in 0..V {
            let sum = isa.load(&sums[i * padded + at + v * I::LANES..]);
            acc[i][v] = isa.mul(sum, isa.splat(shrink[i]));
        }
    }
    for (j, value) in values.chunks_exact(padded).enumerate() {
        for v in 0..V {
            let value = E::load(isa, &value[at + v * I::LANES..]);
            for i in 0..Q {
                acc[i][v] = isa.fma(isa.splat(weights[i][j]), value, acc[i][v]);
            }
        }
    }
    for i in 0..Q {
        for v in 0..V {
            isa.store(acc[i][v], &mut sums[i * padded + at + v * I::LANES..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    const SHAPE: Shape = Shape { n_heads: 6, n_kv_heads: 2, head_dim: 12, value_dim: 12 };

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

    struct Case {
        queries: Vec<f32>,
        keys: Vec<f32>,
        values: Vec<f32>,
        n: usize,
    }

    impl Case {
        fn new(n: usize) -> Case {
            let kv = SHAPE.n_kv_heads * SHAPE.head_dim;
            let queries = noise(1, n * SHAPE.n_heads * SHAPE.head_dim);
            Case { queries, keys: noise(2, n * kv), values: noise(3, n * kv), n }
        }

        /// y of all tokens, computed in the chunks that `cuts` end, into pages of garbage.
        fn attend<E: Element>(&self, cuts: &[usize], threads: usize) -> Vec<f32> {
            let pool = Pool::new(threads);
            let pages: Vec<u32> = (0..self.n.div_ceil(PAGE) as u32).rev().collect();
            let mut cache = vec![E::from_f32(f32::NAN); pages.len() * SHAPE.page_len()];
            let width = SHAPE.n_heads * SHAPE.head_dim;
            let kv = SHAPE.n_kv_heads * SHAPE.head_dim;
            let mut y = vec![0.0; self.n * width];
            let mut from = 0;
            for &to in cuts {
                let whole = [Span { position: from, n_tokens: to - from, pages_from: 0 }];
                let whole = Spans { spans: &whole, ends: &[to - from], pages: &pages };
                let (keys, values) =
                    (&self.keys[from * kv..to * kv], &self.values[from * kv..to * kv]);
                store(&mut cache, keys, values, whole, SHAPE);
                let step = SHAPE.tokens_per_task();
                let starts: Vec<usize> = (from..to).step_by(step).collect();
                let ends: Vec<usize> =
                    starts.iter().map(|&start| (start + step).min(to) - from).collect();
                let spans: Vec<Span> = starts
                    .iter()
                    .zip(&ends)
                    .map(|(&position, &end)| Span {
                        position,
                        n_tokens: end + from - position,
                        pages_from: 0,
                    })
                    .collect();
                forward(
                    &pool,
                    &mut y[from * width..to * width],
                    &self.queries[from * width..to * width],
                    &cache,
                    Spans { spans: &spans, ends: &ends, pages: &pages },
                    (SHAPE, 0.3),
                );
                from = to;
            }
            y
        }

        fn exact(&self, token: usize, head: usize) -> Vec<f64> {
            let (dim, kv) = (SHAPE.head_dim, SHAPE.n_kv_heads * SHAPE.head_dim);
            let query = &self.queries[(token * SHAPE.n_heads + head) * dim..][..dim];
            let from = head / SHAPE.group() * dim;
            let score = |j: usize| -> f64 {
                let key = &self.keys[j * kv + from..][..dim];
                0.3 * query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>()
            };
            let weights: Vec<f64> = (0..=token).map(|j| score(j).exp()).collect();
            let total: f64 = weights.iter().sum();
            (0..dim)
                .map(|i| {
                    let value = |j: usize| f64::from(self.values[j * kv + from + i]);
                    weights.iter().enumerate().map(|(j, w)| w / total * value(j)).sum()
                })
                .collect()
        }
    }

    #[test]
    fn attention_agrees_with_f64() {
        let case = Case::new(100);
        for (tolerance, y) in [
            (2e-6, case.attend::<f32>(&[100], 2)),
            (4e-3, case.attend::<f16>(&[100], 2)),
            (4e-2, case.attend::<bf16>(&[100], 2)),
        ] {
            for token in [0, 1, 31, 32, 63, 64, 99] {
                for head in 0..SHAPE.n_heads {
                    let exact = case.exact(token, head);
                    let at = (token * SHAPE.n_heads + head) * SHAPE.head_dim;
                    for (y, exact) in y[at..].iter().zip(exact) {
                        assert!((f64::from(*y) - exact).abs() < tolerance, "{token} {head}");
                    }
                }
            }
        }
    }

    #[test]
    fn chunks_and_threads_change_no_bit() {
        let case = Case::new(75);
        let whole = case.attend::<f16>(&[75], 1);
        let single: Vec<usize> = (1..=75).collect();
        for cuts in [&[1, 33, 75][..], &[64, 65, 75], &[31, 32, 75], &single] {
            for threads in [1, 3] {
                let y = case.attend::<f16>(cuts, threads);
                assert!(y.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "{cuts:?}");
            }
        }
    }
}
