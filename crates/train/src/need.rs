//! What memory a run takes, before it is taken.

use std::fmt;

use engine::memory::{available, bytes};
use model::learn::{LearnOptions, Learner};
use model::{Decoder, Kv, Limits, PAGE};
use spec::ModelSpec;

use crate::config::Config;

/// What the program takes besides a model, with some room.
const PROGRAM_BYTES: u64 = 64 << 20;

/// Bytes that a run takes at its largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Weights in training, and those that serve.
    pub weights: u64,
    pub gradients: u64,
    pub moments: u64,
    /// The weights that the policy is compared with.
    pub reference: u64,
    /// Of the longest pass, kept for the backward one.
    pub activations: u64,
    pub cache: u64,
    pub buffers: u64,
}

/// How large the parts of a run are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub limits: Limits,
    /// Tokens of the longest sequence.
    pub context: usize,
    /// Sequences that are written together.
    pub together: usize,
    /// Tokens that go through together in training.
    pub pass_tokens: usize,
}

impl Need {
    pub fn of(spec: &ModelSpec, config: &Config, options: &LearnOptions, sizes: Sizes) -> Need {
        let n = spec.cost().parameters().total;
        let trained = match options.adapters {
            None => n,
            Some(adapters) => adapter_numbers(spec, adapters.rank as u64),
        };
        // While rounded ones are served.
        let aside = if config.rollout.rounded.is_some() { trained } else { 0 };
        let has_reference = config.loss.kl_weight > 0.0;
        Need {
            weights: 4 * (n + trained + aside),
            gradients: 4 * trained,
            moments: 8 * trained,
            reference: if has_reference { 4 * n } else { 0 },
            activations: Learner::activation_bytes(spec, options, sizes.pass_tokens),
            cache: Kv::page_bytes(spec, options.kv_type) as u64 * sizes.pages() as u64,
            buffers: Decoder::scratch_bytes(spec, sizes.limits) + PROGRAM_BYTES,
        }
    }

    pub fn total(&self) -> u64 {
        let Need { weights, gradients, moments, reference, activations, cache, buffers } = *self;
        [gradients, moments, reference, activations, cache, buffers]
            .into_iter()
            .fold(weights, u64::saturating_add)
    }

    /// Compares with what there is, or with what may be taken.
    ///
    /// # Errors
    ///
    /// [`Shortage`], with the numbers.
    pub fn check(&self, memory: Option<u64>) -> Result<(), Shortage> {
        let available = memory.into_iter().chain(available()).min().unwrap_or(u64::MAX);
        if self.total() <= available { Ok(()) } else { Err(Shortage { need: *self, available }) }
    }
}

impl Sizes {
    /// Pages that the sequences written together take at most.
    pub fn pages(&self) -> usize {
        self.context.div_ceil(PAGE) * self.together
    }
}

/// Numbers of the adapters beside every matrix of every layer.
fn adapter_numbers(spec: &ModelSpec, rank: u64) -> u64 {
    let of = |(name, shape): (String, Vec<usize>)| match shape[..] {
        [rows, columns] if name.contains(".layers.") => rank * (rows + columns) as u64,
        _ => 0,
    };
    convert::hugging_face_tensors(spec).into_iter().map(of).sum()
}

/// A run that doesn't fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("training needs {}, and {} is available", need, bytes(*available))]
pub struct Shortage {
    pub need: Need,
    pub available: u64,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("moments", self.moments),
            ("reference", self.reference),
            ("activations", self.activations),
            ("cache", self.cache),
            ("buffers", self.buffers),
        ];
        let shown = parts.iter().filter(|part| part.1 > 0);
        let shown: Vec<_> = shown.map(|(name, n)| format!("{name} {}", bytes(*n))).collect();
        write!(f, "{} ({})", bytes(self.total()), shown.join(", "))
    }
}
