//! Training: the forward pass that serves, the gradients of its weights, and new weights for it.
//!
//! Start at [`Learner`]. Invariant: a gradient's bits depend on the sequences in their order alone,
//! not on threads, on how sequences were spread over passes, or on what was kept of a pass.

mod book;
mod dense;
mod gqa;
mod head;
mod layer;
mod learner;
mod mla;
mod moe;
mod pass;
mod publish;
mod save;
mod sequences;

use crate::kv::KvType;

pub use learner::Learner;
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
    /// What the routers chose for the token before the target: [`Decoder::last_routes`]'s marks.
    ///
    /// [`Decoder::last_routes`]: crate::Decoder::last_routes
    pub routes: Vec<u64>,
}
