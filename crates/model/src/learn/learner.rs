//! The learner: forward, backward, publish.

use formats::Weights;
use ops::rmsnorm;
use par::{Pool, Strip};
use quant::QuantType;
use spec::{AttentionSpec, Dialect, FfnSpec, ModelSpec, Slot};

use super::book::{Base, Book, Matrix, Reader};
use super::head::Head;
use super::layer::{Ffn, Layer, Past};
use super::pass::{Kept, Pass};
use super::publish::Press;
use super::save::Named;
use super::{LearnOptions, Parameter, Predictions, Sequences};
use crate::decoder::Decoder;
use crate::error::Error;
use crate::linear::Room;
use crate::weights::Loader;

/// The weights of a model in training.
pub struct Learner {
    spec: ModelSpec,
    options: LearnOptions,
    book: Book,
    /// (V, D)
    embedding: Matrix,
    layers: Vec<Layer>,
    head: Head,
    pass: Option<Pass>,
    /// Whether a forward pass waits for its backward one.
    is_open: bool,
}

/// Columns of the embedding's gradient a task.
const COLUMNS_PER_TASK: usize = 64;

impl Learner {
    /// Reads the weights of a model, or its frozen base.
    ///
    /// # Errors
    /// Weights that are missing or do not fill the spec.
    pub fn load(
        pool: &Pool,
        weights: &dyn Weights,
        (spec, dialect): (ModelSpec, Dialect),
        options: LearnOptions,
    ) -> Result<Learner, Error> {
        let progress = &|_| ();
        let is_storing_experts = false;
        let loader = Loader { spec: &spec, dialect, weights, pool, progress, is_storing_experts };
        let adapters = options.adapters;
        let mut reader = Reader { loader: &loader, book: Book::default(), adapters };
        let shape = (spec.vocab, spec.dim);
        let embedding = reader.frozen_by_adapters(Slot::Embedding, 0, shape)?;
        let layers = spec.layers.iter().enumerate();
        let layers = layers.map(|(i, layer)| Layer::load(&mut reader, i, layer));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let norm = reader.vector(Slot::OutputNorm, 0, spec.dim)?;
        let (matrix, apart) = match (spec.tied_head, &embedding.base) {
            (false, _) => (reader.frozen_by_adapters(Slot::Head, 0, shape)?, None),
            (true, Base::Learned(id)) => {
                let base = Base::Learned(*id);
                let matrix = Matrix { rows: shape.0, cols: shape.1, base, adapter: None };
                (matrix, Some(vec![0.0; shape.0 * shape.1]))
            }
            (true, Base::Frozen(_)) => {
                (reader.frozen_by_adapters(Slot::Embedding, 0, shape)?, None)
            }
        };
        let (book, head) = (reader.book, Head::new(norm, matrix, apart));
        Ok(Learner { spec, options, book, embedding, layers, head, pass: None, is_open: false })
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    pub(super) fn is_adapting(&self) -> bool {
        self.options.adapters.is_some()
    }

    /// Packs the weights into a decoder of the same model, in the place of its own: whole weights
    /// in f32, whatever type it was loaded in; or adapters beside its own.
    ///
    /// # Panics
    ///
    /// If the decoder is of another model.
    pub fn publish(&self, pool: &Pool, decoder: &mut Decoder) {
        assert_eq!(decoder.spec(), &self.spec, "a decoder of the same model");
        let room = Room::new();
        let press = Press { pool, book: &self.book, room: &room };
        press.tensor(&mut decoder.embedding, &self.embedding);
        press.vector(&mut decoder.output_norm, &self.head.norm);
        press.panels(&mut decoder.head, &self.head.matrix);
        for (to, from) in decoder.layers.iter_mut().zip(&self.layers) {
            press.layer(to, from);
        }
    }

    /// Log-probabilities and entropies of all targets, by the decoder's own weights; keeps what
    /// [`Learner::backward`] needs.
    ///
    /// # Errors
    /// [`Error::RouterNotFinite`].
    ///
    /// # Panics
    ///
    /// If a token is not in the vocabulary.
    pub fn forward(
        &mut self,
        pool: &Pool,
        decoder: &Decoder,
        sequences: &Sequences,
    ) -> Result<Predictions, Error> {
        let (n_tokens, n_pages) = Pass::sizes(sequences);
        let mut pass = match self.pass.take() {
            Some(pass) if pass.fits(n_tokens, n_pages) => pass,
            _ => {
                let LearnOptions { checkpointing: is_checkpointing, kv_type, .. } = self.options;
                Pass::new(decoder, n_tokens, n_pages, &Kept { is_checkpointing, kv_type })
            }
        };
        pass.begin(sequences);
        let mut found = Predictions::default();
        if !pass.targets.is_empty() {
            pass.forward(pool, decoder)?;
            found = self.head.forward(pool, decoder, &pass);
        }
        self.pass = Some(pass);
        self.is_open = true;
        Ok(found)
    }

    /// Adds to the gradients what the last forward pass's predictions bring, given the derivatives
    /// of the loss by each of its log-probabilities and entropies. The decoder is that of the
    /// forward pass, with the same weights.
    ///
    /// # Errors
    /// As [`Learner::forward`], where layers are computed again.
    ///
    /// # Panics
    ///
    /// If there was no forward pass since the last call, or a length differs from its targets.
    pub fn backward(
        &mut self,
        pool: &Pool,
        decoder: &Decoder,
        d_logprobs: &[f32],
        d_entropies: &[f32],
    ) -> Result<(), Error> {
        assert!(std::mem::take(&mut self.is_open), "a forward pass comes first");
        let mut pass = self.pass.take().expect("kept by the forward pass");
        let n = pass.targets.len();
        assert_eq!((d_logprobs.len(), d_entropies.len()), (n, n), "slopes of each target");
        if n == 0 {
            self.pass = Some(pass);
            return Ok(());
        }
        let (dim, eps) = (self.spec.dim, self.spec.norm_eps);
        let book = &mut self.book;
        let n_numbers = pass.tokens.len() * dim;
        let [mut dx, mut dh, mut h] = [(); 3].map(|()| book.take(n_numbers));
        let slopes = (d_logprobs, d_entropies);
        self.head.backward((pool, decoder), book, &mut dx, slopes, &pass);
        for (i, layer) in self.layers.iter().enumerate().rev() {
            pass.recall(pool, decoder, i)?;
            let (input, middle, scratch) = pass.kept(i);
            let (input, middle) = (&input[..dx.len()], &middle[..dx.len()]);
            rmsnorm::forward(pool, &mut h, middle, layer.ffn_norm.value(book), eps);
            layer.ffn.backward(pool, book, &mut dh, (&dx, &h), &scratch.ffn);
            let (w, dw) = layer.ffn_norm.learn(book);
            rmsnorm::backward(pool, (&mut dx, dw), &dh, middle, w, eps);

            let angles = pass.angles(decoder.frequencies.len());
            let past = Past { pool, angles, ends: &pass.ends, kv_type: pass.kv_type() };
            rmsnorm::forward(pool, &mut h, input, layer.attention_norm.value(book), eps);
            layer.attention.backward(past, book, &mut dh, (&dx, &h), &scratch.attention);
            let (w, dw) = layer.attention_norm.learn(book);
            rmsnorm::backward(pool, (&mut dx, dw), &dh, input, w, eps);
        }
        if let Base::Learned(id) = self.embedding.base {
            let gradient = &mut book.get_mut(id).gradient;
            embed_back(pool, gradient, &dx, &pass.tokens, dim);
        }
        book.give([dx, dh, h]);
        self.pass = Some(pass);
        Ok(())
    }

    /// What is trained, in an order that the model alone sets.
    pub fn params_mut(&mut self) -> &mut [Parameter] {
        // The head's part of a shared matrix joins the embedding's once all tokens are in.
        if let (Some(apart), Base::Learned(id)) = (&mut self.head.apart, &self.embedding.base) {
            let gradient = &mut self.book.get_mut(*id).gradient;
            gradient.iter_mut().zip(&*apart).for_each(|(d, apart)| *d += apart);
            apart.fill(0.0);
        }
        &mut self.book.parameters
    }

    pub fn zero_gradients(&mut self) {
        self.book.parameters.iter_mut().for_each(|p| p.gradient.fill(0.0));
        self.head.apart.iter_mut().for_each(|apart| apart.fill(0.0));
    }

    /// How often tokens of the last forward pass chose each expert of a layer; empty for a dense
    /// layer. (E)
    pub fn expert_counts(&self, layer: usize) -> &[u64] {
        self.pass.as_ref().map_or(&[], |pass| pass.expert_counts(layer))
    }

    /// All that is written of these weights.
    pub(super) fn tensors(&self, ty: QuantType) -> Vec<Named<'_>> {
        let learned =
            self.book.parameters.iter().map(|Parameter { name, shape, value, .. }| {
                let ty = if shape.len() < 2 { QuantType::F32 } else { ty };
                Named { name, shape, value, ty }
            });
        let mut tensors: Vec<Named<'_>> = learned.collect();
        if !self.is_adapting() {
            for layer in &self.layers {
                let Ffn::Moe(moe) = &layer.ffn else { continue };
                if let Some((name, value)) = &moe.selection_bias {
                    let (shape, ty) = (&moe.bias_shape[..], QuantType::F32);
                    tensors.push(Named { name, shape, value, ty });
                }
            }
        }
        tensors
    }

    /// Bytes that passes over `tokens` tokens take beside weights and gradients, about.
    pub fn activation_bytes(spec: &ModelSpec, options: &LearnOptions, tokens: usize) -> u64 {
        let width = |layer: &spec::LayerSpec| {
            let attention = match &layer.attention {
                AttentionSpec::Gqa(gqa) => {
                    let raw = if gqa.qk_norm { gqa.n_heads + gqa.n_kv_heads } else { 0 };
                    (2 * gqa.n_heads + 2 * gqa.n_kv_heads + raw) * gqa.head_dim
                }
                AttentionSpec::Mla(mla) => {
                    let per_head = 3 * mla.latent_rank + 2 * mla.nope_dim + 2 * mla.rope_dim;
                    mla.n_heads * (per_head + 2 * mla.value_dim)
                }
            };
            let ffn = match &layer.ffn {
                FfnSpec::Dense { hidden } => 3 * hidden,
                FfnSpec::Moe(moe) => {
                    3 * moe.shared_hidden + moe.n_chosen * (3 * moe.hidden + spec.dim)
                }
            };
            (attention + ffn + spec.dim) as u64
        };
        let widths = spec.layers.iter().map(width);
        let widest = spec.layers.iter().map(width).max().unwrap_or(0);
        let kept = if options.checkpointing { widest } else { widths.sum() };
        // Inputs of layers; gradients of the widest layer as it is gone back through.
        let inputs = (spec.layers.len() * spec.dim) as u64;
        let logits = (tokens * spec.vocab).min(super::head::LOGITS_MAX) as u64;
        4 * (tokens as u64 * (kept + inputs + 2 * widest + 6 * spec.dim as u64) + logits)
    }
}

/// gradient (V, D) += dx (T, D) at the rows of the tokens, one after another.
fn embed_back(pool: &Pool, gradient: &mut [f32], dx: &[f32], tokens: &[u32], dim: usize) {
    pool.for_strips(gradient, dim, COLUMNS_PER_TASK, |_, mut gradient: Strip<'_>| {
        let from = gradient.from();
        for (dx, &token) in dx.chunks_exact(dim).zip(tokens) {
            let row = gradient.row_mut(token as usize);
            row.iter_mut().zip(&dx[from..]).for_each(|(row, dx)| *row += dx);
        }
    });
}
