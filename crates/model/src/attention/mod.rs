//! The attention part of a layer, of either kind.

pub(crate) mod gqa;
pub(crate) mod mla;

use panels::{Activations, Form, Panels};
use par::Pool;
use spec::{AttentionSpec, ModelSpec};

use crate::batch::Batch;
use crate::error::Error;
use crate::kv::LayerKv;
use crate::weights::Loader;

/// A layer's attention and its weights.
pub(crate) enum Attention {
    Gqa(Box<gqa::Gqa>),
    Mla(Box<mla::Mla>),
}

/// Buffers that all layers share.
pub(crate) enum Scratch {
    Gqa(Box<gqa::Scratch>),
    Mla(Box<mla::Scratch>),
}

/// What all layers are told of a step.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    pub pool: &'a Pool,
    pub batch: &'a Batch,
    pub angles: Angles<'a>,
}

/// Angles of a step's tokens.
#[derive(Clone, Copy)]
pub(crate) struct Angles<'a> {
    /// (T, half)
    pub cos: &'a [f32],
    /// (T, half)
    pub sin: &'a [f32],
    /// Pairs that are rotated in a head.
    pub half: usize,
}

impl Attention {
    pub(crate) fn load(
        loader: &Loader<'_>,
        layer: usize,
        spec: &AttentionSpec,
    ) -> Result<Attention, Error> {
        Ok(match spec {
            AttentionSpec::Gqa(spec) => {
                Attention::Gqa(Box::new(gqa::Gqa::load(loader, layer, spec)?))
            }
            AttentionSpec::Mla(spec) => {
                Attention::Mla(Box::new(mla::Mla::load(loader, layer, spec)?))
            }
        })
    }

    /// Reads what long prompts need where there is a cheaper form for them.
    pub(crate) fn load_plain(&mut self, loader: &Loader<'_>, layer: usize) -> Result<(), Error> {
        match self {
            Attention::Gqa(_) => Ok(()),
            Attention::Mla(mla) => mla.load_plain(loader, layer),
        }
    }

    /// y (T, D) from the normed rows x (T, D), which are also kept in the cache.
    pub(crate) fn forward(
        &self,
        step: Step<'_>,
        y: &mut [f32],
        x: &mut Activations,
        kv: &mut LayerKv,
        scratch: &mut Scratch,
    ) {
        match (self, scratch) {
            (Attention::Gqa(gqa), Scratch::Gqa(scratch)) => {
                gqa.forward(step, y, x, kv, scratch);
            }
            (Attention::Mla(mla), Scratch::Mla(scratch)) => {
                mla.forward(step, y, x, kv, scratch);
            }
            _ => unreachable!("all layers of a model attend in the same way"),
        }
    }

    /// Tells each matrix that every token is multiplied with.
    pub(crate) fn products(&self, tell: &mut dyn FnMut(&Panels)) {
        match self {
            Attention::Gqa(gqa) => gqa.matrices().into_iter().for_each(tell),
            Attention::Mla(mla) => mla.products().for_each(tell),
        }
    }

    /// The forms in which the weights read activations.
    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        match self {
            Attention::Gqa(gqa) => gqa.forms(forms),
            Attention::Mla(mla) => mla.forms(forms),
        }
    }

    /// Bytes of the weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Attention::Gqa(gqa) => gqa.bytes(),
            Attention::Mla(mla) => mla.bytes(),
        }
    }
}

impl Scratch {
    /// Buffers for steps of up to `tokens` tokens.
    pub(crate) fn new(spec: &ModelSpec, tokens: usize, forms: &[Form]) -> Scratch {
        match &spec.layers[0].attention {
            AttentionSpec::Gqa(gqa) => {
                Scratch::Gqa(Box::new(gqa::Scratch::new(gqa, tokens, forms)))
            }
            AttentionSpec::Mla(mla) => {
                Scratch::Mla(Box::new(mla::Scratch::new(mla, tokens, forms)))
            }
        }
    }
}
