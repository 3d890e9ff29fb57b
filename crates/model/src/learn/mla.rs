//! The gradient of latent attention in its absorbed form.

use ops::attention_gradient::{self, Gradients, Saved, Shape};
use ops::latent_attention::HEADS;
use ops::{rmsnorm, rope};
use panels::{Gemm, Start, View, gemm};
use spec::{MlaSpec, Slot};

use super::book::{Base, Book, Matrix, Reader, Vector};
use super::layer::{Past, backward_all};
use crate::attention::mla::Scratch;
use crate::error::Error;
use crate::kv::mla_shape;

pub(super) struct Mla {
    spec: MlaSpec,
    norm_eps: f32,
    pub query: Query,
    pub latent_down: Matrix,
    pub latent_norm: Vector,
    /// (H·(nope + value), R)
    pub latent_up: Matrix,
    pub out: Matrix,
}

pub(super) enum Query {
    Whole(Box<Matrix>),
    Ranked(Box<Ranked>),
}

/// Queries by way of a low rank.
pub(super) struct Ranked {
    pub down: Matrix,
    pub norm: Vector,
    pub up: Matrix,
}

impl Mla {
    pub(super) fn load(
        reader: &mut Reader<'_>,
        layer: usize,
        spec: &MlaSpec,
    ) -> Result<Mla, Error> {
        let dim = reader.loader.spec.dim;
        let queries = spec.n_heads * (spec.nope_dim + spec.rope_dim);
        let query = match spec.query_rank {
            None => Query::Whole(Box::new(reader.matrix(Slot::Query, layer, (queries, dim))?)),
            Some(rank) => Query::Ranked(Box::new(Ranked {
                down: reader.matrix(Slot::QueryDown, layer, (rank, dim))?,
                norm: reader.vector(Slot::QueryDownNorm, layer, rank)?,
                up: reader.matrix(Slot::QueryUp, layer, (queries, rank))?,
            })),
        };
        let up_rows = spec.n_heads * (spec.nope_dim + spec.value_dim);
        let values = spec.n_heads * spec.value_dim;
        Ok(Mla {
            spec: spec.clone(),
            norm_eps: reader.loader.spec.norm_eps,
            query,
            latent_down: reader.matrix(Slot::LatentDown, layer, (mla_shape(spec).width(), dim))?,
            latent_norm: reader.vector(Slot::LatentNorm, layer, spec.latent_rank)?,
            latent_up: reader.matrix(Slot::LatentUp, layer, (up_rows, spec.latent_rank))?,
            out: reader.matrix(Slot::AttentionOut, layer, (dim, values))?,
        })
    }

    fn shape(&self) -> Shape {
        let head_dim = mla_shape(&self.spec).width();
        let (n_heads, value_dim, scale) =
            (self.spec.n_heads, self.spec.latent_rank, self.spec.scale);
        Shape { n_heads, n_kv_heads: 1, head_dim, value_dim, scale }
    }

    /// dx (T, D) = the gradient of the normed rows x (T, D), from dy (T, D).
    pub(super) fn backward(
        &self,
        past: Past<'_>,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (&[f32], &[f32]),
        scratch: &Scratch,
    ) {
        let (pool, shape) = (past.pool, self.shape());
        let n_tokens = past.ends.last().copied().unwrap_or(0);
        let (rank, width) = (shape.value_dim, shape.head_dim);
        let mut d_out = vec![0.0; n_tokens * self.out.cols];
        self.out.backward(pool, book, (&mut d_out, Start::Zero), dy, scratch.out.values());

        let attended = self.attended(scratch, n_tokens);
        let mut d_attended = vec![0.0; attended.len()];
        let adapter = self.latent_up.adapter;
        let rank_low = adapter.map_or(0, |adapter| adapter.rank);
        let mut shared = Shared::new(n_tokens, 2 * self.spec.n_heads, (rank_low, rank));
        self.values_back(past, book, &mut d_attended, (&d_out, &attended), &mut shared);

        let (queries, rows) = (self.queries(scratch, n_tokens), self.rows(past, scratch, n_tokens));
        let saved = Saved {
            queries: &queries,
            keys: &rows,
            values: &rows,
            value_stride: width,
            y: &attended,
        };
        let mut d = Gradients::default();
        attention_gradient::backward(pool, &mut d, &d_attended, saved, past.ends, shape);
        let (mut d_rows, mut d_values) = (vec![0.0; rows.len()], vec![0.0; n_tokens * rank]);
        attention_gradient::sum_shared(pool, &mut d_rows, &d.keys, shape, width);
        attention_gradient::sum_shared(pool, &mut d_values, &d.values, shape, rank);
        for (row, values) in d_rows.chunks_exact_mut(width).zip(d_values.chunks_exact(rank)) {
            row.iter_mut().zip(values).for_each(|(row, value)| *row += value);
        }
        let d_query = self.absorb_back(past, book, &d.queries, (scratch, &mut shared));
        if let Some(adapter) = adapter {
            adapter.learn_down(pool, book, &shared.d_low, &shared.x);
        }
        let d_down = self.latents_back(past, book, &d_rows, scratch);
        match &self.query {
            Query::Whole(query) => {
                let products = [(&**query, &d_query[..]), (&self.latent_down, &d_down[..])];
                backward_all(pool, book, dx, x, &products);
            }
            Query::Ranked(ranked) => {
                let Ranked { down, norm, up } = &**ranked;
                let n = n_tokens * down.rows;
                let mut d_ranked = vec![0.0; n];
                let ranked = scratch.query_ranked.values();
                up.backward(pool, book, (&mut d_ranked, Start::Zero), &d_query, ranked);
                let mut d_small = vec![0.0; n];
                let (w, dw) = norm.learn(book);
                let small = &scratch.query_down[..n];
                rmsnorm::backward(pool, (&mut d_small, dw), &d_ranked, small, w, self.norm_eps);
                let products = [(down, &d_small[..]), (&self.latent_down, &d_down[..])];
                backward_all(pool, book, dx, x, &products);
            }
        }
    }

    /// What the heads attended to, without the heads that fill up a vector. (T, H·R)
    fn attended(&self, scratch: &Scratch, n_tokens: usize) -> Vec<f32> {
        let (heads, rank) = (self.spec.n_heads, self.spec.latent_rank);
        let padded = heads.next_multiple_of(HEADS);
        let mut attended = Vec::with_capacity(n_tokens * heads * rank);
        for token in scratch.attended.values().chunks_exact(padded * rank) {
            attended.extend_from_slice(&token[..heads * rank]);
        }
        attended
    }

    /// Latent queries with their turned parts behind. (T, H·(R + rope))
    fn queries(&self, scratch: &Scratch, n_tokens: usize) -> Vec<f32> {
        let MlaSpec { n_heads, nope_dim, rope_dim, latent_rank: rank, .. } = self.spec;
        let mut queries = Vec::with_capacity(n_tokens * n_heads * (rank + rope_dim));
        for t in 0..n_tokens {
            for h in 0..n_heads {
                let latent = &scratch.query_latent[(h * n_tokens + t) * rank..][..rank];
                let head = &scratch.query[(t * n_heads + h) * (nope_dim + rope_dim)..];
                queries.extend_from_slice(latent);
                queries.extend_from_slice(&head[nope_dim..][..rope_dim]);
            }
        }
        queries
    }

    /// The cached rows as attention read them. (T, R + rope)
    fn rows(&self, past: Past<'_>, scratch: &Scratch, n_tokens: usize) -> Vec<f32> {
        let (rank, rope_dim) = (self.spec.latent_rank, self.spec.rope_dim);
        let mut rows = Vec::with_capacity(n_tokens * (rank + rope_dim));
        let latents = scratch.latent.chunks_exact(rank).zip(scratch.key.chunks_exact(rope_dim));
        for (latent, key) in latents.take(n_tokens) {
            rows.extend_from_slice(latent);
            rows.extend_from_slice(key);
        }
        past.kv_type.rounded(&rows).into_owned()
    }

    /// The part of a head in the up-projection: its first row.
    fn up_row(&self, head: usize) -> usize {
        head * (self.spec.nope_dim + self.spec.value_dim)
    }

    /// d_attended (T, H·R) from d_out (T, H·value), and the gradient of the latent-to-value rows.
    fn values_back(
        &self,
        past: Past<'_>,
        book: &mut Book,
        d_attended: &mut [f32],
        (d_out, attended): (&[f32], &[f32]),
        shared: &mut Shared,
    ) {
        let MlaSpec { n_heads, nope_dim, value_dim, latent_rank: rank, .. } = self.spec;
        let n_tokens = d_out.len() / (n_heads * value_dim);
        let pool = past.pool;
        let mut one = vec![0.0; n_tokens * rank];
        for h in 0..n_heads {
            let row = self.up_row(h) + nope_dim;
            let dy = View::rows(d_out, n_heads * value_dim).from(0, h * value_dim);
            let w = View::rows(book.matrix(pool, &self.latent_up), rank).from(row, 0);
            gemm(pool, &mut one, rank, (dy, w), Gemm { k: value_dim, start: Start::Zero });
            let x = View::rows(attended, n_heads * rank).from(0, h * rank);
            if let Some(adapter) = self.latent_up.adapter {
                let d_low = adapter.backward(pool, book, &mut one, (dy, x), row..row + value_dim);
                shared.put(2 * h, &d_low, |t| &attended[(t * n_heads + h) * rank..][..rank]);
            }
            let to = d_attended.chunks_exact_mut(n_heads * rank);
            for (to, from) in to.zip(one.chunks_exact(rank)) {
                to[h * rank..][..rank].copy_from_slice(from);
            }
            if let Base::Learned(id) = self.latent_up.base {
                let gradient = &mut book.get_mut(id).gradient[row * rank..][..value_dim * rank];
                let how = Gemm { k: n_tokens, start: Start::Kept };
                gemm(pool, gradient, rank, (dy.turned(), x), how);
            }
        }
    }

    /// The gradient of the queries (T, H·(nope + rope)) from that of the latent ones
    /// (T, H·(R + rope)), and the gradient of the latent-to-key rows.
    fn absorb_back(
        &self,
        past: Past<'_>,
        book: &mut Book,
        d_queries: &[f32],
        (scratch, shared): (&Scratch, &mut Shared),
    ) -> Vec<f32> {
        let MlaSpec { n_heads, nope_dim, rope_dim, latent_rank: rank, .. } = self.spec;
        let (head_dim, width) = (nope_dim + rope_dim, rank + rope_dim);
        let n_tokens = d_queries.len() / (n_heads * width);
        let pool = past.pool;
        let mut d_query = vec![0.0; n_tokens * n_heads * head_dim];
        let mut one = vec![0.0; n_tokens * nope_dim];
        for h in 0..n_heads {
            let row = self.up_row(h);
            let dy = View::rows(d_queries, n_heads * width).from(0, h * width);
            let w = View::rows(book.matrix(pool, &self.latent_up), rank).from(row, 0);
            gemm(pool, &mut one, nope_dim, (dy, w.turned()), Gemm { k: rank, start: Start::Zero });
            let x = View::rows(&scratch.query, n_heads * head_dim).from(0, h * head_dim);
            if let Some(adapter) = self.latent_up.adapter {
                let of = row..row + nope_dim;
                let low = adapter.backward_turned(pool, book, &mut one, (dy, x), of);
                let latent = |t| &d_queries[(t * n_heads + h) * width..][..rank];
                shared.put(2 * h + 1, &low, latent);
            }
            for t in 0..n_tokens {
                let to = &mut d_query[(t * n_heads + h) * head_dim..][..head_dim];
                to[..nope_dim].copy_from_slice(&one[t * nope_dim..][..nope_dim]);
                let roped = &d_queries[(t * n_heads + h) * width + rank..][..rope_dim];
                to[nope_dim..].copy_from_slice(roped);
            }
            if let Base::Learned(id) = self.latent_up.base {
                let gradient = &mut book.get_mut(id).gradient[row * rank..][..nope_dim * rank];
                let how = Gemm { k: n_tokens, start: Start::Kept };
                gemm(pool, gradient, rank, (x.turned(), dy), how);
            }
        }
        let (stride, from, pairing) = (n_heads * head_dim, nope_dim, self.spec.rope.pairing);
        let heads = rope::Heads { stride, n_heads, head_dim, from, pairing };
        let angles = past.angles;
        rope::backward(pool, &mut d_query, angles.cos, angles.sin, angles.half, heads);
        d_query
    }

    /// The gradient of the down-projection's rows (T, R + rope) from that of the cached ones.
    fn latents_back(
        &self,
        past: Past<'_>,
        book: &mut Book,
        d_rows: &[f32],
        scratch: &Scratch,
    ) -> Vec<f32> {
        let (rank, rope_dim) = (self.spec.latent_rank, self.spec.rope_dim);
        let (pool, width) = (past.pool, rank + rope_dim);
        let n_tokens = d_rows.len() / width;
        let part = |rows: &[f32], from: usize, dim: usize| -> Vec<f32> {
            let rows = rows.chunks_exact(width).take(n_tokens);
            rows.flat_map(|row| &row[from..from + dim]).copied().collect()
        };
        let (d_latent, mut d_key) = (part(d_rows, 0, rank), part(d_rows, rank, rope_dim));
        let raw = part(&scratch.down, 0, rank);
        let mut d_raw = vec![0.0; d_latent.len()];
        let (w, dw) = self.latent_norm.learn(book);
        rmsnorm::backward(pool, (&mut d_raw, dw), &d_latent, &raw, w, self.norm_eps);
        let pairing = self.spec.rope.pairing;
        let heads =
            rope::Heads { stride: rope_dim, n_heads: 1, head_dim: rope_dim, from: 0, pairing };
        let angles = past.angles;
        rope::backward(pool, &mut d_key, angles.cos, angles.sin, angles.half, heads);
        let mut d_down = Vec::with_capacity(d_rows.len());
        for (raw, key) in d_raw.chunks_exact(rank).zip(d_key.chunks_exact(rope_dim)) {
            d_down.extend_from_slice(raw);
            d_down.extend_from_slice(key);
        }
        d_down
    }
}

/// What all heads bring for the A of the up-projection's adapter, token by token: summed head by
/// head, the order of its sums would depend on which tokens a pass holds.
struct Shared {
    /// Two a head.
    n_parts: usize,
    rank: usize,
    /// (T·parts, r)
    d_low: Vec<f32>,
    /// (T·parts, R)
    x: Vec<f32>,
}

impl Shared {
    /// Room for none if the rank is zero.
    fn new(n_tokens: usize, n_parts: usize, (rank, latent_rank): (usize, usize)) -> Shared {
        let rows = if rank == 0 { 0 } else { n_tokens * n_parts };
        let (d_low, x) = (vec![0.0; rows * rank], vec![0.0; rows * latent_rank]);
        Shared { n_parts, rank, d_low, x }
    }

    fn put<'a>(&mut self, part: usize, d_low: &[f32], x: impl Fn(usize) -> &'a [f32]) {
        for (t, d) in d_low.chunks_exact(self.rank).enumerate() {
            let row = t * self.n_parts + part;
            self.d_low[row * self.rank..][..self.rank].copy_from_slice(d);
            let x = x(t);
            self.x[row * x.len()..][..x.len()].copy_from_slice(x);
        }
    }
}
