//! One answer: the engine's events to parts.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use engine::sampler::TokenLogprob;
use engine::{Event, Finish, Think, Token, Usage, Vocabulary};
use schedule::Micros;
use serde_json::Value;
use text::{Conversation, Piece, Place, ThinkEnd, ToolFormat, ToolParser, ToolPiece};

use crate::error::Error;
use crate::part::{Finished, Part, Reason, ThinkReport, TokenData, Tool, TopToken};
use crate::state::Server;

/// The conversation that is being answered.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub(super) conversation: Conversation,
    pub(super) think: Think,
}

/// Finds the calls in an answer that may call tools.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    parser: ToolParser,
    /// Whether there may be several.
    parallel: bool,
}

impl Calls {
    pub(super) fn new(format: &ToolFormat, tools: &[Value], parallel: bool) -> Calls {
        Calls { parser: ToolParser::new(format, tools), parallel }
    }

    /// Parts of the pieces that the parser made.
    fn tell(&self, pieces: Vec<ToolPiece>, parts: &mut Vec<Part>) {
        for piece in pieces {
            match piece {
                ToolPiece::Text(text) => parts.push(Part::Text(text)),
                ToolPiece::Start { index, .. } | ToolPiece::Arguments { index, .. }
                    if index > 0 && !self.parallel => {}
                ToolPiece::Start { index, name } => {
                    // A hasher's keys are what the standard library has of randomness.
                    let id = format!("call_{:016x}", RandomState::new().hash_one(index));
                    parts.push(Part::ToolStart { index, id, name });
                }
                ToolPiece::Arguments { index, json } => {
                    parts.push(Part::ToolArguments { index, json });
                }
                ToolPiece::End { .. } => {}
            }
        }
    }
}

/// What an answer in a conversation said.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<Tool>,
}

impl Said {
    fn note(&mut self, part: &Part) {
        match part {
            Part::Thinking(text) => self.thinking += text,
            Part::Text(text) => self.text += text,
            Part::ToolStart { id, name, .. } => self.calls.push(Tool {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
            }),
            Part::ToolArguments { json, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments += json;
                }
            }
            _ => {}
        }
    }
}

/// An answer as it grows.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Whether it is the first answer to its prompt.
    pub(super) is_first: bool,
    pub(super) is_over: bool,
    pub(super) prompt_len: usize,
    /// Tokens that it may have, and that it has.
    pub(super) max_tokens: usize,
    pub(super) n_tokens: usize,
    /// When its last token came, by the engine's clock.
    last_token: Option<Micros>,
    pub(super) chat: Option<Arc<Chat>>,
    pub(super) salt: u64,
    /// What it said so far, if the next turn is to be warmed.
    pub(super) said: Said,
    /// None if there is nothing to call.
    pub(super) calls: Option<Calls>,
    /// Tokens of the prompt to be told before anything else.
    echo: Vec<u32>,
    wants_tokens: bool,
    /// Nothing of the answer itself is wanted.
    is_mute: bool,
}

impl Choice {
    pub(super) fn new(
        prompt: &[u32],
        logprobs: Option<usize>,
        echo: bool,
        max_tokens: usize,
        chat: Option<Chat>,
        salt: u64,
    ) -> Choice {
        let echo = match (echo, logprobs) {
            (false, _) => Vec::new(),
            (true, None) => prompt.to_vec(),
            // The engine tells the others, with their log-probabilities.
            (true, Some(_)) => prompt[..1.min(prompt.len())].to_vec(),
        };
        Choice {
            is_first: true,
            is_over: false,
            prompt_len: prompt.len(),
            max_tokens,
            n_tokens: 0,
            last_token: None,
            chat: chat.map(Arc::new),
            salt,
            said: Said::default(),
            calls: None,
            echo,
            wants_tokens: logprobs.is_some(),
            is_mute: max_tokens == 0,
        }
    }

    /// The tokens of the prompt that are told at once.
    pub(super) fn echoed(&mut self, vocabulary: &Vocabulary) -> Option<Part> {
        let echo = std::mem::take(&mut self.echo);
        let tokens = echo.into_iter().map(|id| token_data(vocabulary, id, None, &[]));
        let tokens: Vec<TokenData> = tokens.collect();
        (!tokens.is_empty()).then_some(Part::Prompt(tokens))
    }

    /// Microseconds since the step before that brought it tokens, if this token begins another.
    pub(super) fn waited(&mut self, token: &Token) -> Option<u64> {
        self.n_tokens += 1;
        let before = self.last_token.replace(token.at)?;
        Some(token.at.0.saturating_sub(before.0)).filter(|&us| us > 0)
    }

    /// What an event means.
    pub(super) fn take(
        &mut self,
        event: Event,
        server: &Server,
        retry_after: impl Fn() -> Duration,
    ) -> Vec<Part> {
        let mut parts = Vec::new();
        match event {
            Event::Started { n_cached } => parts.push(Part::Started { n_cached }),
            Event::Prompt(tokens) => {
                let of = |t: &engine::PromptToken| {
                    token_data(&server.vocabulary, t.id, Some(t.logprob), &t.top)
                };
                parts.push(Part::Prompt(tokens.iter().map(of).collect()));
            }
            // It is no part of the text.
            Event::Trial(_) => {}
            Event::Token(_) if self.is_mute => {}
            Event::Token(token) => {
                if self.wants_tokens {
                    parts.push(Part::Token(said(&server.vocabulary, &token)));
                }
                self.pieces(token.pieces, &mut parts);
            }
            Event::Finished { finish, usage, pieces } => {
                if !self.is_mute {
                    self.pieces(pieces, &mut parts);
                }
                if let Some(calls) = &mut self.calls {
                    let mut pieces = Vec::new();
                    calls.parser.finish(&mut pieces);
                    calls.tell(pieces, &mut parts);
                }
                parts.push(self.end(&finish, usage, server, retry_after));
            }
        }
        if self.chat.is_some() && self.is_first {
            parts.iter().for_each(|part| self.said.note(part));
        }
        parts
    }

    pub(super) fn has_calls(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.parser.n_calls() > 0)
    }

    fn pieces(&mut self, pieces: Vec<Piece>, parts: &mut Vec<Part>) {
        for piece in pieces {
            match piece {
                Piece::Thinking(text) if !text.is_empty() => {
                    parts.push(Part::Thinking(text));
                }
                Piece::Answer(text) if !text.is_empty() => match &mut self.calls {
                    None => parts.push(Part::Text(text)),
                    Some(calls) => {
                        let mut pieces = Vec::new();
                        calls.parser.push(&text, &mut pieces);
                        calls.tell(pieces, parts);
                    }
                },
                Piece::Thinking(_) | Piece::Answer(_) => {}
            }
        }
    }

    fn end(
        &mut self,
        finish: &Finish,
        mut usage: Usage,
        server: &Server,
        retry_after: impl Fn() -> Duration,
    ) -> Part {
        self.is_over = true;
        if let Some(error) = Error::of_finish(finish, retry_after) {
            return Part::Failed(error);
        }
        if self.is_mute {
            (usage.completion_tokens, usage.thinking_tokens) = (0, 0);
        }
        let reason = match finish {
            Finish::StopString(stop) => Reason::StopString(stop.clone()),
            Finish::Length => Reason::Length,
            Finish::Loop => Reason::Loop,
            _ if self.is_mute => Reason::Length,
            _ if self.has_calls() => Reason::ToolCalls,
            _ => Reason::Stop,
        };
        let bill = server.money.bill(&usage, self.is_first);
        let think = ThinkReport {
            thought: usage.thinking_tokens > 0,
            decided_by: match self.chat.as_ref().map(|chat| chat.think) {
                _ if usage.auto.is_some() => "signals",
                None | Some(Think::Default | Think::Auto) => "model",
                Some(_) => "request",
            },
            ended_by: usage.ended_by.map(ThinkEnd::name),
            decision_tokens: usage.auto.map_or(0, |report| report.extra_tokens),
            note: usage.auto.map(|report| report.to_string()),
        };
        Part::Finished(Box::new(Finished { reason, usage, bill, think }))
    }
}

fn said(vocabulary: &Vocabulary, token: &Token) -> TokenData {
    let data = token_data(vocabulary, token.id, token.logprob, &token.top);
    TokenData { is_thinking: token.place != Place::Answer, ..data }
}

fn token_data(
    vocabulary: &Vocabulary,
    id: u32,
    logprob: Option<f32>,
    top: &[TokenLogprob],
) -> TokenData {
    let bytes = |id| vocabulary.tokenizer.bytes(id).to_vec();
    let top =
        top.iter().map(|t| TopToken { id: t.token, bytes: bytes(t.token), logprob: t.logprob });
    let is_control = vocabulary.tokenizer.is_control(id);
    TokenData { id, bytes: bytes(id), is_control, is_thinking: false, logprob, top: top.collect() }
}
