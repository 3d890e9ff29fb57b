//! From logits to one token, and to its log-probability.
//!
//! The order is that of transformers' logits processors and warpers:
//!
//! 1. repetition penalty, over the prompt and what was generated;
//! 2. presence and frequency penalties, over what was generated;
//! 3. the mask of the caller: tokens that may not come here;
//! 4. temperature; at 0 the largest logit is the answer and nothing below happens;
//! 5. top-k: the k largest logits;
//! 6. top-p: of those, the fewest whose probabilities reach p;
//! 7. min-p: of those, the ones at least min-p times as probable as the first;
//! 8. a draw by the number that belongs to (seed, position).
//!
//! Tokens are ranked by logit, largest first, ties by the lower id: each of 5 to 7 keeps a head of
//! that ranking, and never less than one token. (Transformers keeps all tokens that tie with the
//! k-th; here the lower ids win.) The draw walks down the same ranking, so a token is a function of
//! logits, params, history, mask and position, and of nothing else.
//!
//! Thinking budgets, grammars and forced tokens are the caller's: it masks, or it doesn't ask.

mod draw;
mod filter;
mod logprob;
mod params;
mod rank;
#[cfg(test)]
mod tests;

pub use draw::{Drawn, draw, philox, uniform};
pub use filter::Mask;
pub use logprob::{TokenLogprob, raw_logprobs};
pub use params::{Card, Params, PartialParams};

use simd::Best;

/// Why there are no params, or no token.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{field} is {found}; it must be {range}")]
    OutOfRange { field: &'static str, found: f32, range: &'static str },
    #[error("{key} is {found}; expected {expected}")]
    Unexpected { key: &'static str, found: String, expected: &'static str },
    #[error("the logit of token {token} is {logit}")]
    NotFinite { token: u32, logit: f32 },
    #[error("the logit {logit} of token {token} overflows under these sampling params")]
    Overflow { token: u32, logit: f32 },
    #[error("no token is allowed here")]
    NothingAllowed,
}

/// What changes from one draw of a request to the next.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub prompt: &'a [u32],
    pub generated: &'a [u32],
    /// Where in the sequence the token will stand.
    pub position: u64,
    pub mask: Mask<'a>,
}

/// The buffers of a draw, for one vocabulary and one thread. Holds nothing of a request between
/// draws.
pub struct Scratch {
    best: Best,
    /// Logits after penalties, temperature and mask; -∞ where masked. (V)
    scaled: Vec<f32>,
    /// How often a token was seen; 0 outside of the penalties. (V)
    counts: Vec<u32>,
    /// The head of the ranking of `scaled`, as far as it was asked for. (at most V)
    keys: Vec<u64>,
    /// Logits of the kept tokens. (at most V)
    kept: Vec<f32>,
    /// The head of the ranking of raw logits. (at most V)
    raw_keys: Vec<u64>,
}

impl Scratch {
    /// Buffers for logits of `vocab` tokens: 28 bytes each, and nothing is allocated after this.
    pub fn new(best: Best, vocab: usize) -> Scratch {
        Scratch {
            best,
            scaled: vec![0.0; vocab],
            counts: vec![0; vocab],
            keys: Vec::with_capacity(vocab),
            kept: Vec::with_capacity(vocab),
            raw_keys: Vec::with_capacity(vocab),
        }
    }
    /// Tokens of its vocabulary.
    pub(crate) fn vocab(&self) -> usize {
        self.counts.len()
    }
}
