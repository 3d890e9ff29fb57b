//! The feed-forward part of a layer, of either kind.

pub(crate) mod dense;
pub(crate) mod moe;

use panels::{Activations, Form, Panels};
use par::Pool;
use quant::QuantType;
use spec::{FfnSpec, ModelSpec};

use crate::error::Error;
use crate::experts::Routed;
use crate::weights::Loader;

/// A layer's feed-forward part and its weights.
pub(crate) enum Ffn {
    Dense(Box<dense::Dense>),
    Moe(Box<moe::Moe>),
}

/// Buffers that all layers share.
pub(crate) struct Scratch {
    pub dense: dense::Scratch,
    pub moe: Option<moe::Scratch>,
}

/// A matrix product of a step.
#[derive(Clone, Copy)]
pub(crate) enum Product<'a> {
    /// Of every token with this.
    All(&'a Panels),
    /// Of every token with the experts that it chose: so many operations a token. What they read
    /// is counted while running.
    Chosen { ty: QuantType, ops: u64 },
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

    /// y (T, D) from the normed rows x (T, D). `next` is the next layer's part. What the backward
    /// pass needs stays in `scratch`.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        y: &mut [f32],
        x: &mut Activations,
        (scratch, routed): (&mut Scratch, &mut Routed),
        next: Option<&Ffn>,
    ) -> Result<(), Error> {
        match self {
            Ffn::Dense(dense) => dense.forward(pool, y, x, &mut scratch.dense),
            Ffn::Moe(moe) => {
                let own = scratch.moe.as_mut().expect("a sparse model has buffers for experts");
                let next = next.and_then(|next| match next {
                    Ffn::Moe(moe) => Some(&**moe),
                    Ffn::Dense(_) => None,
                });
                let scratch = (own, &mut scratch.dense, routed);
                moe.forward(pool, y, x, scratch, next)?;
            }
        }
        Ok(())
    }

    pub(crate) fn products(&self, tell: &mut dyn FnMut(Product<'_>)) {
        match self {
            Ffn::Dense(dense) => dense.products(tell),
            Ffn::Moe(moe) => moe.products(tell),
        }
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        match self {
            Ffn::Dense(dense) => dense.forms(forms),
            Ffn::Moe(moe) => moe.forms(forms),
        }
    }

    /// Bytes of the weights in memory, stored experts apart.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Ffn::Dense(dense) => dense.bytes(),
            Ffn::Moe(moe) => moe.bytes(),
        }
    }
}

impl Scratch {
    /// Stirs the experts that each token chose in this layer into its mark. (T)
    pub(crate) fn mark(&self, marks: &mut [u64], ffn: &Ffn) {
        if let (Ffn::Moe(moe), Some(scratch)) = (ffn, &self.moe) {
            scratch.mark(marks, moe.spec.n_chosen);
        }
    }

    /// Bytes of the experts that were read since the last call.
    pub(crate) fn take_bytes_read(&mut self) -> u64 {
        self.moe.as_mut().map_or(0, |moe| std::mem::take(&mut moe.bytes_read))
    }

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
