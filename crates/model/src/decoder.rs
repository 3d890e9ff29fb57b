//! The decoder of every family.

use std::time::Instant;

use formats::{Tensor, Weights};
use ops::{residual, rmsnorm, rope};
use panels::{Activations, Form, Panels, matmul};
use par::Pool;
use spec::{AttentionSpec, Dialect, FfnSpec, ModelSpec, RopeScaling, Slot};

use crate::attention::{self, Angles, Attention, Step};
use crate::batch::Batch;
use crate::error::Error;
use crate::experts::{ExpertMemory, ExpertStatistics, Loads, Routed, Sources, Store};
use crate::ffn::{self, Ffn, Product};
use crate::kv::{self, Kv};
use crate::next_token::NextToken;
use crate::products::Products;
use crate::weights::Loader;

/// How much one step may hold: what the buffers are sized by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub tokens_per_step: usize,
    pub logits_per_step: usize,
}

/// Whether a prompt may be computed in a form that rounds differently from decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numerics {
    /// One form for prompts, answers and training: the same bits whatever the path.
    #[default]
    Exact,
    /// Long prompts take the plain form of latent attention, which is cheaper. What follows a
    /// prompt then differs in its last bits from what other chunks of it would have given.
    Fast,
}

/// A model that is ready to run.
pub struct Decoder {
    pub(crate) spec: ModelSpec,
    limits: Limits,
    /// (V, D): rows are decoded where they lie in the file.
    pub(crate) embedding: Tensor,
    pub(crate) layers: Vec<Layer>,
    /// (D)
    pub(crate) output_norm: Vec<f32>,
    /// (V, D)
    pub(crate) head: Panels,
    /// Radians a position. (half)
    pub(crate) frequencies: Vec<f64>,
    pub(crate) arena: Arena,
    /// The layer that guesses ahead, if it was loaded.
    pub(crate) next: Option<Box<NextToken>>,
    /// Tokens of the last step, and rows of logits that it left.
    n_tokens: usize,
    n_logits: usize,
    /// Bytes of experts that the last step read.
    expert_bytes: u64,
}

pub(crate) struct Layer {
    /// (D)
    pub attention_norm: Vec<f32>,
    pub attention: Attention,
    /// (D)
    pub ffn_norm: Vec<f32>,
    pub ffn: Ffn,
}

impl Layer {
    pub(crate) fn load(
        loader: &Loader<'_>,
        i: usize,
        spec: &spec::LayerSpec,
    ) -> Result<Layer, Error> {
        let dim = loader.spec.dim;
        Ok(Layer {
            attention_norm: loader.vector(Slot::AttentionNorm, i, dim)?,
            attention: Attention::load(loader, i, &spec.attention)?,
            ffn_norm: loader.vector(Slot::FfnNorm, i, dim)?,
            ffn: Ffn::load(loader, i, &spec.ffn)?,
        })
    }
}

/// The buffers of a step.
pub(crate) struct Arena {
    /// The residual stream. (T, D)
    pub x: Vec<f32>,
    /// The normed stream, as products read it. (T, D)
    h: Activations,
    /// What a layer adds to the stream. (T, D)
    y: Vec<f32>,
    /// (T, half)
    cos: Vec<f32>,
    sin: Vec<f32>,
    attention: attention::Scratch,
    ffn: ffn::Scratch,
    /// The experts that sparse layers take turns with.
    routed: Routed,
    /// The rows whose logits are wanted. (L, D)
    last: Vec<f32>,
    last_normed: Activations,
    /// (L, V)
    logits: Vec<f32>,
    /// What each token's routers chose, stirred together. (T)
    marks: Vec<u64>,
}

impl Decoder {
    /// Reads and packs the weights of `spec`. `progress` is told the bytes of each tensor that has
    /// been read.
    ///
    /// # Errors
    /// Weights that are missing or do not fill the spec.
    pub fn load(
        weights: &dyn Weights,
        what: (ModelSpec, Dialect),
        limits: Limits,
        pool: &Pool,
        progress: &dyn Fn(u64),
    ) -> Result<Decoder, Error> {
        Decoder::load_within(weights, what, limits, (pool, progress), ExpertMemory::Resident)
    }

    /// The same, keeping routed experts where `experts` says. Logits are the same bits.
    ///
    /// # Errors
    /// As [`Decoder::load`]; [`Error::ExpertMemory`] for fewer bytes than
    /// [`Footprint::experts_min`](crate::Footprint::experts_min).
    pub fn load_within(
        weights: &dyn Weights,
        (spec, dialect): (ModelSpec, Dialect),
        limits: Limits,
        (pool, progress): (&Pool, &dyn Fn(u64)),
        experts: ExpertMemory,
    ) -> Result<Decoder, Error> {
        let is_storing_experts = matches!(experts, ExpertMemory::Within { .. });
        let loader = Loader { spec: &spec, dialect, weights, pool, progress, is_storing_experts };
        let (vocab, dim) = (spec.vocab, spec.dim);
        let embedding = loader.tensor(Slot::Embedding, 0, &[vocab, dim])?;
        let head = match spec.tied_head {
            true => loader.pack(&embedding)?,
            false => loader.matrix(Slot::Head, 0, (vocab, dim))?,
        };
        let layers = spec.layers.iter().enumerate();
        let layers = layers.map(|(i, layer)| Layer::load(&loader, i, layer));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let table = match spec.rope().scaling {
            RopeScaling::Table => Some(loader.vector(Slot::RopeTable, 0, spec.rope().dim / 2)?),
            _ => None,
        };
        let frequencies = spec.rope().frequencies(table.as_deref());
        let output_norm = loader.vector(Slot::OutputNorm, 0, dim)?;
        // Last, when what loading took for a moment is free again.
        let store = match experts {
            ExpertMemory::Resident => None,
            ExpertMemory::Within { bytes, guess } => {
                Some(Store::open(Sources::find(&loader)?, bytes, guess)?)
            }
        };
        let routed = Routed { loads: Loads::new(&spec), store };
        let arena = Arena::new(&spec, limits, (&layers, &head), routed);
        Ok(Decoder {
            spec,
            limits,
            embedding,
            layers,
            output_norm,
            head,
            frequencies,
            arena,
            next: None,
            n_tokens: 0,
            n_logits: 0,
            expert_bytes: 0,
        })
    }

    /// Lets long prompts take the cheaper form of their attention: [`Numerics::Fast`].
    ///
    /// # Errors
    /// Weights that are missing or do not fill the spec.
    pub fn allow_plain_prompts(
        &mut self,
        weights: &dyn Weights,
        dialect: Dialect,
        pool: &Pool,
    ) -> Result<(), Error> {
        let (spec, progress, is_storing_experts) = (&self.spec, &|_| (), false);
        let loader = Loader { spec, dialect, weights, pool, progress, is_storing_experts };
        let mut layers = self.layers.iter_mut().enumerate();
        layers.try_for_each(|(i, layer)| layer.attention.load_plain(&loader, i))
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Bytes of packed weights in memory, a cache of experts included; the embedding stays in its
    /// file.
    pub fn weights_bytes(&self) -> usize {
        let layers = self.layers.iter().map(|layer| layer.attention.bytes() + layer.ffn.bytes());
        let cache = self.expert_statistics().map_or(0, |statistics| statistics.bytes as usize);
        layers.sum::<usize>() + self.head.bytes() + cache
    }

    /// How experts came from their files; none if all are in memory.
    pub fn expert_statistics(&self) -> Option<ExpertStatistics> {
        self.arena.routed.store.as_ref().map(Store::statistics)
    }

    /// How often tokens chose each expert of a layer since the model was loaded; empty for a dense
    /// layer. (E)
    pub fn expert_counts(&self, layer: usize) -> &[u64] {
        self.arena.routed.loads.layer(layer)
    }

    /// Experts that at least one token of a step chose, summed over steps and layers since the
    /// model was loaded.
    pub fn experts_touched(&self) -> u64 {
        self.arena.routed.loads.distinct()
    }

    /// The logits (L, V) of the rows that `batch` wants. The step's keys and values go into `kv`.
    ///
    /// # Panics
    ///
    /// If the batch exceeds the limits, or names a token or a page that is not there.
    pub fn forward(&mut self, pool: &Pool, batch: &Batch, kv: &mut Kv) -> Result<&[f32], Error> {
        let (n_tokens, started) = (batch.n_tokens(), Instant::now());
        assert!(n_tokens <= self.limits.tokens_per_step, "a step of {n_tokens} tokens");
        let (dim, eps, half) = (self.spec.dim, self.spec.norm_eps, self.frequencies.len());
        let s = &mut self.arena;
        let x = &mut s.x[..n_tokens * dim];
        let y = &mut s.y[..n_tokens * dim];
        embed(pool, x, &self.embedding, batch.tokens());
        let (cos, sin) = (&mut s.cos[..n_tokens * half], &mut s.sin[..n_tokens * half]);
        let amplitude = self.spec.rope().amplitude();
        rope::angles(cos, sin, batch.positions(), &self.frequencies, amplitude);
        let step = Step { pool, batch, angles: Angles { cos, sin, half } };
        let marks = &mut s.marks[..n_tokens];
        marks.fill(0);

        for (i, (layer, kv)) in self.layers.iter().zip(&mut kv.layers).enumerate() {
            rmsnorm::forward(pool, s.h.resize(n_tokens, dim), x, &layer.attention_norm, eps);
            layer.attention.forward(step, y, &mut s.h, kv, &mut s.attention);
            residual::add(pool, x, y);

            rmsnorm::forward(pool, s.h.resize(n_tokens, dim), x, &layer.ffn_norm, eps);
            let next = self.layers.get(i + 1).map(|next| &next.ffn);
            layer.ffn.forward(pool, y, &mut s.h, (&mut s.ffn, &mut s.routed), next)?;
            s.ffn.mark(marks, &layer.ffn);
            residual::add(pool, x, y);
        }
        self.head(pool, batch);
        self.n_tokens = n_tokens;
        self.expert_bytes = self.arena.ffn.take_bytes_read();
        if let Some(store) = &mut self.arena.routed.store {
            store.end_step(started.elapsed());
        }
        Ok(self.last_logits())
    }

    /// A mark of what the routers chose for each token of the last step: equal if all layers chose
    /// the same experts in the same order; 0 in a dense model. (T)
    pub fn last_routes(&self) -> &[u64] {
        &self.arena.marks[..self.n_tokens]
    }

    /// What the last step brought: (L, V).
    pub fn last_logits(&self) -> &[f32] {
        &self.arena.logits[..self.n_logits * self.spec.vocab]
    }

    /// What the products of the last step took.
    pub fn last_products(&self) -> Products {
        let mut products = Products { weights_bytes: self.expert_bytes, ops: Vec::new() };
        for layer in &self.layers {
            layer.attention.products(&mut |w| products.add(w, self.n_tokens));
            layer.ffn.products(&mut |product| match product {
                Product::All(w) => products.add(w, self.n_tokens),
                Product::Chosen { ty, ops } => products.add_ops(ty, ops * self.n_tokens as u64),
            });
        }
        if self.n_logits > 0 {
            products.add(&self.head, self.n_logits);
        }
        products
    }

    /// Bytes that the buffers of a step take, about: those of int8 activations, which depend on
    /// the weights' types, are counted as if every product read them.
    pub fn scratch_bytes(spec: &ModelSpec, limits: Limits) -> u64 {
        let width = |layer: &spec::LayerSpec| {
            let attention = match &layer.attention {
                AttentionSpec::Gqa(gqa) => {
                    let raw = if gqa.qk_norm { gqa.n_heads + gqa.n_kv_heads } else { 0 };
                    (2 * gqa.n_heads + 2 * gqa.n_kv_heads + raw) * gqa.head_dim
                }
                AttentionSpec::Mla(mla) => {
                    let shape = kv::mla_shape(mla);
                    let per_head = 2 * mla.latent_rank + 2 * mla.nope_dim + mla.rope_dim;
                    let heads = mla.n_heads * (per_head + 2 * mla.value_dim);
                    heads + shape.queries_len() + mla.query_rank.unwrap_or(0)
                }
            };
            let ffn = match &layer.ffn {
                FfnSpec::Dense { hidden } => 3 * hidden,
                FfnSpec::Moe(moe) => {
                    3 * moe.shared_hidden + moe.n_chosen * (3 * moe.hidden + spec.dim)
                }
            };
            attention + ffn
        };
        let widest = spec.layers.iter().map(width).max().unwrap_or(0) + 3 * spec.dim;
        let tokens = limits.tokens_per_step as u64 * widest as u64;
        let logits = limits.logits_per_step as u64 * (spec.vocab + 2 * spec.dim) as u64;
        // An int8 copy beside each f32, and its scales and sums.
        4 * logits + 6 * tokens
    }

    /// The logits, of the rows that are wanted only.
    fn head(&mut self, pool: &Pool, batch: &Batch) {
        let (dim, n_logits) = (self.spec.dim, batch.n_logits());
        assert!(n_logits <= self.limits.logits_per_step, "{n_logits} rows of logits");
        let s = &mut self.arena;
        let last = &mut s.last[..n_logits * dim];
        for (last, &row) in last.chunks_exact_mut(dim).zip(batch.wanted()) {
            last.copy_from_slice(&s.x[row as usize * dim..][..dim]);
        }
        let normed = s.last_normed.resize(n_logits, dim);
        rmsnorm::forward(pool, normed, last, &self.output_norm, self.spec.norm_eps);
        s.last_normed.prepare_for(pool, &[&self.head]);
        let logits = &mut s.logits[..n_logits * self.spec.vocab];
        matmul(pool, logits, &s.last_normed, &self.head);
        self.n_logits = n_logits;
    }
}

/// x (T, D) = rows of the embedding.
pub(crate) fn embed(pool: &Pool, x: &mut [f32], embedding: &Tensor, tokens: &[u32]) {
    let dim = embedding.shape[1];
    let row_bytes = embedding.bytes.len() / embedding.shape[0];
    pool.for_chunks(x, dim, |t, row| {
        let bytes = &embedding.bytes[tokens[t] as usize * row_bytes..][..row_bytes];
        quant::decode(embedding.quant, bytes, row);
    });
}

impl Arena {
    fn new(
        spec: &ModelSpec,
        limits: Limits,
        (layers, head): (&[Layer], &Panels),
        routed: Routed,
    ) -> Arena {
        let Limits { tokens_per_step: tokens, logits_per_step: logits } = limits;
        let mut forms: Vec<Form> = vec![head.form()];
        for layer in layers {
            layer.attention.forms(&mut forms);
            layer.ffn.forms(&mut forms);
        }
        forms.sort();
        forms.dedup();
        let half = spec.rope().dim / 2;
        Arena {
            x: vec![0.0; tokens * spec.dim],
            h: Activations::new(tokens, spec.dim, &forms),
            y: vec![0.0; tokens * spec.dim],
            cos: vec![0.0; tokens * half],
            sin: vec![0.0; tokens * half],
            attention: attention::Scratch::new(spec, tokens, &forms),
            ffn: ffn::Scratch::new(spec, tokens, &forms),
            routed,
            last: vec![0.0; logits * spec.dim],
            last_normed: Activations::new(logits, spec.dim, &forms),
            logits: vec![0.0; logits * spec.vocab],
            marks: vec![0; tokens],
        }
    }
}
