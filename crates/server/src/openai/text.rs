//! Parts to OpenAI's completions, the older shape: whole and streamed, echoed prompts and all.

use std::collections::BTreeMap;

use super::answers::{TextChoice, TextCompletion, TextLogprobs};
use super::lift::{Head, end, error, token_text, usage};
use crate::error::Error;
use crate::part::{Answer, Part, TokenData, Totals};
use crate::requests::RequestId;
use crate::telling::{Teller, event};

impl Head {
    fn text(&self, choices: Vec<TextChoice>) -> TextCompletion {
        let Head { id, created, model } = self.clone();
        let object = "text_completion";
        TextCompletion { id, object, created, model, choices, usage: None }
    }
}

/// The whole of one or more answers.
pub(crate) fn completion(
    head: &Head,
    answers: Vec<Answer>,
    totals: &Totals,
    wants_logprobs: bool,
) -> TextCompletion {
    let choices = answers.into_iter().enumerate().map(|(index, answer)| {
        let mut echo = Echo::default();
        let (mut text, mut logprobs) = (String::new(), TextLogprobs::default());
        for token in &answer.prompt {
            echo.note(token, &mut logprobs);
            echo.push(token, &mut text);
        }
        echo.flush(&mut text);
        answer.tokens.iter().for_each(|token| echo.note(token, &mut logprobs));
        // Text and thinking of a document are one.
        text += &answer.thinking;
        text += &answer.text;
        let (finish_reason, stop_reason) = match &answer.end {
            Some(Ok(finished)) => end(&finished.reason),
            _ => (None, None),
        };
        let logprobs = wants_logprobs.then_some(logprobs);
        TextChoice { index, text, logprobs, finish_reason, stop_reason }
    });
    let mut whole = head.text(choices.collect());
    whole.usage = Some(usage(totals, None));
    whole
}

/// A prompt that is told again, token by token.
#[derive(Debug, Default)]
struct Echo {
    /// Bytes of a character that is not whole yet.
    pending: Vec<u8>,
    /// Characters of the tokens so far.
    offset: usize,
}

impl Echo {
    /// Appends the text of a token of the prompt.
    fn push(&mut self, token: &TokenData, out: &mut String) {
        if token.is_control {
            return;
        }
        self.pending.extend_from_slice(&token.bytes);
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.len(),
            // The last character may need more bytes; what can never be one is not waited for.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.pending.len(),
        };
        let done: Vec<u8> = self.pending.drain(..whole).collect();
        *out += &String::from_utf8_lossy(&done);
    }

    fn flush(&mut self, out: &mut String) {
        *out += &String::from_utf8_lossy(&std::mem::take(&mut self.pending));
    }

    /// Appends the entries of a token.
    fn note(&mut self, token: &TokenData, logprobs: &mut TextLogprobs) {
        let text = token_text(&token.bytes);
        let mut top: BTreeMap<String, f32> = BTreeMap::new();
        for likely in &token.top {
            // The likeliest comes first, and keeps its place among those of the same text.
            top.entry(token_text(&likely.bytes)).or_insert(likely.logprob);
        }
        if let Some(logprob) = token.logprob {
            top.entry(text.clone()).or_insert(logprob);
        }
        logprobs.top_logprobs.push(token.logprob.map(|_| top));
        logprobs.token_logprobs.push(token.logprob);
        logprobs.text_offset.push(self.offset);
        self.offset += String::from_utf8_lossy(&token.bytes).chars().count();
        logprobs.tokens.push(text);
    }
}

/// Tells completions in chunks.
pub(crate) struct TextTeller {
    head: Head,
    wants_usage: bool,
    wants_logprobs: bool,
    echoes: Vec<Echo>,
    /// Of each answer, entries of tokens whose text has not come yet.
    waiting: Vec<TextLogprobs>,
}

impl TextTeller {
    pub(crate) fn new(
        head: Head,
        n_choices: usize,
        (wants_usage, wants_logprobs): (bool, bool),
    ) -> TextTeller {
        let echoes = (0..n_choices).map(|_| Echo::default()).collect();
        let waiting = (0..n_choices).map(|_| TextLogprobs::default()).collect();
        TextTeller { head, wants_usage, wants_logprobs, echoes, waiting }
    }

    fn chunk(&mut self, out: &mut String, mut choice: TextChoice) {
        let logprobs = std::mem::take(&mut self.waiting[choice.index]);
        choice.logprobs = (self.wants_logprobs && !logprobs.tokens.is_empty()).then_some(logprobs);
        event(out, None, &self.head.text(vec![choice]));
    }
}

impl Teller for TextTeller {
    fn part(&mut self, out: &mut String, index: usize, part: Part) {
        match part {
            Part::Prompt(tokens) => {
                let (echo, waiting) = (&mut self.echoes[index], &mut self.waiting[index]);
                let mut text = String::new();
                for token in &tokens {
                    echo.note(token, waiting);
                    echo.push(token, &mut text);
                }
                self.chunk(out, TextChoice { index, text, ..TextChoice::default() });
            }
            Part::Token(token) => self.echoes[index].note(&token, &mut self.waiting[index]),
            Part::Text(text) | Part::Thinking(text) => {
                self.chunk(out, TextChoice { index, text, ..TextChoice::default() });
            }
            Part::Finished(finished) => {
                let mut text = String::new();
                self.echoes[index].flush(&mut text);
                let (finish_reason, stop_reason) = end(&finished.reason);
                let choice = TextChoice { index, text, logprobs: None, finish_reason, stop_reason };
                self.chunk(out, choice);
            }
            Part::Started { .. }
            | Part::ToolStart { .. }
            | Part::ToolArguments { .. }
            | Part::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut String, totals: &Totals) {
        if self.wants_usage {
            let mut last = self.head.text(Vec::new());
            last.usage = Some(usage(totals, None));
            event(out, None, &last);
        }
        *out += "data: [DONE]\n\n";
    }

    fn fail(&mut self, out: &mut String, fault: &Error) {
        event(out, None, &error(fault, &RequestId("".into())).1);
    }
}
