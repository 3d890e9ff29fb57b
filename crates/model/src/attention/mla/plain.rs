//! The plain form of latent attention: every cached row becomes keys and values of all heads.
//!
//! ```text
//! k = [W_UK c, roped key]      v = W_UV c      y = Σⱼ softmax(scale · q·kⱼ) vⱼ
//! ```
//!
//! For a long prompt this is cheaper than the absorbed form, which multiplies longer rows: R + rope
//! and R elements a head and position against nope + rope and value. It rounds differently, so a
//! prefix that was computed this way is not, in its last bits, the one that decoding would give.

use ops::attention::{self, PAGE, Span, Spans};
use ops::element::Element;
use panels::{Activations, Panels, matmul};
use par::{Chunks, Pool};
use spec::MlaSpec;

use crate::kv::mla_shape;
use crate::linear::Linear;

/// Heads whose keys and values are in memory at once.
const HEADS: usize = 4;
/// Positions by which buffers grow.
const BLOCK: usize = 512;
/// Tokens of one sequence in a step from which on the plain form is taken.
pub(super) const TOKENS_MIN: usize = 64;

/// What the plain form needs beside the absorbed form's weights: of each head (nope, R).
pub(super) struct Plain {
    pub key: Vec<Panels>,
}

/// Buffers that grow with the longest prompt.
#[derive(Default)]
pub(super) struct Scratch {
    /// (context, R), and for how many rows there is room.
    latents: Option<Activations>,
    capacity: usize,
    /// (context, rope)
    roped: Vec<f32>,
    /// One head's (context, nope) or (context, value)
    one: Vec<f32>,
    /// (context, HEADS·(nope + rope)), (context, HEADS·value)
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Pages of `HEADS` heads.
    cache: Vec<f32>,
    pages: Vec<u32>,
    /// (T, HEADS·(nope + rope)), (T, HEADS·value)
    queries: Vec<f32>,
    out: Vec<f32>,
    spans: Vec<Span>,
    ends: Vec<usize>,
}

/// One sequence's tokens of a step.
pub(super) struct Prompt<'a, E> {
    pub spec: &'a MlaSpec,
    /// The step's own rows are stored already.
    pub cache: &'a [E],
    pub spans: Spans<'a>,
    pub span: Span,
    /// (T, H, nope + rope), the roped parts turned.
    pub queries: &'a [f32],
}

impl<E: Element> Prompt<'_, E> {
    /// out (T, H·value) from the prompt's queries.
    pub(super) fn attend(
        &self,
        pool: &Pool,
        out: &mut [f32],
        (plain, value_up): (&Plain, &[Linear]),
        s: &mut Scratch,
    ) {
        let MlaSpec { n_heads, nope_dim, rope_dim, value_dim, .. } = *self.spec;
        let head_dim = nope_dim + rope_dim;
        let n_tokens = self.span.n_tokens;
        self.gather(pool, (plain, value_up), s);
        for first in (0..n_heads).step_by(HEADS) {
            let n = HEADS.min(n_heads - first);
            let shape = attention::Shape { n_heads: n, n_kv_heads: n, head_dim, value_dim };
            self.keys_and_values(pool, (plain, value_up), first..first + n, shape, s);
            s.queries.resize(n_tokens * n * head_dim, 0.0);
            let rows = self.queries.chunks_exact(n_heads * head_dim);
            for (to, from) in s.queries.chunks_exact_mut(n * head_dim).zip(rows) {
                to.copy_from_slice(&from[first * head_dim..][..n * head_dim]);
            }
            s.spans.clear();
            s.ends.clear();
            for at in (0..n_tokens).step_by(shape.tokens_per_task()) {
                let n_tokens = shape.tokens_per_task().min(n_tokens - at);
                s.spans.push(Span { position: self.span.position + at, n_tokens, pages_from: 0 });
                s.ends.push(at + n_tokens);
            }
            s.out.resize(n_tokens * n * value_dim, 0.0);
            let spans = Spans { spans: &s.spans, ends: &s.ends, pages: &s.pages };
            let how = (shape, self.spec.scale);
            attention::forward(pool, &mut s.out, &s.queries, &s.cache, spans, how);
            let rows = s.out.chunks_exact(n * value_dim);
            for (to, from) in out.chunks_exact_mut(n_heads * value_dim).zip(rows) {
                to[first * value_dim..][..n * value_dim].copy_from_slice(from);
            }
        }
    }

    /// Widens the cached rows of the sequence, the latent and the roped part apart.
    fn gather(&self, pool: &Pool, (plain, value_up): (&Plain, &[Linear]), s: &mut Scratch) {
        let shape = mla_shape(self.spec);
        let (rank, rope) = (shape.latent_rank, shape.rope_dim);
        let n = self.span.position + self.span.n_tokens;
        let mut forms: Vec<_> =
            plain.key.iter().chain(value_up.iter().map(|up| &up.w)).map(Panels::form).collect();
        forms.sort();
        forms.dedup();
        if s.capacity < n || s.latents.is_none() {
            s.capacity = n.next_multiple_of(BLOCK);
            s.latents = Some(Activations::new(s.capacity, rank, &forms));
        }
        let latents = s.latents.as_mut().expect("made above");
        s.roped.resize(n * rope, 0.0);
        let rows = (Chunks::new(latents.resize(n, rank), rank), Chunks::new(&mut s.roped, rope));
        pool.for_parts(rows, |position, (latent, roped)| {
            let page = self.spans.pages[self.span.pages_from + position / PAGE] as usize;
            let row = &self.cache[page * shape.page_len() + position % PAGE * shape.width()..];
            for (to, from) in latent.iter_mut().chain(roped).zip(&row[..shape.width()]) {
                *to = from.to_f32();
            }
        });
        for form in forms {
            latents.prepare(pool, form);
        }
        s.pages.clear();
        s.pages.extend(0..n.div_ceil(PAGE) as u32);
    }

    /// Fills the pages of some heads.
    fn keys_and_values(
        &self,
        pool: &Pool,
        (plain, value_up): (&Plain, &[Linear]),
        heads: std::ops::Range<usize>,
        shape: attention::Shape,
        s: &mut Scratch,
    ) {
        let MlaSpec { nope_dim, rope_dim, value_dim, .. } = *self.spec;
        let (head_dim, n_heads) = (shape.head_dim, shape.n_heads);
        let n = self.span.position + self.span.n_tokens;
        let latents = s.latents.as_ref().expect("gathered before");
        s.cache.resize(s.pages.len() * shape.page_len(), 0.0);
        s.keys.resize(n * n_heads * head_dim, 0.0);
        s.values.resize(n * n_heads * value_dim, 0.0);
        for (i, head) in heads.enumerate() {
            s.one.resize(n * nope_dim, 0.0);
            matmul(pool, &mut s.one, latents, &plain.key[head]);
            let parts = s.one.chunks_exact(nope_dim).zip(s.roped.chunks_exact(rope_dim));
            for (row, (nope, roped)) in s.keys.chunks_exact_mut(n_heads * head_dim).zip(parts) {
                let key = &mut row[i * head_dim..][..head_dim];
                key[..nope_dim].copy_from_slice(nope);
                key[nope_dim..].copy_from_slice(roped);
            }
            s.one.resize(n * value_dim, 0.0);
            matmul(pool, &mut s.one, latents, &value_up[head]);
            let values = s.values.chunks_exact_mut(n_heads * value_dim);
            for (row, value) in values.zip(s.one.chunks_exact(value_dim)) {
                row[i * value_dim..][..value_dim].copy_from_slice(value);
            }
        }
        let span = [Span { position: 0, n_tokens: n, pages_from: 0 }];
        let spans = Spans { spans: &span, ends: &[n], pages: &s.pages };
        attention::store(&mut s.cache, &s.keys, &s.values, spans, shape);
    }
}
