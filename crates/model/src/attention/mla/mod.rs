//! Multi-head latent attention: down to a query and a latent, attention over latents, and back.
//!
//! The absorbed form: the latent-to-key matrix of a head is applied to its query, and the
//! latent-to-value matrix to what the head attended to, so that the cache is never turned into keys
//! and values. Prompts, answers and training all go this way, hence the same bits. Who asks for
//! [`Numerics::Fast`](crate::Numerics) lets long prompts go the plain way (`plain.rs`).

mod plain;
mod weights;

use ops::attention::Spans;
use ops::element::Element;
use ops::{latent_attention, rmsnorm, rope};
use panels::{Activations, Form, Group, Panels, Rows, matmul_grouped};
use par::{Chunks, Pool};
use spec::{MlaSpec, Slot};

use super::{Angles, Step};
use crate::error::Error;
use crate::groups::{Groups, recycle};
use crate::kv::{LayerKv, mla_shape, with_elements};
use crate::linear::{self, Linear};
use crate::weights::Loader;

/// The weights of a layer's attention.
pub(crate) struct Mla {
    spec: MlaSpec,
    norm_eps: f32,
    pub query: Query,
    /// (R + rope, D)
    pub latent_down: Linear,
    /// (R)
    pub latent_norm: Vec<f32>,
    /// Of each head (R, nope): a query to the latent.
    pub key_up: Vec<Linear>,
    /// Of each head (value, R): the latent to a value.
    pub value_up: Vec<Linear>,
    /// (D, H·value)
    pub out: Linear,
    /// For prompts in the plain form, if that was asked for.
    plain: Option<plain::Plain>,
}

pub(crate) enum Query {
    /// (H·(nope + rope), D)
    Whole(Linear),
    /// (query rank, D), (query rank), (H·(nope + rope), query rank)
    Ranked { down: Linear, norm: Vec<f32>, up: Linear },
}

/// Buffers of a step, shared by all layers.
pub(crate) struct Scratch {
    /// (T, query rank)
    pub query_down: Vec<f32>,
    pub query_ranked: Activations,
    /// (T, H, nope + rope)
    pub query: Vec<f32>,
    /// (T·H, nope)
    pub query_nope: Activations,
    /// (H, T, R)
    pub query_latent: Vec<f32>,
    /// (T, groups, R + rope, 16)
    query_lanes: Vec<f32>,
    /// (T, R + rope)
    pub down: Vec<f32>,
    /// (T, R), (T, rope)
    pub latent: Vec<f32>,
    pub key: Vec<f32>,
    /// (T·groups·16, R)
    pub attended: Activations,
    /// (H, T, value)
    pub values: Vec<f32>,
    /// (T, H·value)
    pub out: Activations,
    /// For each head the rows of its queries in (T·H), and of its sums in (T·groups·16).
    query_rows: Vec<u32>,
    sum_rows: Vec<u32>,
    groups: Groups,
    plain: plain::Scratch,
}

impl Scratch {
    pub(crate) fn new(spec: &MlaSpec, tokens: usize, forms: &[Form]) -> Scratch {
        let shape = mla_shape(spec);
        let heads = spec.n_heads;
        let padded = shape.n_groups() * latent_attention::HEADS;
        let rank = spec.query_rank.unwrap_or(0);
        Scratch {
            query_down: vec![0.0; tokens * rank],
            query_ranked: Activations::new(tokens, rank, forms),
            query: vec![0.0; tokens * heads * (spec.nope_dim + spec.rope_dim)],
            query_nope: Activations::new(tokens * heads, spec.nope_dim, forms),
            query_latent: vec![0.0; heads * tokens * spec.latent_rank],
            query_lanes: vec![0.0; tokens * shape.queries_len()],
            down: vec![0.0; tokens * shape.width()],
            latent: vec![0.0; tokens * spec.latent_rank],
            key: vec![0.0; tokens * spec.rope_dim],
            attended: Activations::new(tokens * padded, spec.latent_rank, forms),
            values: vec![0.0; heads * tokens * spec.value_dim],
            out: Activations::new(tokens, heads * spec.value_dim, forms),
            query_rows: vec![0; heads * tokens],
            sum_rows: vec![0; heads * tokens],
            groups: Groups::with_capacity(heads),
            plain: plain::Scratch::default(),
        }
    }
}

impl Mla {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize, spec: &MlaSpec) -> Result<Mla, Error> {
        let width = mla_shape(spec).width();
        if width > latent_attention::WIDTH_MAX {
            return Err(Error::HeadTooLong { dim: width, max: latent_attention::WIDTH_MAX });
        }
        let dim = loader.spec.dim;
        let queries = spec.n_heads * (spec.nope_dim + spec.rope_dim);
        let query = match spec.query_rank {
            None => Query::Whole(loader.matrix(Slot::Query, layer, (queries, dim))?.into()),
            Some(rank) => Query::Ranked {
                down: loader.matrix(Slot::QueryDown, layer, (rank, dim))?.into(),
                norm: loader.vector(Slot::QueryDownNorm, layer, rank)?,
                up: loader.matrix(Slot::QueryUp, layer, (queries, rank))?.into(),
            },
        };
        let (key_up, value_up) = weights::latent_up(loader, layer, spec)?;
        Ok(Mla {
            spec: spec.clone(),
            norm_eps: loader.spec.norm_eps,
            query,
            latent_down: loader.matrix(Slot::LatentDown, layer, (width, dim))?.into(),
            latent_norm: loader.vector(Slot::LatentNorm, layer, spec.latent_rank)?,
            key_up: key_up.into_iter().map(Linear::from).collect(),
            value_up: value_up.into_iter().map(Linear::from).collect(),
            out: loader
                .matrix(Slot::AttentionOut, layer, (dim, spec.n_heads * spec.value_dim))?
                .into(),
            plain: None,
        })
    }

    /// Reads what long prompts need to go the plain way.
    pub(crate) fn load_plain(&mut self, loader: &Loader<'_>, layer: usize) -> Result<(), Error> {
        let key = weights::plain_keys(loader, layer, &self.spec)?;
        self.plain = Some(plain::Plain { key });
        Ok(())
    }

    pub(crate) fn forward(
        &self,
        Step { pool, batch, angles }: Step<'_>,
        y: &mut [f32],
        x: &mut Activations,
        kv: &mut LayerKv,
        scratch: &mut Scratch,
    ) {
        let n_tokens = batch.n_tokens();
        let shape = mla_shape(&self.spec);
        self.queries(pool, x, n_tokens, &angles, scratch);
        self.latents(pool, x, n_tokens, &angles, scratch);
        let spans = batch.spans();
        with_elements!(kv, cache => {
            let latent = &scratch.latent[..n_tokens * shape.latent_rank];
            let key = &scratch.key[..n_tokens * shape.rope_dim];
            latent_attention::store(cache, latent, key, spans, shape);
            match &self.plain {
                // Steps of nothing but long prompts; in company they go the usual way.
                Some(plain) if spans.spans.iter().all(|s| s.n_tokens >= plain::TOKENS_MIN) => {
                    self.attend_plain(pool, cache, spans, plain, scratch);
                }
                _ => self.attend_absorbed(pool, cache, spans, n_tokens, scratch),
            }
        });
        scratch.out.prepare_for(pool, &[&self.out]);
        linear::product(pool, y, &scratch.out, &self.out);
    }

    /// Leaves what each token's heads attended to in `out`, by the absorbed form.
    fn attend_absorbed<E: Element>(
        &self,
        pool: &Pool,
        cache: &[E],
        spans: Spans<'_>,
        n_tokens: usize,
        scratch: &mut Scratch,
    ) {
        let shape = mla_shape(&self.spec);
        let (heads, rank) = (self.spec.n_heads, self.spec.latent_rank);
        let padded = shape.n_groups() * latent_attention::HEADS;
        self.absorb(pool, n_tokens, scratch);
        let lanes = &mut scratch.query_lanes[..n_tokens * shape.queries_len()];
        let latent = &scratch.query_latent[..heads * n_tokens * rank];
        let head_dim = self.spec.nope_dim + self.spec.rope_dim;
        let roped = &scratch.query[..n_tokens * heads * head_dim];
        let part = (head_dim, self.spec.nope_dim);
        latent_attention::interleave(pool, lanes, latent, roped, part, shape);
        let attended = scratch.attended.resize(n_tokens * padded, rank);
        let how = (shape, self.spec.scale);
        latent_attention::forward(pool, attended, lanes, cache, spans, how);
        self.values(pool, n_tokens, padded, scratch);
    }

    /// The same by the plain form, sequence by sequence.
    fn attend_plain<E: Element>(
        &self,
        pool: &Pool,
        cache: &[E],
        spans: Spans<'_>,
        plain: &plain::Plain,
        scratch: &mut Scratch,
    ) {
        let MlaSpec { n_heads, nope_dim, rope_dim, value_dim, .. } = self.spec;
        let (query_len, out_len) = (n_heads * (nope_dim + rope_dim), n_heads * value_dim);
        let n_tokens = spans.ends.last().copied().unwrap_or(0);
        let out = scratch.out.resize(n_tokens, out_len);
        for (&span, &end) in spans.spans.iter().zip(spans.ends) {
            let rows = end - span.n_tokens..end;
            let queries = &scratch.query[rows.start * query_len..rows.end * query_len];
            let prompt = plain::Prompt { spec: &self.spec, cache, spans, span, queries };
            let out = &mut out[rows.start * out_len..rows.end * out_len];
            prompt.attend(pool, out, (plain, &self.value_up), &mut scratch.plain);
        }
    }

    /// Leaves the queries, their roped parts turned, in `query`.
    fn queries(
        &self,
        pool: &Pool,
        x: &mut Activations,
        n_tokens: usize,
        angles: &Angles<'_>,
        scratch: &mut Scratch,
    ) {
        let MlaSpec { n_heads, nope_dim, rope_dim, .. } = self.spec;
        let head_dim = nope_dim + rope_dim;
        let query = &mut scratch.query[..n_tokens * n_heads * head_dim];
        match &self.query {
            Query::Whole(whole) => {
                x.prepare_for(pool, &[whole]);
                linear::product(pool, query, x, whole);
            }
            Query::Ranked { down, norm, up } => {
                x.prepare_for(pool, &[down]);
                let small = &mut scratch.query_down[..n_tokens * norm.len()];
                linear::product(pool, small, x, down);
                let ranked = &mut scratch.query_ranked;
                rmsnorm::forward(
                    pool,
                    ranked.resize(n_tokens, norm.len()),
                    small,
                    norm,
                    self.norm_eps,
                );
                ranked.prepare_for(pool, &[up]);
                linear::product(pool, query, ranked, up);
            }
        }
        let pairing = self.spec.rope.pairing;
        let heads =
            rope::Heads { stride: n_heads * head_dim, n_heads, head_dim, from: nope_dim, pairing };
        rope::forward(pool, query, angles.cos, angles.sin, angles.half, heads);
    }

    /// Leaves the latent images of the queries in `query_latent`.
    fn absorb(&self, pool: &Pool, n_tokens: usize, scratch: &mut Scratch) {
        let MlaSpec { n_heads, nope_dim, rope_dim, .. } = self.spec;
        let head_dim = nope_dim + rope_dim;
        let query = &scratch.query[..n_tokens * n_heads * head_dim];
        let nope = scratch.query_nope.resize(n_tokens * n_heads, nope_dim);
        pool.for_chunks(nope, n_heads * nope_dim, |t, rows| {
            let heads = query[t * n_heads * head_dim..].chunks_exact(head_dim);
            for (row, head) in rows.chunks_exact_mut(nope_dim).zip(heads) {
                row.copy_from_slice(&head[..nope_dim]);
            }
        });
        prepare_all(pool, &mut scratch.query_nope, &self.key_up);
        by_head(&mut scratch.query_rows, n_tokens, n_heads, n_heads);
        let latent = &mut scratch.query_latent[..n_heads * n_tokens * self.spec.latent_rank];
        let rows = &scratch.query_rows[..n_heads * n_tokens];
        let x = &scratch.query_nope;
        product_by_head(pool, latent, x, (&self.key_up, rows), &mut scratch.groups);
    }

    /// Leaves the normed latents and the roped keys of the step's tokens in `latent` and `key`.
    fn latents(
        &self,
        pool: &Pool,
        x: &mut Activations,
        n_tokens: usize,
        angles: &Angles<'_>,
        scratch: &mut Scratch,
    ) {
        let (rank, rope_dim) = (self.spec.latent_rank, self.spec.rope_dim);
        let width = rank + rope_dim;
        x.prepare_for(pool, &[&self.latent_down]);
        let down = &mut scratch.down[..n_tokens * width];
        linear::product(pool, down, x, &self.latent_down);
        let latent = &mut scratch.latent[..n_tokens * rank];
        let key = &mut scratch.key[..n_tokens * rope_dim];
        let rows = latent.chunks_exact_mut(rank).zip(key.chunks_exact_mut(rope_dim));
        for ((latent, key), down) in rows.zip(down.chunks_exact(width)) {
            latent.copy_from_slice(&down[..rank]);
            key.copy_from_slice(&down[rank..]);
        }
        rmsnorm::forward_heads(pool, latent, rank, &self.latent_norm, self.norm_eps);
        let pairing = self.spec.rope.pairing;
        let heads =
            rope::Heads { stride: rope_dim, n_heads: 1, head_dim: rope_dim, from: 0, pairing };
        rope::forward(pool, key, angles.cos, angles.sin, angles.half, heads);
    }

    /// Turns what the heads attended to into values, and lays them out token by token in `out`.
    fn values(&self, pool: &Pool, n_tokens: usize, padded: usize, scratch: &mut Scratch) {
        let (heads, dim) = (self.spec.n_heads, self.spec.value_dim);
        prepare_all(pool, &mut scratch.attended, &self.value_up);
        by_head(&mut scratch.sum_rows, n_tokens, heads, padded);
        let values = &mut scratch.values[..heads * n_tokens * dim];
        let rows = &scratch.sum_rows[..heads * n_tokens];
        let x = &scratch.attended;
        product_by_head(pool, values, x, (&self.value_up, rows), &mut scratch.groups);
        let values = &*values;
        let out = scratch.out.resize(n_tokens, heads * dim);
        pool.for_parts(Chunks::new(out, heads * dim), |t, row| {
            for (h, out) in row.chunks_exact_mut(dim).enumerate() {
                out.copy_from_slice(&values[(h * n_tokens + t) * dim..][..dim]);
            }
        });
    }

    /// What a token is multiplied with. The plain form's keys take the place of as many others.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Panels> {
        let query = match &self.query {
            Query::Whole(whole) => [whole, whole],
            Query::Ranked { down, up, .. } => [down, up],
        };
        let n_query = if self.spec.query_rank.is_some() { 2 } else { 1 };
        let heads = self.key_up.iter().chain(&self.value_up);
        let all = query.into_iter().take(n_query).chain([&self.latent_down, &self.out]);
        all.chain(heads).map(|linear| &linear.w)
    }

    fn matrices(&self) -> impl Iterator<Item = &Panels> {
        self.products().chain(self.plain.iter().flat_map(|plain| &plain.key))
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        forms.extend(self.matrices().map(Panels::form));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrices().map(Panels::bytes).sum()
    }
}

/// rows (H, T): where token t of head h lies among rows of `stride` a token.
fn by_head(rows: &mut [u32], n_tokens: usize, n_heads: usize, stride: usize) {
    for (h, rows) in rows[..n_heads * n_tokens].chunks_exact_mut(n_tokens).enumerate() {
        for (t, row) in rows.iter_mut().enumerate() {
            *row = (t * stride + h) as u32;
        }
    }
}

/// y (H, T, N): each head's rows of x times its matrix (N, K).
fn product_by_head(
    pool: &Pool,
    y: &mut [f32],
    x: &Activations,
    (heads, rows): (&[Linear], &[u32]),
    groups: &mut Groups,
) {
    let mut list: Vec<Group<'_>> = std::mem::take(groups);
    let rows = rows.chunks_exact(rows.len() / heads.len());
    let heads = heads.iter().zip(rows).map(|(w, rows)| (w, Rows::Picked(rows)));
    list.extend(heads.clone().map(|(w, rows)| Group { w, rows }));
    matmul_grouped(pool, y, x, &list);
    linear::adapt(pool, y, x, heads);
    *groups = recycle(list);
}

/// Heads may differ in type where a file mixes types; all forms that one reads are made.
fn prepare_all(pool: &Pool, x: &mut Activations, heads: &[Linear]) {
    for head in heads {
        x.prepare(pool, head.form());
    }
}
