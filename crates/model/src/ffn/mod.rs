//! The feed-forward part of a layer, of either kind.

mod dense;
mod moe;

use ops::router::NotFinite;
use panels::{Activations, Form};
use par::Pool;
use spec::{FfnSpec, ModelSpec};

use crate::error::Error;
use crate::weights::Loader;

/// A layer's feed-forward part and its weights.
pub(crate) enum Ffn {
    Dense(Box<dense::Dense>),
    Moe(Box<moe::Moe>),
}

/// Buffers that all layers share.
pub(crate) struct Scratch {
    dense: dense::Scratch,
    moe: Option<moe::Scratch>,
}

impl Ffn {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize, spec: &FfnSpec) -> Result<Ffn, Error> {
        Ok(match spec {
            FfnSpec::Dense { hidden } => {
                Ffn::Dense(Box::new(dense::Dense::load(loader, layer, *hidden)?))
            }
            FfnSpec::Moe(spec) => Ffn::Moe(Box::new(moe::Moe::load(loader, layer, spec)?)),
        })
    }

    /// y (T, D) from the normed rows x (T, D).
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        y: &mut [f32],
        x: &mut Activations,
        scratch: &mut Scratch,
    ) -> Result<(), NotFinite> {
        match self {
            Ffn::Dense(dense) => dense.forward(pool, y, x, &mut scratch.dense),
            Ffn::Moe(moe) => {
                let own = scratch.moe.as_mut().expect("a sparse model has buffers for experts");
                moe.forward(pool, y, x, own, &mut scratch.dense)?;
            }
        }
        Ok(())
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        match self {
            Ffn::Dense(dense) => dense.forms(forms),
            Ffn::Moe(moe) => moe.forms(forms),
        }
    }

    /// Bytes of the weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Ffn::Dense(dense) => dense.bytes(),
            Ffn::Moe(moe) => moe.bytes(),
        }
    }
}

impl Scratch {
    /// Buffers for steps of up to `tokens` tokens.
    pub(crate) fn new(spec: &ModelSpec, tokens: usize, forms: &[Form]) -> Scratch {
        let hidden = spec.layers.iter().map(|layer| match &layer.ffn {
            FfnSpec::Dense { hidden } => *hidden,
            FfnSpec::Moe(moe) => moe.shared_hidden,
        });
        let hidden = hidden.max().unwrap_or(0);
        let moe = spec.layers.iter().find_map(|layer| match &layer.ffn {
            FfnSpec::Moe(moe) => Some(moe::Scratch::new(moe, spec.dim, tokens, forms)),
            FfnSpec::Dense { .. } => None,
        });
        Scratch { dense: dense::Scratch::new(hidden, tokens, forms), moe }
    }
}
