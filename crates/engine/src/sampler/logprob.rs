//! Log-probabilities: under the model's own distribution, and under the one drawn from.
//!
//! ```text
//! log p(token) = logit - ln Σ e^logit
//! ```
//!
//! By `simd::math::log_sum_exp` over logits by ascending id, as the trainer's loss has it: without
//! filters, what is drawn and what is trained on have the same bits.

use simd::math::log_sum_exp;

use super::filter::{Kept, not_finite};
use super::rank::{rank, token};
use super::{Drawn, Error, Scratch};

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    pub token: u32,
    pub logprob: f32,
}

/// The log-probability of a token under logits (V) as the model gave them, whatever the params.
/// top becomes the n_top most probable tokens.
pub fn raw_logprobs(
    scratch: &mut Scratch,
    logits: &[f32],
    token: u32,
    n_top: usize,
    top: &mut Vec<TokenLogprob>,
) -> Result<f32, Error> {
    assert_eq!(logits.len(), scratch.scaled.len(), "one logit for each token of the scratch");
    // Without an early exit, so that it compiles to vector code.
    if !logits.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Err(not_finite(logits, logits));
    }
    let lse = log_sum_exp(scratch.best, logits);
    let n_top = n_top.min(logits.len());
    rank(&mut scratch.raw_keys, logits, n_top);
    list(top, &scratch.raw_keys, logits, lse);
    Ok(logits[token as usize] - lse)
}

impl Drawn<'_> {
    /// The log-probability of the token under the distribution that it was drawn from: after
    /// penalties, mask, temperature and filters. top becomes its n_top most probable tokens, fewer
    /// if fewer were kept. At temperature 0 there is one token, with log-probability 0.
    pub fn logprobs(&mut self, n_top: usize, top: &mut Vec<TokenLogprob>) -> f32 {
        let Scratch { best, scaled, keys, kept, .. } = &mut *self.scratch;
        match self.kept {
            Kept::One => {
                top.clear();
                top.extend((n_top > 0).then_some(TokenLogprob { token: self.token, logprob: 0.0 }));
                0.0
            }
            Kept::Head(n) => {
                let logits = keys[..n].iter().map(|&key| scaled[token(key) as usize]);
                kept.clear();
                kept.extend(logits);
                let lse = log_sum_exp(*best, kept);
                list(top, &keys[..n_top.min(n)], scaled, lse);
                scaled[self.token as usize] - lse
            }
            Kept::All => {
                let lse = log_sum_exp(*best, scaled);
                if keys.len() < n_top.min(scaled.len()) {
                    rank(keys, scaled, n_top.min(scaled.len()));
                }
                list(top, &keys[..n_top.min(keys.len())], scaled, lse);
                scaled[self.token as usize] - lse
            }
        }
    }
}

/// top becomes the tokens of keys, with logits from xs (V).
fn list(top: &mut Vec<TokenLogprob>, keys: &[u64], xs: &[f32], lse: f32) {
    top.clear();
    top.extend(keys.iter().map(|&key| {
        let token = token(key);
        TokenLogprob { token, logprob: xs[token as usize] - lse }
    }));
}
