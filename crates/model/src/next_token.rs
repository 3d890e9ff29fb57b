//! Multi-token prediction (DeepSeek-V3, arXiv 2412.19437 §2.2): one more layer that guesses the
//! token after the next.
//!
//! ```text
//! x = projection [norm(embedding of token j), norm(hidden of token j − 1)]
//! guess at token j + 1 = head(norm(layer(x)))
//! ```
//!
//! The hidden state is the main model's after its last norm, as public engines take it. The layer
//! keeps keys and values of its own, at position j − 1, in the pages of the sequence. A page that
//! was shared or copied may lack them: guesses are then worse, and nothing else.

use formats::Weights;
use ops::{residual, rmsnorm, rope};
use panels::{Activations, Form, Panels, matmul};
use par::Pool;
use spec::{Dialect, ModelSpec, Slot};

use crate::attention::{self, Angles, Step};
use crate::batch::Batch;
use crate::decoder::{Decoder, Layer, embed};
use crate::error::Error;
use crate::experts::{Loads, Routed};
use crate::ffn;
use crate::kv::{Kv, LayerKv, layer_kv};
use crate::weights::Loader;

/// The extra layer, its cache and its buffers.
pub(crate) struct NextToken {
    /// (D) each
    embedding_norm: Vec<f32>,
    hidden_norm: Vec<f32>,
    /// (D, 2D)
    projection: Panels,
    layer: Layer,
    /// (D)
    output_norm: Vec<f32>,
    kv: LayerKv,
    /// (T, D)
    x: Vec<f32>,
    y: Vec<f32>,
    /// (T, 2D)
    joined: Activations,
    /// (T, D)
    h: Activations,
    /// (T, half)
    cos: Vec<f32>,
    sin: Vec<f32>,
    attention: attention::Scratch,
    ffn: ffn::Scratch,
    routed: Routed,
    /// (L, D), (L, V)
    last: Activations,
    logits: Vec<f32>,
}

impl Decoder {
    /// Whether the file holds a layer that guesses ahead.
    pub fn can_guess(&self) -> bool {
        self.next.is_some()
    }

    /// Reads the layer that guesses ahead, with a cache of as many pages as `kv` has. Nothing
    /// happens if the model has none.
    ///
    /// # Errors
    /// Weights that are missing or do not fill the spec.
    pub fn load_next_token(
        &mut self,
        weights: &dyn Weights,
        dialect: Dialect,
        kv: &Kv,
        pool: &Pool,
    ) -> Result<(), Error> {
        let Some(next) = self.spec().next_token.clone() else { return Ok(()) };
        let (dim, i) = (self.spec().dim, next.layer_index);
        // The model as if the layer were one of its own, for what is counted by layer.
        let mut spec: ModelSpec = self.spec().clone();
        spec.layers.push(next.layer.clone());
        let progress = &|_| ();
        let is_storing_experts = false;
        let loader = Loader { spec: &spec, dialect, weights, pool, progress, is_storing_experts };
        let layer = Layer::load(&loader, i, &next.layer)?;
        let projection = loader.matrix(Slot::NextProjection, i, (dim, 2 * dim))?;
        let mut forms: Vec<Form> = vec![projection.form(), self.head.form()];
        layer.attention.forms(&mut forms);
        layer.ffn.forms(&mut forms);
        forms.sort();
        forms.dedup();
        let (tokens, half) = (self.limits().tokens_per_step, spec.rope().dim / 2);
        let rows = self.limits().logits_per_step;
        let routed = Routed { loads: Loads::new(&spec), store: None };
        self.next = Some(Box::new(NextToken {
            embedding_norm: loader.vector(Slot::NextEmbeddingNorm, i, dim)?,
            hidden_norm: loader.vector(Slot::NextHiddenNorm, i, dim)?,
            output_norm: loader.vector(Slot::NextOutputNorm, i, dim)?,
            kv: layer_kv(&next.layer.attention, kv.kv_type(), kv.n_pages()),
            x: vec![0.0; tokens * dim],
            y: vec![0.0; tokens * dim],
            joined: Activations::new(tokens, 2 * dim, &forms),
            h: Activations::new(tokens, dim, &forms),
            cos: vec![0.0; tokens * half],
            sin: vec![0.0; tokens * half],
            attention: attention::Scratch::new(&spec, tokens, &forms),
            ffn: ffn::Scratch::new(&spec, tokens, &forms),
            routed,
            last: Activations::new(rows, dim, &forms),
            logits: vec![0.0; rows * spec.vocab],
            projection,
            layer,
        }));
        Ok(())
    }

    /// The guesses (L, V) at what follows the tokens that `batch` wants logits of. Each token j of
    /// the batch stands at position j − 1, and `hidden` (T) says which row of the last step's batch
    /// that position was.
    ///
    /// # Panics
    ///
    /// If no layer was loaded, or the batch exceeds the limits.
    pub fn guess(&mut self, pool: &Pool, batch: &Batch, hidden: &[u32]) -> Result<&[f32], Error> {
        let Decoder { spec, embedding, output_norm, head, frequencies, arena, next, .. } = self;
        let s = &mut **next.as_mut().expect("the layer was loaded");
        let (n_tokens, dim, eps) = (batch.n_tokens(), spec.dim, spec.norm_eps);
        assert_eq!(hidden.len(), n_tokens, "a hidden state for each token");
        let (x, y) = (&mut s.x[..n_tokens * dim], &mut s.y[..n_tokens * dim]);
        embed(pool, x, embedding, batch.tokens());
        rmsnorm::forward_heads(pool, x, dim, &s.embedding_norm, eps);
        for (y, &row) in y.chunks_exact_mut(dim).zip(hidden) {
            y.copy_from_slice(&arena.x[row as usize * dim..][..dim]);
        }
        rmsnorm::forward_heads(pool, y, dim, output_norm, eps);
        rmsnorm::forward_heads(pool, y, dim, &s.hidden_norm, eps);
        let joined = s.joined.resize(n_tokens, 2 * dim).chunks_exact_mut(2 * dim);
        for ((joined, x), y) in joined.zip(x.chunks_exact(dim)).zip(y.chunks_exact(dim)) {
            joined[..dim].copy_from_slice(x);
            joined[dim..].copy_from_slice(y);
        }
        s.joined.prepare_for(pool, &[&s.projection]);
        matmul(pool, x, &s.joined, &s.projection);

        let half = frequencies.len();
        let (cos, sin) = (&mut s.cos[..n_tokens * half], &mut s.sin[..n_tokens * half]);
        rope::angles(cos, sin, batch.positions(), frequencies, spec.rope().amplitude());
        let step = Step { pool, batch, angles: Angles { cos, sin, half } };
        rmsnorm::forward(pool, s.h.resize(n_tokens, dim), x, &s.layer.attention_norm, eps);
        s.layer.attention.forward(step, y, &mut s.h, &mut s.kv, &mut s.attention);
        residual::add(pool, x, y);
        rmsnorm::forward(pool, s.h.resize(n_tokens, dim), x, &s.layer.ffn_norm, eps);
        s.layer.ffn.forward(pool, y, &mut s.h, (&mut s.ffn, &mut s.routed), None)?;
        residual::add(pool, x, y);

        let n_logits = batch.n_logits();
        let last = s.last.resize(n_logits, dim);
        for (last, &row) in last.chunks_exact_mut(dim).zip(batch.wanted()) {
            last.copy_from_slice(&x[row as usize * dim..][..dim]);
        }
        rmsnorm::forward_heads(pool, last, dim, &s.output_norm, eps);
        s.last.prepare_for(pool, &[head]);
        let logits = &mut s.logits[..n_logits * spec.vocab];
        matmul(pool, logits, &s.last, head);
        Ok(logits)
    }
}
