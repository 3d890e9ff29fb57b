//! Whether to think, decided by the model's own signals.
//!
//! ```text
//! prompt ─ p_end ─┬─ ends at once ─────────────────────────────▶ short answer
//!                 └─ short answer, held back ─┬─ finished, sure ─▶ short answer
//!                                             └─ else ──────────▶ thinking, with trial answers
//!                                                                 that end it once they agree
//! ```
//!
//! A short answer that is kept is the answer: its tokens are told, not computed again. All of it
//! is a function of the request and the model, of no clock and no company: an answer that is
//! judged pauses at a token, and goes on when the judgement is there. `step/auto.rs` carries out
//! what is decided here.

mod course;
mod trial;
mod watch;

pub(crate) use course::{Course, Stage};
pub(crate) use trial::Trial;
pub(crate) use watch::{Confidence, Watch};

use std::fmt;

use crate::sampler::Params;

/// Tokens of a short answer that may be computed in vain.
pub const SHORT_TOKENS_MAX: u32 = 1024;
/// Tokens of a trial answer, which is a line.
pub const TRIAL_TOKENS: usize = 32;
/// Trials of one answer at most, and thinking between them at least.
pub const TRIALS_MAX: u32 = 64;
pub const TRIAL_EVERY_MIN: u32 = 8;

/// What an answer in `auto` takes beside its thinking prompt.
#[derive(Clone, Debug)]
pub struct Auto {
    /// The prompt that asks for an answer without thinking.
    pub prompt: Vec<u32>,
    /// How that answer is sampled, if not as the other.
    pub params: Option<Params>,
    pub thresholds: Thresholds,
}

/// Where the signals turn. `ruminate calibrate` finds them for a model; docs/thinking.md says what
/// the defaults are taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Thinking is left out if it would end at once with this probability.
    pub ends_at_once: f32,
    /// A short answer is kept if the mean log-probability of its tokens is at least this; none is
    /// tried if that can't be, above 0...
    pub short_mean: f32,
    /// ...and that of the least likely one at least this.
    pub short_min: f32,
    /// A short answer ends within so many tokens, or it is none.
    pub short_tokens: u32,
    /// Tokens of thinking before each trial answer; it comes at the next line end.
    pub trial_every: u32,
    /// A trial counts if the mean log-probability of its tokens is at least this.
    pub trial_mean: f32,
    /// Thinking ends when so many trials in a row give the same answer; 0 for never.
    pub trials_agree: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            // The likelier of the two courses.
            ends_at_once: 0.5,
            // A perplexity of 1.1; CAR (arXiv 2505.15154) fits such a number for each model.
            short_mean: -0.095,
            // No token below one in ten.
            short_min: -2.3,
            short_tokens: 128,
            trial_every: 128,
            // DEER (arXiv 2504.15895): a geometric mean of 0.95.
            trial_mean: -0.0513,
            // Stable answers, as Dynasor (arXiv 2412.20993) asks for; the number is ours.
            trials_agree: 3,
        }
    }
}

impl Thresholds {
    /// Whether a short answer could be kept.
    pub fn tries_short(&self) -> bool {
        self.short_mean <= 0.0
    }

    /// What is wrong with them, if anything is.
    ///
    /// # Errors
    /// Names the first that is out of its range.
    pub fn check(&self) -> Result<(), String> {
        let logprobs = [
            ("short_mean", self.short_mean),
            ("short_min", self.short_min),
            ("trial_mean", self.trial_mean),
        ];
        for (name, value) in logprobs {
            if value.is_nan() {
                return Err(format!("{name} is not a number"));
            }
        }
        if self.ends_at_once.is_nan() || self.ends_at_once < 0.0 {
            return Err(format!("ends_at_once is {}; it must be at least 0", self.ends_at_once));
        }
        if !(1..=SHORT_TOKENS_MAX).contains(&self.short_tokens) {
            let found = self.short_tokens;
            return Err(format!("short_tokens is {found}; it must be 1 to {SHORT_TOKENS_MAX}"));
        }
        if self.trial_every < TRIAL_EVERY_MIN {
            let found = self.trial_every;
            return Err(format!("trial_every is {found}; it must be at least {TRIAL_EVERY_MIN}"));
        }
        Ok(())
    }
}

/// Why it was decided so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Thinking would have ended at once.
    EndsAtOnce,
    /// The short answer was sure.
    Confident,
    /// It was not.
    Unsure,
    /// It had no end within its bound.
    Unfinished,
    /// It began to think although it was asked not to.
    ThoughtAnyway,
    /// There was no room to try a short answer.
    NoRoom,
    /// Thinking would not have ended at once, and no short answer is tried.
    Untried,
}

/// What was decided in `auto`, and by which signals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThinkReport {
    /// Whether the answer was thought over.
    pub thinks: bool,
    pub why: Why,
    /// The probability that thinking ends at once, as far as it was computed.
    pub p_end: f32,
    /// Of the short answer, as far as it was looked at.
    pub short: Option<ShortAnswer>,
    /// Trial answers while thinking.
    pub trials: u32,
    /// Tokens that were computed for signals only, and are no part of the answer.
    pub extra_tokens: usize,
}

impl fmt::Display for ThinkReport {
    /// What was decided and why, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sure = self.short.map_or_else(String::new, |short| {
            format!(" (log-probability {:.2}, least {:.2})", short.mean, short.min)
        });
        match self.why {
            Why::EndsAtOnce => {
                write!(f, "no thinking, it would end at once (p {:.2})", self.p_end)?;
            }
            Why::Confident => write!(f, "no thinking, the short answer is sure{sure}")?,
            Why::Unsure => write!(f, "thinking, the short answer is not sure{sure}")?,
            Why::Unfinished => f.write_str("thinking, there is no short answer")?,
            Why::ThoughtAnyway => f.write_str("thinking, as it does unasked")?,
            Why::NoRoom => f.write_str("thinking, there is no room to try")?,
            Why::Untried => {
                write!(f, "thinking, it would not end at once (p {:.2})", self.p_end)?;
            }
        }
        if self.trials > 0 {
            write!(f, ", {} trials", self.trials)?;
        }
        if self.extra_tokens > 0 {
            write!(f, ", {} tokens to decide", self.extra_tokens)?;
        }
        Ok(())
    }
}

/// How sure a short answer was: log-probabilities of its tokens under the model's distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortAnswer {
    pub tokens: u32,
    pub mean: f32,
    pub min: f32,
    /// Whether it ended within its bound.
    pub finished: bool,
}

/// A trial answer, told as soon as it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialAnswer {
    /// Tokens of thinking before it.
    pub after: u32,
    /// Its line; none if it had no end within its bound.
    pub line: Option<String>,
    /// The mean log-probability of its tokens.
    pub mean: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_out_of_range_are_named() {
        let fine = Thresholds::default();
        assert_eq!(fine.check(), Ok(()));
        for (bad, name) in [
            (Thresholds { short_mean: f32::NAN, ..fine }, "short_mean"),
            (Thresholds { ends_at_once: -0.1, ..fine }, "ends_at_once"),
            (Thresholds { short_tokens: 0, ..fine }, "short_tokens"),
            (Thresholds { short_tokens: 4000, ..fine }, "short_tokens"),
            (Thresholds { trial_every: 2, ..fine }, "trial_every"),
        ] {
            assert!(bad.check().unwrap_err().starts_with(name), "{bad:?}");
        }
    }
}
