//! Where an answer stands in its grammar.
//!
//! ```text
//! undecided ── <think> ──▶ thinking ── end ──▶ perhaps a line end ──▶ armed ──▶ complete
//!     └────────────── a token that the grammar takes ──────────────────▲
//! ```

use std::sync::Arc;

use llguidance::Matcher;
use text::{ThinkState, Tokenizer};

use super::one_line;

const OPEN: &[u8] = b"<think>";

/// What a token does to the course through a grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// More may or must follow.
    GoesOn,
    /// Nothing can follow.
    Complete,
}

/// The course of one answer through a grammar. Only tokens that are certain move it on, so a
/// rejected guess leaves nothing to undo.
pub(crate) struct GrammarState {
    matcher: Matcher,
    line_ends: Arc<[u32]>,
    /// The answer has begun: the grammar decides.
    armed: bool,
    /// Thinking has just ended, without the blank line that a model is used to write there.
    gap: bool,
    /// The tokens that may come, a bit each. Kept to reuse its memory.
    allowed: Vec<u64>,
}

impl GrammarState {
    pub(super) fn new(matcher: Matcher, line_ends: Arc<[u32]>) -> Self {
        Self { matcher, line_ends, armed: false, gap: false, allowed: Vec::new() }
    }

    /// Whether the grammar alone decides what comes, stop tokens included.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
    }

    /// The tokens of a vocabulary of V that may come next, as a mask of bits; none while the
    /// answer thinks.
    pub(crate) fn allowed(
        &mut self,
        tokenizer: &Tokenizer,
        think: Option<&ThinkState>,
        vocab: usize,
    ) -> Result<Option<&[u64]>, String> {
        if think.is_some_and(ThinkState::is_inside) {
            return Ok(None);
        }
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| {
            format!("the grammar cannot go on: {}", one_line(&error.to_string()))
        })?;
        self.allowed.clear();
        self.allowed.resize(vocab.div_ceil(u64::BITS as usize), 0);
        for (word, halves) in self.allowed.iter_mut().zip(mask.as_slice().chunks(2)) {
            *word = u64::from(halves[0]) | u64::from(*halves.get(1).unwrap_or(&0)) << u32::BITS;
        }
        let mut allow = |id: u32| {
            if let Some(word) = self.allowed.get_mut(id as usize / 64) {
                *word |= 1 << (id % 64);
            }
        };
        if think.is_some_and(ThinkState::is_undecided) {
            tokenizer.added("<think>").into_iter().for_each(&mut allow);
        } else if self.gap {
            self.line_ends.iter().copied().for_each(&mut allow);
        }
        // A model may have more rows than its vocabulary has tokens, and the mask has spare bits.
        if let Some(last) = self.allowed.last_mut()
            && !vocab.is_multiple_of(64)
        {
            *last &= (1 << (vocab % 64)) - 1;
        }
        Ok(Some(&self.allowed))
    }

    /// Takes the token that came, before `think` does.
    pub(crate) fn take(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        think: Option<&mut ThinkState>,
    ) -> Result<Taken, String> {
        let bytes = tokenizer.bytes(id);
        if let Some(think) = think {
            if think.is_inside() || think.is_reciting() {
                self.gap = !bytes.ends_with(b"\n");
                return Ok(Taken::GoesOn);
            }
            if think.is_undecided() {
                if bytes.starts_with(OPEN) {
                    return Ok(Taken::GoesOn);
                }
                think.answer();
            }
        }
        if std::mem::take(&mut self.gap) && self.line_ends.contains(&id) {
            return Ok(Taken::GoesOn);
        }
        self.armed = true;
        self.matcher.consume_token(id).map_err(|error| {
            format!("the grammar did not take a token: {}", one_line(&error.to_string()))
        })?;
        Ok(if self.matcher.is_stopped() { Taken::Complete } else { Taken::GoesOn })
    }
}
