//! The gradient of attention, of both kinds: one head of one sequence is a task.
//!
//! ```text
//! P = softmax(scale · q kᵀ)     dP = dy vᵀ     dS = scale · P ∘ (dP − Σ y dy)
//! dq = dS k      dk = dSᵀ q      dv = Pᵀ dy
//! ```
//!
//! Queries are taken in blocks from the start of their sequence, and P is computed again block by
//! block. What query heads share is summed over them in order, so a gradient depends on its own
//! sequence alone. Latent attention is the case of one key/value head whose values are the first
//! part of its keys.

use std::cell::RefCell;
use std::ops::Range;

use panels::{Gemm, Start, View, gemm_strip};
use par::{Pool, Strip, Tiles};
use simd::{Best, Isa, Kernel, dispatch, math};

/// Queries of a block.
const BLOCK: usize = 64;

/// What a forward pass read and left, token by token.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// (T, H·K)
    pub queries: &'a [f32],
    /// (T, G·K): rounded as the cache keeps them.
    pub keys: &'a [f32],
    /// Of token t and head g at `t · value_stride + g · value_dim`.
    pub values: &'a [f32],
    pub value_stride: usize,
    /// (T, H·value)
    pub y: &'a [f32],
}

/// The heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub value_dim: usize,
    /// Multiplies scores.
    pub scale: f32,
}

/// Gradients of a layer's heads.
#[derive(Default)]
pub struct Gradients {
    /// (T, H·K)
    pub queries: Vec<f32>,
    /// (T, H·K) and (T, H·value): of each query head, its part of what it shares.
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
}

/// Leaves the gradients of all heads in `d`, from dy (T, H·value); `ends` are the tokens after the
/// last of each sequence.
pub fn backward(
    pool: &Pool,
    d: &mut Gradients,
    dy: &[f32],
    saved: Saved<'_>,
    ends: &[usize],
    shape: Shape,
) {
    let Shape { n_heads, head_dim, value_dim, .. } = shape;
    let n_tokens = ends.last().copied().unwrap_or(0);
    assert_eq!(saved.queries.len(), n_tokens * n_heads * head_dim);
    assert_eq!(dy.len(), n_tokens * n_heads * value_dim);
    assert_eq!(saved.y.len(), dy.len());
    d.queries.resize(n_tokens * n_heads * head_dim, 0.0);
    d.keys.resize(n_tokens * n_heads * head_dim, 0.0);
    d.values.resize(n_tokens * n_heads * value_dim, 0.0);
    let parts = (
        Tiles::new(&mut d.queries, n_heads * head_dim, head_dim, ends),
        Tiles::new(&mut d.keys, n_heads * head_dim, head_dim, ends),
        Tiles::new(&mut d.values, n_heads * value_dim, value_dim, ends),
    );
    let best = Best::detect();
    pool.for_parts(parts, |task, (dq, dk, dv)| {
        thread_local! {
            static BUFFERS: RefCell<Buffers> = RefCell::default();
        }
        let (sequence, head) = (task / n_heads, task % n_heads);
        let first = if sequence == 0 { 0 } else { ends[sequence - 1] };
        let one = Head::new(saved, dy, first..ends[sequence], head, shape);
        BUFFERS.with_borrow_mut(|buffers| one.backward(best, (dq, dk, dv), buffers));
    });
}

/// out (T, G·D) = the sum over the query heads of each key/value head of parts (T, H·D).
pub fn sum_shared(pool: &Pool, out: &mut [f32], parts: &[f32], shape: Shape, dim: usize) {
    let group = shape.n_heads / shape.n_kv_heads;
    assert_eq!(out.len() * group, parts.len());
    pool.for_chunks(out, shape.n_kv_heads * dim, |t, out| {
        for (g, out) in out.chunks_exact_mut(dim).enumerate() {
            let parts = &parts[(t * shape.n_heads + g * group) * dim..][..group * dim];
            out.copy_from_slice(&parts[..dim]);
            for part in parts[dim..].chunks_exact(dim) {
                out.iter_mut().zip(part).for_each(|(out, part)| *out += part);
            }
        }
    });
}

/// A thread's room for one block.
#[derive(Default)]
struct Buffers {
    /// (queries, seen)
    p: Vec<f32>,
    ds: Vec<f32>,
}

/// One query head of one sequence of n tokens.
#[derive(Clone, Copy)]
struct Head<'a> {
    n: usize,
    /// (n, K), (n, K), (n, value), (n, value), (n, value)
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    y: Rows<'a>,
    dy: Rows<'a>,
    shape: Shape,
}

/// Rows of which each begins `stride` after the one before.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    fn view(self, from: usize) -> View<'a> {
        View::rows(&self.data[from * self.stride..], self.stride)
    }

    fn row(self, i: usize, dim: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..dim]
    }
}

impl<'a> Head<'a> {
    fn new(
        saved: Saved<'a>,
        dy: &'a [f32],
        tokens: Range<usize>,
        head: usize,
        shape: Shape,
    ) -> Head<'a> {
        let Shape { n_heads, n_kv_heads, head_dim, value_dim, .. } = shape;
        let shared = head / (n_heads / n_kv_heads);
        let rows = |data: &'a [f32], stride: usize, from: usize| Rows {
            data: &data[tokens.start * stride + from..],
            stride,
        };
        Head {
            n: tokens.len(),
            q: rows(saved.queries, n_heads * head_dim, head * head_dim),
            k: rows(saved.keys, n_kv_heads * head_dim, shared * head_dim),
            v: rows(saved.values, saved.value_stride, shared * value_dim),
            y: rows(saved.y, n_heads * value_dim, head * value_dim),
            dy: rows(dy, n_heads * value_dim, head * value_dim),
            shape,
        }
    }

    fn backward(
        self,
        best: Best,
        (mut dq, mut dk, mut dv): (Strip<'_>, Strip<'_>, Strip<'_>),
        buffers: &mut Buffers,
    ) {
        let Shape { head_dim, value_dim, .. } = self.shape;
        let Buffers { p, ds } = buffers;
        for i in 0..self.n {
            dk.row_mut(i).fill(0.0);
            dv.row_mut(i).fill(0.0);
        }
        let fresh = |k| Gemm { k, start: Start::Zero };
        for first in (0..self.n).step_by(BLOCK) {
            let len = BLOCK.min(self.n - first);
            let seen = first + len;
            p.resize(len * seen, 0.0);
            ds.resize(len * seen, 0.0);
            let sides = (self.q.view(first), self.k.view(0).turned());
            gemm_strip(best, &mut Strip::whole(p, seen), sides, fresh(head_dim));
            let sides = (self.dy.view(first), self.v.view(0).turned());
            gemm_strip(best, &mut Strip::whole(ds, seen), sides, fresh(value_dim));
            for i in 0..len {
                let (y, dy) = (self.y.row(first + i, value_dim), self.dy.row(first + i, value_dim));
                let along = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
                let (p, ds) = (&mut p[i * seen..][..seen], &mut ds[i * seen..][..seen]);
                let scale = self.shape.scale;
                dispatch(best, Softmax { p, ds, visible: first + i + 1, scale, along });
            }
            let sides = (View::rows(ds, seen), self.k.view(0));
            gemm_strip(best, &mut dq.part(first, len), sides, fresh(seen));
            let added = Gemm { k: len, start: Start::Kept };
            let sides = (View::rows(ds, seen).turned(), self.q.view(first));
            gemm_strip(best, &mut dk.part(0, seen), sides, added);
            let sides = (View::rows(p, seen).turned(), self.dy.view(first));
            gemm_strip(best, &mut dv.part(0, seen), sides, added);
        }
    }
}

/// Scores become probabilities, and dP becomes dS; 0 from `visible` on.
struct Softmax<'a> {
    /// (seen)
    p: &'a mut [f32],
    ds: &'a mut [f32],
    visible: usize,
    scale: f32,
    /// Σ y dy
    along: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.p[self.visible..].fill(0.0);
        self.ds[self.visible..].fill(0.0);
        let (p, ds) = (&mut self.p[..self.visible], &mut self.ds[..self.visible]);
        p.iter_mut().for_each(|p| *p *= self.scale);
        let largest = math::max(isa, p);
        let inverse = 1.0 / math::exp_sum(isa, p, largest);
        for i in 0..p.len() {
            p[i] *= inverse;
            ds[i] = self.scale * p[i] * (ds[i] - self.along);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    const SHAPE: Shape = Shape { n_heads: 4, n_kv_heads: 2, head_dim: 6, value_dim: 5, scale: 0.4 };
    const ENDS: [usize; 2] = [3, 3 + 68];

    /// y (T, H·value) in f64; the values may be a part of the keys.
    fn attend(q: &[f64], k: &[f64], v: &[f64], stride: usize, shape: Shape) -> Vec<f64> {
        let Shape { n_heads, n_kv_heads, head_dim, value_dim, scale } = shape;
        let mut y = vec![0.0; ENDS[1] * n_heads * value_dim];
        for t in 0..ENDS[1] {
            let first = if t < ENDS[0] { 0 } else { ENDS[0] };
            for h in 0..n_heads {
                let g = h / (n_heads / n_kv_heads);
                let q = &q[(t * n_heads + h) * head_dim..][..head_dim];
                let weight = |j: usize| {
                    let k = &k[(j * n_kv_heads + g) * head_dim..][..head_dim];
                    (f64::from(scale) * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()).exp()
                };
                let weights: Vec<f64> = (first..=t).map(weight).collect();
                let total: f64 = weights.iter().sum();
                for (j, w) in (first..).zip(&weights) {
                    let v = &v[j * stride + g * value_dim..][..value_dim];
                    let y = &mut y[(t * n_heads + h) * value_dim..][..value_dim];
                    y.iter_mut().zip(v).for_each(|(y, v)| *y += w / total * v);
                }
            }
        }
        y
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| x.into()).collect()
    }

    #[test]
    fn gradient_matches_finite_difference() {
        let n = ENDS[1];
        let (q, k) = (noise(1, n * 4 * 6), noise(2, n * 2 * 6));
        let (v, dy) = (noise(3, n * 2 * 5), noise(4, n * 4 * 5));
        let narrow = |y: Vec<f64>| y.into_iter().map(|y| y as f32).collect::<Vec<f32>>();
        let y = narrow(attend(&wide(&q), &wide(&k), &wide(&v), 10, SHAPE));
        let (mut d, pool) = (Gradients::default(), Pool::new(2));
        let saved = Saved { queries: &q, keys: &k, values: &v, value_stride: 10, y: &y };
        backward(&pool, &mut d, &dy, saved, &ENDS, SHAPE);
        let (mut dk, mut dv) = (vec![0.0; k.len()], vec![0.0; v.len()]);
        sum_shared(&pool, &mut dk, &d.keys, SHAPE, 6);
        sum_shared(&pool, &mut dv, &d.values, SHAPE, 5);
        let dot = |y: Vec<f64>| y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum::<f64>();
        let (wq, wk, wv) = (wide(&q), wide(&k), wide(&v));
        check(|q| dot(attend(q, &wk, &wv, 10, SHAPE)), &q, &d.queries, 1e-5);
        check(|k| dot(attend(&wq, k, &wv, 10, SHAPE)), &k, &dk, 1e-5);
        check(|v| dot(attend(&wq, &wk, v, 10, SHAPE)), &v, &dv, 1e-5);
    }

    #[test]
    fn values_that_are_part_of_the_keys_get_the_gradient_of_both() {
        let shape = Shape { n_kv_heads: 1, ..SHAPE };
        let (q, c, dy) = (noise(1, ENDS[1] * 24), noise(2, ENDS[1] * 6), noise(4, ENDS[1] * 20));
        let y: Vec<f32> = attend(&wide(&q), &wide(&c), &wide(&c), 6, shape)
            .into_iter()
            .map(|y| y as f32)
            .collect();
        let (mut d, pool) = (Gradients::default(), Pool::new(2));
        let saved = Saved { queries: &q, keys: &c, values: &c, value_stride: 6, y: &y };
        backward(&pool, &mut d, &dy, saved, &ENDS, shape);
        let (mut dc, mut dv) = (vec![0.0; c.len()], vec![0.0; ENDS[1] * 5]);
        sum_shared(&pool, &mut dc, &d.keys, shape, 6);
        sum_shared(&pool, &mut dv, &d.values, shape, 5);
        for (dc, dv) in dc.chunks_exact_mut(6).zip(dv.chunks_exact(5)) {
            dc.iter_mut().zip(dv).for_each(|(dc, dv)| *dc += dv);
        }
        let wq = wide(&q);
        let loss = |c: &[f64]| {
            let y = attend(&wq, c, c, 6, shape);
            y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
        };
        check(loss, &c, &dc, 1e-5);
    }
}
