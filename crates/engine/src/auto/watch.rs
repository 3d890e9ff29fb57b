//! Where an answer pauses to be judged, and how sure it is so far.

use text::ThinkState;

use super::{SHORT_TOKENS_MAX, ShortAnswer, TRIAL_EVERY_MIN, TRIALS_MAX, Thresholds};

/// What an answer looks out for.
#[derive(Debug, Default)]
pub(crate) enum Watch {
    #[default]
    Nothing,
    /// It is judged when it has so many tokens.
    Short { tokens: usize },
    /// Its thinking is tried after `next` tokens, and so on.
    Trials { next: u32, every: u32, left: u32 },
}

impl Watch {
    pub(crate) fn short(thresholds: &Thresholds) -> Watch {
        Watch::Short { tokens: thresholds.short_tokens.clamp(1, SHORT_TOKENS_MAX) as usize }
    }

    pub(crate) fn trials(thresholds: &Thresholds) -> Watch {
        if thresholds.trials_agree == 0 {
            return Watch::Nothing;
        }
        let every = thresholds.trial_every.max(TRIAL_EVERY_MIN);
        Watch::Trials { next: every, every, left: TRIALS_MAX }
    }

    /// Whether an answer pauses after its last token, of `n_tokens`.
    pub(crate) fn pauses(&mut self, n_tokens: usize, think: Option<&ThinkState>) -> bool {
        match self {
            Watch::Nothing => false,
            Watch::Short { tokens } => n_tokens >= *tokens,
            Watch::Trials { next, every, left } => {
                let Some(think) = think.filter(|think| think.is_free()) else { return false };
                let thought = think.thinking_tokens();
                // A line end is waited for, but not for long.
                let due = thought >= *next
                    && (think.is_at_line_end() || thought >= *next + every.div_ceil(2));
                if due && *left > 0 {
                    (*next, *left) = (thought + *every, *left - 1);
                    return true;
                }
                false
            }
        }
    }
}

/// Log-probabilities of the first tokens of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confidence {
    sum: f64,
    min: f32,
    n: u32,
    n_max: u32,
}

impl Confidence {
    /// Of the first `n_max` tokens.
    pub(crate) fn new(n_max: u32) -> Confidence {
        Confidence { sum: 0.0, min: 0.0, n: 0, n_max: n_max.clamp(1, SHORT_TOKENS_MAX) }
    }

    /// Whether the next token counts.
    pub(crate) fn listens(&self) -> bool {
        self.n < self.n_max
    }

    pub(crate) fn note(&mut self, logprob: f32) {
        if self.listens() {
            self.sum += f64::from(logprob);
            self.min = self.min.min(logprob);
            self.n += 1;
        }
    }

    /// How many were noted.
    pub(crate) fn n(&self) -> u32 {
        self.n
    }

    pub(crate) fn mean(&self) -> f32 {
        (self.sum / f64::from(self.n.max(1))) as f32
    }

    pub(crate) fn of_answer(&self, finished: bool) -> ShortAnswer {
        ShortAnswer { tokens: self.n, mean: self.mean(), min: self.min, finished }
    }
}
