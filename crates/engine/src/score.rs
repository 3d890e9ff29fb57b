//! The log-probability of each token of a given text.

use model::{Batch, PAGE};
use simd::Best;

use crate::Error;
use crate::plan::Model;

/// What a model thinks of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Natural log-probability of each token but the first, given those before it. (T − 1)
    pub logprobs: Vec<f32>,
}

impl Scored {
    /// Mean negative log-probability; 0 for a text of one token.
    pub fn nll(&self) -> f64 {
        let sum: f64 = self.logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
        -sum / self.logprobs.len().max(1) as f64
    }

    pub fn perplexity(&self) -> f64 {
        self.nll().exp()
    }
}

/// Scores tokens `ids` (T). Each row of logits (V) is shown to `rows` with its position, in order;
/// an error of its own stops the work.
///
/// # Errors
/// [`Error::TooLong`], [`Error::NoSuchToken`], [`Error::NotFinite`], [`Error::Forward`]; what
/// `rows` says.
pub fn score<E: From<Error>>(
    model: &mut Model,
    ids: &[u32],
    mut rows: impl FnMut(usize, &[f32]) -> Result<(), E>,
) -> Result<Scored, E> {
    let vocab = model.decoder.spec().vocab;
    if ids.len() > model.context {
        return Err(Error::TooLong { n: ids.len(), max: model.context }.into());
    }
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab) {
        return Err(Error::NoSuchToken { id, vocab }.into());
    }
    let n_pages = ids.len().div_ceil(PAGE) as u32;
    let limits = model.decoder.limits();
    let step = limits.tokens_per_step.min(limits.logits_per_step);
    let mut batch = Batch::new(model.decoder.spec());
    let mut logprobs = Vec::with_capacity(ids.len().saturating_sub(1));
    for from in (0..ids.len()).step_by(step) {
        let to = (from + step).min(ids.len());
        batch.clear();
        batch.push(&ids[from..to], from, 0..n_pages, to - from);
        let logits = model.decoder.forward(&model.pool, &batch, &mut model.kv);
        let logits = logits.map_err(Error::Forward)?;
        for (position, row) in (from..to).zip(logits.chunks_exact(vocab)) {
            rows(position, row)?;
            if let Some(&next) = ids.get(position + 1) {
                if row.iter().any(|logit| !logit.is_finite()) {
                    return Err(Error::NotFinite.into());
                }
                let total = simd::math::log_sum_exp(Best::detect(), row);
                logprobs.push(row[next as usize] - total);
            }
        }
    }
    Ok(Scored { logprobs })
}
