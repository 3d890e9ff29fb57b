//! The course of thinking, token by token: a pure value that a rejected draft can be undone with.
//!
//! ```text
//! undecided ── <think> ──▶ inside ── </think> ──▶ answer
//!     │                      └─ budget ▶ forced ─────┘▲
//!     └───────────── any other text ──────────────────┘
//! ```
//!
//! Thinking is forced to end by its budget, by the room that is left for the answer, by going in
//! circles, or by whoever drives it.

use std::sync::Arc;

use super::loops::LoopDetector;
use super::{CLOSE, OPEN, Thinking};
use crate::Tokenizer;

/// How much thinking is allowed and asked for, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThinkLimits {
    /// From here on thinking ends at the next line end, and at the latest a tenth later.
    pub budget: Option<u32>,
    /// Before this, thinking does not end: where it would, the family's "Wait" comes instead.
    pub min: u32,
}

/// The most tokens that are kept for an answer: some 700 English words.
const RESERVE_MAX: usize = 1024;
/// The part of all tokens that is kept at most: one in so many.
const RESERVE_SHARE: usize = 4;
/// The part of a limit by which thinking may end earlier or later to end with a line.
const LANDING_SHARE: u32 = 10;

/// Tokens that are kept for the answer where it may have `max_tokens`, its thinking included: a
/// quarter of them, and at most 1,024.
pub fn answer_reserve(max_tokens: usize) -> usize {
    (max_tokens / RESERVE_SHARE).min(RESERVE_MAX)
}

/// What ended thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkEnd {
    /// The model itself.
    Model,
    /// It was as long as it may be.
    Budget,
    /// The rest of the tokens is kept for the answer: [`answer_reserve`].
    Reserve,
    /// It went in circles.
    Loop,
    /// Answers tried on the way agreed.
    Agreed,
}

impl ThinkEnd {
    /// As programs are told it.
    pub fn name(self) -> &'static str {
        match self {
            ThinkEnd::Model => "model",
            ThinkEnd::Budget => "budget",
            ThinkEnd::Reserve => "reserve",
            ThinkEnd::Loop => "loop",
            ThinkEnd::Agreed => "agreed",
        }
    }
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

/// A text that is recited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recital {
    Stop,
    Close,
    Nothing,
    Wait,
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
    /// Reciting a text.
    Forced {
        next: usize,
        recital: Recital,
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
    /// All tokens so far, tags included.
    n_tokens: u32,
    /// Tokens by which thinking is over, its end recited.
    room: Option<u32>,
    /// How thinking is ended where it fills the room.
    stop: Recital,
    loops: LoopDetector,
    line_ended: bool,
    end: Option<ThinkEnd>,
}

impl ThinkState {
    /// The state before the first token of an answer; `inside` as the prompt left it.
    pub fn new(thinking: Arc<Thinking>, limits: ThinkLimits, inside: bool) -> Self {
        let phase =
            if inside { Phase::Inside { matched: 0 } } else { Phase::Undecided { matched: 0 } };
        let mut state = Self {
            thinking,
            limits,
            phase,
            thinking_tokens: 0,
            n_tokens: 0,
            room: None,
            stop: Recital::Stop,
            loops: LoopDetector::of_thinking(),
            line_ended: false,
            end: None,
        };
        if inside {
            state.enforce();
        }
        state
    }

    /// The same for an answer of `max_tokens` at most: [`answer_reserve`] of them are kept free of
    /// thinking. Too few for any thinking and its end are all free to be used up.
    pub fn within(mut self, max_tokens: usize) -> Self {
        let room = max_tokens - answer_reserve(max_tokens);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        // At least half of the room is for thoughts, else the end goes without words.
        let fits = |recital| self.recital(recital).len() <= room as usize / 2;
        if let Some(stop) = [Recital::Stop, Recital::Close].into_iter().find(|&text| fits(text)) {
            (self.stop, self.room) = (stop, Some(room));
        }
        self
    }

    /// The token that must come next, if one must.
    pub fn forced(&self) -> Option<u32> {
        match self.phase {
            Phase::Forced { next, recital, .. } => self.recital(recital).get(next).copied(),
            _ => None,
        }
    }

    /// Whether something else must come in place of `id`: it would end thinking before its minimum,
    /// or the answer before there is one.
    pub fn refuses(&self, id: u32) -> bool {
        let Phase::Inside { matched } = self.phase else { return false };
        let closes = |matched: usize| self.thinking.closers[matched].binary_search(&id).is_ok();
        let early = self.thinking_tokens < self.limits.min;
        (early && (closes(0) || (matched > 0 && closes(matched))))
            || self.thinking.ends.contains(&id)
    }

    /// The token that comes instead of one that it refuses; more may be forced after it. Before the
    /// minimum the model is told to wait, later its thinking is over.
    ///
    /// Panics outside of thinking.
    pub fn instead(&mut self) -> u32 {
        assert!(matches!(self.phase, Phase::Inside { .. }), "only thinking refuses tokens");
        let wait = self.recital(Recital::Wait).len() as u32;
        let left = |latest: u32, used: u32| latest.saturating_sub(used);
        let room = self.latest_by_room().map_or(u32::MAX, |latest| left(latest, self.n_tokens));
        let budget = self.latest_by_budget();
        let budget = budget.map_or(u32::MAX, |latest| left(latest, self.thinking_tokens));
        // What is limited stays within its limits also where both ask for the impossible.
        if self.thinking_tokens >= self.limits.min {
            self.end = Some(ThinkEnd::Model);
            self.recite(Recital::Close);
        } else if wait > room {
            self.end(ThinkEnd::Reserve);
        } else if wait > budget {
            self.end(ThinkEnd::Budget);
        } else {
            self.recite(Recital::Wait);
        }
        self.forced().expect("each has a text")
    }

    /// Ends thinking, because of `why`, by the family's stop text. False if it is over, or being
    /// ended already.
    pub fn end(&mut self, why: ThinkEnd) -> bool {
        if !matches!(self.phase, Phase::Inside { .. }) {
            return false;
        }
        self.end = Some(why);
        let nothing = self.thinking_tokens == 0 && why == ThinkEnd::Budget;
        let words = self.recital(Recital::Stop).len() as u32;
        let fits = self.room.is_none_or(|room| self.n_tokens.saturating_add(words) <= room);
        self.recite(match (nothing, fits) {
            (true, _) => Recital::Nothing,
            (false, true) => Recital::Stop,
            (false, false) => Recital::Close,
        });
        true
    }

    /// What ended the thinking; none if there was none, or it goes on.
    pub fn ended_by(&self) -> Option<ThinkEnd> {
        self.end.filter(|_| !self.is_inside())
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

    /// Whether the next token is thinking, and the model's own.
    pub fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Inside { matched: 0 })
    }

    /// Whether the last token ended a line of thinking.
    pub fn is_at_line_end(&self) -> bool {
        self.line_ended
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
        self.n_tokens = self.n_tokens.saturating_add(1);
        match self.phase {
            Phase::Answer => Place::Answer,
            Phase::Undecided { matched } => self.decide(matched, bytes),
            Phase::Inside { matched } => self.think(matched, id, bytes),
            Phase::Forced { next, recital, matched, closed } => {
                let text = self.recital(recital);
                assert_eq!(id, text[next], "a forced token was not taken");
                let last = next + 1 == text.len();
                let (matched, closes) = close(matched, bytes);
                let closed = closed || closes;
                self.phase = match (last, recital) {
                    (true, Recital::Wait) => Phase::Inside { matched: 0 },
                    (true, _) => Phase::Answer,
                    (false, _) => Phase::Forced { next: next + 1, recital, matched, closed },
                };
                if closed {
                    return Place::Tag;
                }
                self.thinking_tokens += 1;
                // A "Wait" that has been said is thinking like any other, which may be too long.
                self.note(id, bytes);
                Place::Thinking
            }
        }
    }

    fn recital(&self, recital: Recital) -> &[u32] {
        match recital {
            Recital::Stop => &self.thinking.stop,
            Recital::Close => &self.thinking.close,
            Recital::Nothing => &self.thinking.nothing,
            Recital::Wait => &self.thinking.wait,
        }
    }

    fn recite(&mut self, recital: Recital) {
        self.phase = Phase::Forced { next: 0, recital, matched: 0, closed: false };
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
                if closes {
                    (self.phase, self.end) = (Phase::Answer, Some(ThinkEnd::Model));
                } else {
                    self.phase = Phase::Inside { matched };
                    self.enforce();
                }
                return Place::Tag;
            }
        }
        self.phase = Phase::Undecided { matched };
        Place::Tag
    }

    fn think(&mut self, matched: usize, id: u32, bytes: &[u8]) -> Place {
        let (matched, closes) = close(matched, bytes);
        if closes {
            (self.phase, self.end) = (Phase::Answer, Some(ThinkEnd::Model));
            return Place::Tag;
        }
        self.phase = Phase::Inside { matched };
        self.thinking_tokens += 1;
        self.note(id, bytes);
        Place::Thinking
    }

    /// Ends thinking if the token that was just taken as part of it says so.
    fn note(&mut self, id: u32, bytes: &[u8]) {
        self.line_ended = bytes.ends_with(b"\n");
        let circles = self.loops.push(id, self.line_ended);
        self.enforce();
        if circles && self.thinking_tokens >= self.limits.min {
            self.end(ThinkEnd::Loop);
        }
    }

    /// Tokens after which the end of thinking must be recited, to be over within its room.
    fn latest_by_room(&self) -> Option<u32> {
        // `within` has seen that the text fits.
        self.room.map(|room| room - self.recital(self.stop).len() as u32)
    }

    /// Tokens of thinking after which it ends, in a line or not.
    fn latest_by_budget(&self) -> Option<u32> {
        let later = |budget: u32| budget.saturating_add(budget.div_ceil(LANDING_SHARE));
        self.limits.budget.map(later)
    }

    /// Ends thinking if its budget or the room for it asks for it here.
    fn enforce(&mut self) {
        if let Some(latest) = self.latest_by_room() {
            let soft = latest - latest / LANDING_SHARE;
            if self.n_tokens >= latest || (self.n_tokens >= soft && self.line_ended) {
                self.end(ThinkEnd::Reserve);
            }
        }
        if let (Some(budget), Some(latest)) = (self.limits.budget, self.latest_by_budget()) {
            let used = self.thinking_tokens;
            if used >= latest || (used >= budget && self.line_ended) {
                self.end(ThinkEnd::Budget);
            }
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
