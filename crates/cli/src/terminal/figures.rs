//! The one line of figures below an answer.

use engine::Usage;

/// How many tokens an answer took, and how fast they came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) usage: Usage,
    /// Tokens of the answer, without its thinking and tags.
    pub(crate) answer_tokens: usize,
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
        }
        line
    }
}

fn rate(n: usize, us: u64) -> Option<f64> {
    (n > 0 && us > 0).then(|| n as f64 * 1e6 / us as f64)
}

#[cfg(test)]
mod tests {
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
        let figures = Figures { usage, answer_tokens: 3 };
        let line =
            "prompt 30 tokens (10 cached) at 200.0/s · thinking 7 · answer 3 · 20.0 tokens/s";
        assert_eq!(figures.line(), line);
        let usage = Usage { prompt_tokens: 5, ..Usage::default() };
        let figures = Figures { usage, answer_tokens: 0 };
        assert_eq!(figures.line(), "prompt 5 tokens · answer 0");
    }
}
