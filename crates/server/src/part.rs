//! What comes of an ask, whatever dialect tells it: the stream that every `lift` reads.
//!
//! ```text
//! Started · Prompt* · (Token · (Thinking | Text | ToolStart | ToolArguments)*)* · Finished
//! ```
//!
//! `Failed` may stand in place of anything, and is the last one as `Finished` is.

use crate::error::Error;
use crate::figures::Bill;

/// One thing that happened to one answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Its prompt is being computed; so many of its tokens were in the cache.
    Started {
        n_cached: usize,
    },
    /// Tokens of the prompt, in order, if they were to be echoed.
    Prompt(Vec<TokenData>),
    /// A token of the answer; the text that is certain because of it follows.
    Token(TokenData),
    Thinking(String),
    Text(String),
    /// The answer's tool call number `index` begins.
    ToolStart {
        index: usize,
        id: String,
        name: String,
    },
    /// A piece of the JSON of its arguments.
    ToolArguments {
        index: usize,
        json: String,
    },
    /// The last one of an answer that came to an end.
    Finished(Box<Finished>),
    /// The last one of an answer that did not.
    Failed(Error),
}

/// A token, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenData {
    pub id: u32,
    /// What it stands for; not always whole characters.
    pub bytes: Vec<u8>,
    /// Whether it marks turns and ends, and is no text.
    pub is_control: bool,
    /// Whether it belongs to thinking or to its tags.
    pub is_thinking: bool,
    /// Natural logarithm of its probability under the model, if asked for. A text's first has none.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place.
    pub top: Vec<TopToken>,
}

/// A token that might have come.
#[derive(Clone, Debug, PartialEq)]
pub struct TopToken {
    pub id: u32,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub reason: Reason,
    pub usage: engine::Usage,
    /// If the server knows prices.
    pub bill: Option<Bill>,
    pub think: ThinkReport,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The model ended it.
    Stop,
    /// One of the ask's strings did.
    StopString(String),
    /// It is as long as it may be.
    Length,
    /// It went in circles. Clients know no such end: they are told that it is as long as it may be.
    Loop,
    /// It ends with calls of tools.
    ToolCalls,
}

/// What became of the wish to think.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThinkReport {
    /// Whether it was thought about at all.
    pub thought: bool,
    /// Who or what decided so, in one word.
    pub decided_by: &'static str,
    /// What ended it, in one word; none if nothing did.
    pub ended_by: Option<&'static str>,
    /// Tokens that were computed only to decide.
    pub decision_tokens: usize,
    /// More words on it, if there are any.
    pub note: Option<String>,
}

/// An answer put together from its parts.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub prompt: Vec<TokenData>,
    pub tokens: Vec<TokenData>,
    pub thinking: String,
    pub text: String,
    pub tools: Vec<Tool>,
    /// None while it goes on.
    pub end: Option<Result<Finished, Error>>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tool {
    pub id: String,
    pub name: String,
    /// JSON.
    pub arguments: String,
}

impl Answer {
    /// Takes in the next part.
    pub fn take(&mut self, part: Part) {
        match part {
            Part::Started { .. } => {}
            Part::Prompt(tokens) => self.prompt.extend(tokens),
            Part::Token(token) => self.tokens.push(token),
            Part::Thinking(text) => self.thinking += &text,
            Part::Text(text) => self.text += &text,
            Part::ToolStart { id, name, .. } => {
                self.tools.push(Tool { id, name, arguments: String::new() });
            }
            Part::ToolArguments { index, json } => {
                if let Some(tool) = self.tools.get_mut(index) {
                    tool.arguments += &json;
                }
            }
            Part::Finished(finished) => self.end = Some(Ok(*finished)),
            Part::Failed(error) => self.end = Some(Err(error)),
        }
    }
}

/// What the answers to one or more prompts took together: a prompt counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub completion_tokens: usize,
    pub thinking_tokens: usize,
    /// The engine's time that went into them.
    pub compute_us: u64,
    pub bill: Option<Bill>,
    /// Answers that went in circles.
    pub loops: usize,
}

impl Totals {
    /// Adds an answer; `first` if it's the first of its prompt.
    pub fn add(&mut self, finished: &Finished, first: bool) {
        let Finished { usage, bill, reason, .. } = finished;
        self.loops += usize::from(*reason == Reason::Loop);
        if first {
            self.prompt_tokens += usage.prompt_tokens;
            self.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.completion_tokens;
        self.thinking_tokens += usage.thinking_tokens;
        self.compute_us += usage.compute_us;
        if let Some(bill) = bill {
            self.bill = Some(self.bill.map_or(*bill, |sum| sum.plus(bill)));
        }
    }
}

impl Reason {
    /// In one word, for a log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Reason::Stop => "stop",
            Reason::StopString(_) => "stop_string",
            Reason::Length => "length",
            Reason::Loop => "loop",
            Reason::ToolCalls => "tool_calls",
        }
    }
}
