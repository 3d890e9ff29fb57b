//! Every model in plain loops: the oracle.
//!
//! [`logits`] computes what a [`ModelSpec`] says, one sequence at once, one layer after the other,
//! with nothing kept between calls. Values between operations are f32; inside an operation every
//! sum and every function is computed in f64 and rounded once, so that what remains of the error
//! is that of the f32 values themselves. Not here: speed, caches, batches, threads. Start at
//! [`logits`], then `attention` and `ffn`; [`Source`] says where weights come
//! from, [`FileSource`] brings them from model files.
//! Invariant: this crate is never optimised and never removed.

#![forbid(unsafe_code)]

mod attention;
mod ffn;
mod files;
mod linear;
mod rope;
mod source;

pub use files::FileSource;
pub use source::{Error, Source, Tensor};

use linear::{linear, rmsnorm};
use source::Reader;
use spec::{AttentionSpec, FfnSpec, LayerSpec, ModelSpec, Slot};

/// The logits (T, V) after each of `tokens` (T), which begin at position 0.
///
/// # Errors
///
/// If the source fails, lacks a weight, or has one of another shape than the spec says.
///
/// # Panics
///
/// If a token is outside the vocabulary.
pub fn logits(spec: &ModelSpec, source: &dyn Source, tokens: &[u32]) -> Result<Vec<f32>, Error> {
    let (vocab, dim) = (spec.vocab, spec.dim);
    let model = Reader { source, dim, layer: 0 };
    let embedding = model.read(Slot::Embedding, &[vocab, dim])?;
    // The residual stream. (T, D)
    let mut x = Vec::with_capacity(tokens.len() * dim);
    for &token in tokens {
        assert!((token as usize) < vocab, "token {token} of a vocabulary of {vocab}");
        x.extend_from_slice(&embedding[token as usize * dim..][..dim]);
    }
    for (i, layer) in spec.layers.iter().enumerate() {
        forward_layer(&mut x, layer, spec.norm_eps, &Reader { source, dim, layer: i })?;
    }
    let h = rmsnorm(&x, &model.read(Slot::OutputNorm, &[dim])?, spec.norm_eps);
    Ok(match spec.tied_head {
        true => linear(&embedding, &h, dim),
        false => linear(&model.read(Slot::Head, &[vocab, dim])?, &h, dim),
    })
}

/// Adds attention and then the feed-forward part of a layer to x (T, D).
fn forward_layer(
    x: &mut [f32],
    layer: &LayerSpec,
    eps: f32,
    weights: &Reader<'_>,
) -> Result<(), Error> {
    let dim = weights.dim;
    let h = rmsnorm(x, &weights.read(Slot::AttentionNorm, &[dim])?, eps);
    let y = match &layer.attention {
        AttentionSpec::Gqa(gqa) => attention::gqa(&h, gqa, eps, weights)?,
        AttentionSpec::Mla(mla) => attention::mla(&h, mla, eps, weights)?,
    };
    add(x, &y);

    let h = rmsnorm(x, &weights.read(Slot::FfnNorm, &[dim])?, eps);
    let y = match &layer.ffn {
        FfnSpec::Dense { hidden } => ffn::dense(&h, *hidden, weights)?,
        FfnSpec::Moe(moe) => ffn::moe(&h, moe, weights)?,
    };
    add(x, &y);
    Ok(())
}

/// x += y, both (T, D).
fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
