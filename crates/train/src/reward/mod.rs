//! Rewards: what a verifier says of an answer, and what its length, form and mode add.
//!
//! ```text
//! R = verifier + format-weight · format + length part + mode part + overlong part
//! ```
//!
//! Parts that compare answers look at a whole group, since that is what advantages compare.

mod length;
mod mode;

pub use length::{Length, Overlong, kimi, overlong};
pub use mode::Mode;
use verifiers::format::ThinkTags;
use verifiers::{Score, Task, Verifier};

/// What a reward looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// All that the model wrote, its thinking and tags included.
    pub text: String,
    /// Tokens of it.
    pub n_tokens: usize,
    /// Whether it thought, as far as the text tells.
    pub thinks: bool,
    /// It began to think and did not come to an end of it.
    pub is_lost_in_thought: bool,
    /// It did not end by itself.
    pub truncated: bool,
    /// How long it was asked to think, if it was.
    pub asked_tokens: Option<usize>,
}

impl Written {
    /// What a verifier gets to see: a thought without an end is no answer.
    pub fn said(&self) -> &str {
        if self.is_lost_in_thought { "" } else { &self.text }
    }
}

/// What the parts of a reward are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// A verifier's 0 becomes this; its 1 stays 1.
    pub wrong: f32,
    /// What well-formed think tags add.
    pub format: f32,
    pub length: Length,
    pub overlong: Option<Overlong>,
    pub mode: Mode,
}

/// An answer's reward and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    pub total: f32,
    /// What the verifier said.
    pub score: Score,
    /// The other parts, each with its name; those that are off are left out.
    pub parts: Vec<(&'static str, f32)>,
}

impl Reward {
    /// Whether the verifier took the answer for right.
    pub fn is_right(&self) -> bool {
        self.score.value >= 0.5
    }
}

/// The rewards of a group of answers to one task. `step` is how far training has come.
pub fn rewards(
    group: &[Written],
    (task, verifier): (&Task, &dyn Verifier),
    settings: &Settings,
    step: u64,
) -> Vec<Reward> {
    let scores: Vec<Score> =
        group.iter().map(|written| verifier.score(task, written.said())).collect();
    let right: Vec<bool> = scores.iter().map(|score| score.value >= 0.5).collect();
    let by_length = settings.length.parts(group, &right, step);
    let reward = |(i, score): (usize, Score)| {
        let written = &group[i];
        let mut total = settings.wrong + (1.0 - settings.wrong) * score.value;
        let mut parts = Vec::new();
        let mut add = |name, part: f32| {
            parts.push((name, part));
            total += part;
        };
        if settings.format != 0.0 {
            add("format", settings.format * ThinkTags.score(task, &written.text).value);
        }
        if let Some(overlong) = settings.overlong {
            add("overlong", length::overlong(written.n_tokens, overlong));
        }
        if let Some(by_length) = &by_length {
            add("length", by_length.added[i]);
        }
        if let Some(factor) = by_length.as_ref().and_then(|parts| parts.factors.as_ref()) {
            let whole = total * factor[i];
            parts.push(("length", whole - total));
            total = whole;
        }
        if let Some(part) = settings.mode.part(written, right[i], total) {
            parts.push(("mode", part));
            total += part;
        }
        Reward { total, score, parts }
    };
    scores.into_iter().enumerate().map(reward).collect()
}
