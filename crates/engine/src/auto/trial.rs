//! A trial answer: one line, greedy, from a fork of the thinking so far.

use text::Tokenizer;

use super::TrialAnswer;
use crate::auto::Confidence;
use crate::chooser::{Chooser, Next};
use crate::request::Finish;
use crate::sampler::{self, Mask, Params, Turn, raw_logprobs};

/// A trial on its way.
pub(crate) struct Trial {
    tokens: Vec<u32>,
    tokens_max: usize,
    confidence: Confidence,
    ended: bool,
    /// Tokens of thinking before it.
    after: u32,
}

const GREEDY: Params = Params {
    temperature: 0.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    seed: 0,
};

impl Trial {
    pub(crate) fn new(after: u32, tokens_max: usize) -> Trial {
        let confidence = Confidence::new(tokens_max as u32);
        Trial { tokens: Vec::new(), tokens_max, confidence, ended: false, after }
    }

    /// Tokens that it took.
    pub(crate) fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Takes the likeliest token by logits (V); pauses when its line is whole or too long.
    pub(crate) fn advance(&mut self, chooser: &mut Chooser<'_>, logits: &[f32]) -> Next {
        let turn = Turn { prompt: &[], generated: &[], position: 0, mask: Mask::All };
        let token = sampler::draw(chooser.scratch, logits, &GREEDY, &turn).map(|it| it.token);
        let chosen = token.and_then(|token| {
            let logprob = raw_logprobs(chooser.scratch, logits, token, 0, &mut Vec::new())?;
            Ok((token, logprob))
        });
        let (token, logprob) = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return Next::Ends(Finish::Failed(error.to_string())),
        };
        self.confidence.note(logprob);
        if chooser.tokenizer.stops().contains(&token) {
            self.ended = true;
            return Next::Pauses;
        }
        self.tokens.push(token);
        self.ended = self.text(chooser.tokenizer).trim_start().contains('\n');
        if self.ended || self.tokens.len() >= self.tokens_max {
            return Next::Pauses;
        }
        chooser.appended.push(token);
        Next::GoesOn
    }

    /// What came of it.
    pub(crate) fn answer(&self, tokenizer: &Tokenizer) -> TrialAnswer {
        let text = self.text(tokenizer);
        let line = text.trim_start().lines().next().unwrap_or_default();
        // Marks of emphasis and a full stop make no other answer.
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '*' || c == '.');
        let line = (self.ended && !line.is_empty()).then(|| line.to_string());
        TrialAnswer { after: self.after, line, mean: self.confidence.mean() }
    }

    fn text(&self, tokenizer: &Tokenizer) -> String {
        tokenizer.decode(&self.tokens, text::Controls::Drop)
    }
}

/// The trials of one answer, as far as they agree.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    last: Option<String>,
    in_a_row: u32,
}

impl Agreement {
    /// Takes the next trial; whether `agree` of them agree now, each with `mean` at least.
    pub(crate) fn take(&mut self, trial: &TrialAnswer, mean: f32, agree: u32) -> bool {
        let counts = trial.line.is_some() && trial.mean >= mean;
        self.in_a_row = match counts {
            true if self.last == trial.line => self.in_a_row + 1,
            counts => u32::from(counts),
        };
        self.last = trial.line.clone().filter(|_| counts);
        counts && self.in_a_row >= agree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_agree_when_enough_in_a_row_say_the_same_and_are_sure() {
        let trial = |line: &str, mean| TrialAnswer { after: 0, line: Some(line.into()), mean };
        let unfinished = TrialAnswer { after: 0, line: None, mean: 0.0 };
        let mut agreement = Agreement::default();
        let mut take = |trial: &TrialAnswer| agreement.take(trial, -0.1, 3);
        assert!(!take(&trial("4", 0.0)) && !take(&trial("4", 0.0)));
        assert!(!take(&trial("5", 0.0)), "another answer");
        assert!(!take(&trial("5", -0.05)) && !take(&unfinished));
        assert!(!take(&trial("5", 0.0)) && !take(&trial("5", 0.0)));
        assert!(!take(&trial("5", -0.2)), "it is not sure");
        assert!(!take(&trial("5", 0.0)) && !take(&trial("5", 0.0)) && take(&trial("5", -0.1)));
    }
}
