//! A layer's weights in training.

use panels::Start;
use par::Pool;
use spec::{AttentionSpec, FfnSpec, LayerSpec, Slot};

use super::book::{Book, Matrix, Reader, Vector};
use super::dense::Dense;
use super::gqa::Gqa;
use super::mla::Mla;
use super::moe::Moe;
use crate::attention::{self, Angles};
use crate::error::Error;
use crate::ffn;
use crate::kv::KvType;

pub(super) struct Layer {
    pub attention_norm: Vector,
    pub attention: Attention,
    pub ffn_norm: Vector,
    pub ffn: Ffn,
}

pub(super) enum Attention {
    Gqa(Box<Gqa>),
    Mla(Box<Mla>),
}

pub(super) enum Ffn {
    Dense(Box<Dense>),
    Moe(Box<Moe>),
}

/// What all layers are told of a pass.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    pub pool: &'a Pool,
    pub angles: Angles<'a>,
    /// The row after the last of each sequence.
    pub ends: &'a [usize],
    pub kv_type: KvType,
}

impl Layer {
    pub(super) fn load(
        reader: &mut Reader<'_>,
        i: usize,
        spec: &LayerSpec,
    ) -> Result<Layer, Error> {
        let dim = reader.loader.spec.dim;
        let attention_norm = reader.vector(Slot::AttentionNorm, i, dim)?;
        let attention = match &spec.attention {
            AttentionSpec::Gqa(gqa) => Attention::Gqa(Box::new(Gqa::load(reader, i, gqa)?)),
            AttentionSpec::Mla(mla) => Attention::Mla(Box::new(Mla::load(reader, i, mla)?)),
        };
        let ffn_norm = reader.vector(Slot::FfnNorm, i, dim)?;
        let ffn = match &spec.ffn {
            FfnSpec::Dense { hidden } => {
                let slots = [Slot::Gate, Slot::Up, Slot::Down];
                Ffn::Dense(Box::new(Dense::load(reader, i, *hidden, slots)?))
            }
            FfnSpec::Moe(moe) => Ffn::Moe(Box::new(Moe::load(reader, i, moe)?)),
        };
        Ok(Layer { attention_norm, attention, ffn_norm, ffn })
    }
}

impl Attention {
    /// dx (T, D) = the gradient of the normed rows x (T, D), from dy (T, D).
    pub(super) fn backward(
        &self,
        past: Past<'_>,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (&[f32], &[f32]),
        scratch: &attention::Scratch,
    ) {
        match (self, scratch) {
            (Attention::Gqa(gqa), attention::Scratch::Gqa(scratch)) => {
                gqa.backward(past, book, dx, (dy, x), scratch);
            }
            (Attention::Mla(mla), attention::Scratch::Mla(scratch)) => {
                mla.backward(past, book, dx, (dy, x), scratch);
            }
            _ => unreachable!("a layer's buffers are of its own kind"),
        }
    }
}

impl Ffn {
    /// The same of the feed-forward part.
    pub(super) fn backward(
        &self,
        pool: &Pool,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (&[f32], &[f32]),
        scratch: &ffn::Scratch,
    ) {
        match self {
            Ffn::Dense(dense) => {
                dense.backward(pool, book, (dx, Start::Zero), (dy, x), &scratch.dense);
            }
            Ffn::Moe(moe) => moe.backward(pool, book, dx, (dy, x), scratch),
        }
    }
}

/// The matrices of a linear part each, as [`Matrix::backward`] takes them in turn.
pub(super) fn start_of(i: usize) -> Start {
    if i == 0 { Start::Zero } else { Start::Kept }
}

/// Gradients of several products with the same x: dx = Σ dy · w.
pub(super) fn backward_all(
    pool: &Pool,
    book: &mut Book,
    dx: &mut [f32],
    x: &[f32],
    products: &[(&Matrix, &[f32])],
) {
    for (i, (w, dy)) in products.iter().enumerate() {
        w.backward(pool, book, (dx, start_of(i)), dy, x);
    }
}
