//! The one line of figures below an answer.

use engine::{ExpertStatistics, Usage};

/// How many tokens an answer took, and how fast they came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) usage: Usage,
    /// Tokens of the answer, without its thinking and tags.
    pub(crate) answer_tokens: usize,
    /// How experts came from their files since the model was loaded; none if all are in memory.
    pub(crate) experts: Option<ExpertStatistics>,
}

impl Figures {
    /// Tokens of the prompt that were computed, each second until the first token of the answer.
    pub(crate) fn prompt_tok_per_s(&self) -> Option<f64> {
        let computed = self.usage.prompt_tokens - self.usage.cached_tokens;
        rate(computed, self.usage.prompt_us)
    }

    /// Tokens each second after the first.
    pub(crate) fn decode_tok_per_s(&self) -> Option<f64> {
        rate(self.usage.completion_tokens.saturating_sub(1), self.usage.decode_us)
    }

    /// Tokens that a step of the answer made; more than one where guesses were right.
    pub(crate) fn tokens_a_step(&self) -> Option<f64> {
        let steps = self.usage.completion_tokens - self.usage.accepted_tokens;
        (steps > 0).then(|| self.usage.completion_tokens as f64 / steps as f64)
    }

    /// `prompt 25 tokens (12 cached) at 310.2/s · thinking 120 · answer 35 · 23.4 tokens/s`
    pub(crate) fn line(&self) -> String {
        let usage = &self.usage;
        let mut line = format!("prompt {} tokens", usage.prompt_tokens);
        if usage.cached_tokens > 0 {
            line += &format!(" ({} cached)", usage.cached_tokens);
        }
        if let Some(rate) = self.prompt_tok_per_s() {
            line += &format!(" at {rate:.1}/s");
        }
        if usage.thinking_tokens > 0 {
            line += &format!(" · thinking {}", usage.thinking_tokens);
        }
        line += &format!(" · answer {}", self.answer_tokens);
        if let Some(rate) = self.decode_tok_per_s() {
            line += &format!(" · {rate:.1} tokens/s");
        }
        if usage.drafted_tokens > 0 {
            line += &format!(" · guessed {}", usage.drafted_tokens);
            line += &format!(", {} right", usage.accepted_tokens);
            if let Some(tokens) = self.tokens_a_step() {
                line += &format!(", {tokens:.2} tokens a step");
            }
        }
        if let Some(experts) = &self.experts {
            line += &format!(" · experts {:.0} % in memory", 100.0 * experts.hit_rate());
            line += &format!(", {:.2} GB read", experts.bytes_read as f64 / 1e9);
            line += &format!(" at {:.0} % of the disk's speed", 100.0 * experts.disk_share());
        }
        line
    }
}

fn rate(n: usize, us: u64) -> Option<f64> {
    (n > 0 && us > 0).then(|| n as f64 * 1e6 / us as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use formats::Method;

    use super::*;

    #[test]
    fn the_line_leaves_out_what_was_not() {
        let usage = Usage {
            prompt_tokens: 30,
            cached_tokens: 10,
            thinking_tokens: 7,
            completion_tokens: 11,
            prompt_us: 100_000,
            decode_us: 500_000,
            ..Usage::default()
        };
        let figures = Figures { usage, answer_tokens: 3, experts: None };
        let line =
            "prompt 30 tokens (10 cached) at 200.0/s · thinking 7 · answer 3 · 20.0 tokens/s";
        assert_eq!(figures.line(), line);
        let usage = Usage { prompt_tokens: 5, ..Usage::default() };
        let figures = Figures { usage, answer_tokens: 0, experts: None };
        assert_eq!(figures.line(), "prompt 5 tokens · answer 0");
    }

    #[test]
    fn guesses_and_experts_are_told_where_there_were_any() {
        let usage = Usage {
            prompt_tokens: 5,
            completion_tokens: 9,
            drafted_tokens: 6,
            accepted_tokens: 3,
            ..Usage::default()
        };
        let experts = ExpertStatistics {
            slots: 4,
            experts: 24,
            bytes: 1 << 20,
            hits: 30,
            misses: 10,
            bytes_read: 500_000_000,
            guesses: 0,
            guesses_right: 0,
            is_guessing: false,
            time: Duration::from_secs(2),
            waiting: Duration::from_secs(1),
            disk_bandwidth: 1e9,
            method: Method::IoUring,
            is_direct: true,
        };
        let figures = Figures { usage, answer_tokens: 9, experts: Some(experts) };
        let line = "prompt 5 tokens · answer 9 · guessed 6, 3 right, 1.50 tokens a step \
                    · experts 75 % in memory, 0.50 GB read at 25 % of the disk's speed";
        assert_eq!(figures.line(), line);
    }
}
