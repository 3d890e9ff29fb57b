//! Training: the forward pass that serves, the gradients of its weights, and new weights for it.
//!
//! Start at [`Learner`]. Invariant: a gradient's bits depend on the sequences in their order alone,
//! not on threads, on how sequences were spread over passes, or on what was kept of a pass.

mod sequences;

use std::path::Path;

use formats::Weights;
use par::Pool;
use quant::QuantType;
use spec::{Dialect, ModelSpec};

use crate::decoder::{Decoder, Limits};
use crate::error::Error;
use crate::kv::KvType;

pub use sequences::Sequences;

/// How a model learns.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnOptions {
    /// Low-rank adapters on a frozen base, instead of all weights.
    pub adapters: Option<AdapterOptions>,
    /// Keep each layer's input only, and compute the layer again in the backward pass.
    pub checkpointing: bool,
    /// What the cache of the decoder that serves keeps: training reads the same rounded numbers.
    pub kv_type: KvType,
}

/// Low-rank adapters (LoRA, arXiv 2106.09685) beside every matrix of every layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdapterOptions {
    pub rank: usize,
    /// Outputs are multiplied by alpha / rank.
    pub alpha: f32,
    /// Of the first numbers of A; B begins with zeros.
    pub seed: u64,
}

/// A weight that is trained, and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// As Hugging Face calls it; an adapter's, as PEFT calls it.
    pub name: String,
    /// Outermost first.
    pub shape: Vec<usize>,
    pub value: Vec<f32>,
    pub gradient: Vec<f32>,
}

/// What a pass found, one entry for each target: sequences in their order, targets ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// ln p(target), under logits / temperature.
    pub logprobs: Vec<f32>,
    /// Of the distribution that the target was predicted by, in nats.
    pub entropies: Vec<f32>,
}

/// The weights of a model in training.
pub struct Learner {
    parameters: Vec<Parameter>,
}

impl Learner {
    /// Reads the weights of a model, or its frozen base.
    ///
    /// # Errors
    /// Weights that are missing or do not fill the spec.
    pub fn load(
        pool: &Pool,
        weights: &dyn Weights,
        what: (ModelSpec, Dialect),
        options: LearnOptions,
    ) -> Result<Learner, Error> {
        todo!()
    }

    /// A decoder that serves these weights, all in f32 (of adapters: over the base as it is).
    ///
    /// # Errors
    /// As [`Learner::load`].
    pub fn decoder(&self, pool: &Pool, limits: Limits) -> Result<Decoder, Error> {
        todo!()
    }

    /// Packs the weights into a decoder of the same model, in the place of its own.
    pub fn publish(&mut self, pool: &Pool, decoder: &mut Decoder) -> Result<(), Error> {
        todo!()
    }

    /// Log-probabilities and entropies of all targets, by the decoder's own weights; keeps what
    /// [`Learner::backward`] needs.
    ///
    /// # Errors
    /// [`Error::RouterNotFinite`].
    pub fn forward(
        &mut self,
        pool: &Pool,
        decoder: &Decoder,
        sequences: &Sequences,
    ) -> Result<Predictions, Error> {
        todo!()
    }

    /// Adds to the gradients what the last forward pass's predictions bring, given the derivatives
    /// of the loss by each of its log-probabilities and entropies.
    ///
    /// # Panics
    ///
    /// If no forward pass is open, or a length differs from its targets.
    pub fn backward(
        &mut self,
        pool: &Pool,
        decoder: &Decoder,
        d_logprobs: &[f32],
        d_entropies: &[f32],
    ) -> Result<(), Error> {
        todo!()
    }

    /// What is trained, in an order that the model alone sets.
    pub fn params_mut(&mut self) -> &mut [Parameter] {
        todo!()
    }

    pub fn zero_gradients(&mut self) {
        todo!()
    }

    /// Writes `model.safetensors`, or `adapter_model.safetensors` and `adapter_config.json`, into
    /// a folder. Matrices are stored as `ty` (F32, F16 or BF16).
    ///
    /// # Errors
    /// What the system says about the files.
    pub fn save(&self, folder: &Path, ty: QuantType) -> Result<(), Error> {
        todo!()
    }

    /// Bytes that passes over `tokens` tokens take beside weights and gradients, about.
    pub fn activation_bytes(spec: &ModelSpec, options: &LearnOptions, tokens: usize) -> u64 {
        todo!()
    }
}
