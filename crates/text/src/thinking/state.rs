//! The course of thinking, token by token: a pure value that a rejected draft can be undone with.
//!
//! ```text
//! undecided ── <think> ──▶ inside ── </think> ──▶ answer
//!     │                      └─ budget ▶ forced ─────┘▲
//!     └───────────── any other text ──────────────────┘
//! ```

use std::sync::Arc;

use super::{CLOSE, OPEN, Thinking};
use crate::Tokenizer;

/// How much thinking is allowed and asked for, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThinkLimits {
    /// From here on thinking ends at the next line end, and at the latest a tenth later.
    pub budget: Option<u32>,
    /// Before this, thinking cannot end.
    pub min: u32,
}

/// What a token is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Thinking, forced words included.
    Thinking,
    /// A tag, or white space that belongs to it.
    Tag,
    /// The answer.
    Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No text yet, but so many bytes of `<think>`.
    Undecided {
        matched: usize,
    },
    /// Thinking, whose last bytes are so many of `</think>`.
    Inside {
        matched: usize,
    },
    /// Reciting the stop text, or the text of thinking nothing.
    Forced {
        next: usize,
        nothing: bool,
        matched: usize,
        closed: bool,
    },
    Answer,
}

/// Where a sequence stands in its thinking.
#[derive(Debug, Clone)]
pub struct ThinkState {
    thinking: Arc<Thinking>,
    limits: ThinkLimits,
    phase: Phase,
    thinking_tokens: u32,
}

impl ThinkState {
    /// The state before the first token of an answer; `inside` as the prompt left it.
    pub fn new(thinking: Arc<Thinking>, limits: ThinkLimits, inside: bool) -> Self {
        let phase =
            if inside { Phase::Inside { matched: 0 } } else { Phase::Undecided { matched: 0 } };
        let mut state = Self { thinking, limits, phase, thinking_tokens: 0 };
        if inside {
            state.enforce(false);
        }
        state
    }

    /// The token that must come next, if one must.
    pub fn forced(&self) -> Option<u32> {
        match self.phase {
            Phase::Forced { next, nothing, .. } => self.recital(nothing).get(next).copied(),
            _ => None,
        }
    }

    /// The tokens that must not come next: those that would end thinking before its minimum.
    pub fn banned(&self) -> impl Iterator<Item = u32> {
        let slices = match self.phase {
            Phase::Inside { matched } if self.thinking_tokens < self.limits.min => {
                let rest =
                    if matched > 0 { self.thinking.closers[matched].as_slice() } else { &[] };
                [self.thinking.closers[0].as_slice(), rest, self.thinking.ends.as_slice()]
            }
            _ => [[].as_slice(); 3],
        };
        slices.into_iter().flatten().copied()
    }

    /// Whether the next token is thinking.
    pub fn is_inside(&self) -> bool {
        matches!(self.phase, Phase::Inside { .. } | Phase::Forced { closed: false, .. })
    }

    /// Whether no text has come yet, so that the next token may open thinking or begin the answer.
    pub fn is_undecided(&self) -> bool {
        matches!(self.phase, Phase::Undecided { .. })
    }

    /// Whether a stop text is being recited.
    pub fn is_reciting(&self) -> bool {
        matches!(self.phase, Phase::Forced { .. })
    }

    /// The next token begins the answer, whatever it is: there is no thinking any more.
    pub fn answer(&mut self) {
        self.phase = Phase::Answer;
    }

    /// Tokens of thinking so far, forced words included, tags not.
    pub fn thinking_tokens(&self) -> u32 {
        self.thinking_tokens
    }

    /// Takes the token that came, and says what it is part of.
    ///
    /// Panics if another token was forced.
    pub fn advance(&mut self, tokenizer: &Tokenizer, id: u32) -> Place {
        let bytes = tokenizer.bytes(id);
        match self.phase {
            Phase::Answer => Place::Answer,
            Phase::Undecided { matched } => self.decide(matched, bytes),
            Phase::Inside { matched } => self.think(matched, bytes),
            Phase::Forced { next, nothing, matched, closed } => {
                let recital = self.recital(nothing);
                assert_eq!(id, recital[next], "a forced token was not taken");
                let last = next + 1 == recital.len();
                let (matched, closes) = close(matched, bytes);
                self.phase = match last {
                    true => Phase::Answer,
                    false => {
                        Phase::Forced { next: next + 1, nothing, matched, closed: closed || closes }
                    }
                };
                if closed || closes {
                    return Place::Tag;
                }
                self.thinking_tokens += 1;
                Place::Thinking
            }
        }
    }

    fn recital(&self, nothing: bool) -> &[u32] {
        if nothing { &self.thinking.nothing } else { &self.thinking.stop }
    }

    fn decide(&mut self, matched: usize, bytes: &[u8]) -> Place {
        let mut matched = matched;
        for (at, &byte) in bytes.iter().enumerate() {
            if matched == 0 && byte.is_ascii_whitespace() {
                continue;
            }
            if byte != OPEN.as_bytes()[matched] {
                self.phase = Phase::Answer;
                return Place::Answer;
            }
            matched += 1;
            if matched == OPEN.len() {
                let (matched, closes) = close(0, &bytes[at + 1..]);
                self.phase = if closes { Phase::Answer } else { Phase::Inside { matched } };
                if !closes {
                    self.enforce(false);
                }
                return Place::Tag;
            }
        }
        self.phase = Phase::Undecided { matched };
        Place::Tag
    }

    fn think(&mut self, matched: usize, bytes: &[u8]) -> Place {
        let (matched, closes) = close(matched, bytes);
        if closes {
            self.phase = Phase::Answer;
            return Place::Tag;
        }
        self.phase = Phase::Inside { matched };
        self.thinking_tokens += 1;
        self.enforce(bytes.ends_with(b"\n"));
        Place::Thinking
    }

    /// Starts the stop text if the budget asks for it here.
    fn enforce(&mut self, line_ended: bool) {
        let Some(budget) = self.limits.budget else { return };
        let latest = budget.saturating_add(budget.div_ceil(10));
        let used = self.thinking_tokens;
        if used >= latest || (used >= budget && line_ended) {
            let nothing = used == 0;
            self.phase = Phase::Forced { next: 0, nothing, matched: 0, closed: false };
        }
    }
}

/// Bytes of `</think>` that a text ends with after `bytes`, of which it ended with `matched`
/// before; and whether the whole tag came.
fn close(mut matched: usize, bytes: &[u8]) -> (usize, bool) {
    let tag = CLOSE.as_bytes();
    for &byte in bytes {
        // The tag's first byte is nowhere else in it, so no shorter match needs remembering.
        matched = match byte {
            _ if byte == tag[matched] => matched + 1,
            b'<' => 1,
            _ => 0,
        };
        if matched == tag.len() {
            return (0, true);
        }
    }
    (matched, false)
}
