//! Parts to OpenAI's chats: whole and streamed; and what all of its answers have in common.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answers::{
    ChatChoice, ChatCompletion, ChatLogprobs, CompletionDetails, ErrorBody, ErrorWords, Extension,
    MoreArguments, PromptDetails, Said, Thinking, TokenLogprob, ToolDelta, ToolPart, Usage,
};
use super::types::{FunctionCall, ToolCall};
use crate::error::Error;
use crate::part::{Answer, Finished, Part, Reason, ThinkReport, TokenData, Tool, Totals};
use crate::requests::RequestId;
use crate::state::{ReasoningField, Server, now_unix_s};
use crate::telling::{Teller, event};

/// What stands at the head of every answer and chunk.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Head {
    pub(crate) fn new(server: &Server, prefix: &str, id: &RequestId) -> Head {
        Head {
            id: format!("{prefix}-{}", id.0),
            created: now_unix_s(),
            model: server.name().into(),
        }
    }

    fn chat(&self, object: &'static str, choices: Vec<ChatChoice>) -> ChatCompletion {
        let Head { id, created, model } = self.clone();
        ChatCompletion { id, object, created, model, choices, usage: None }
    }
}

/// The whole of one or more answers.
pub(crate) fn chat(
    head: &Head,
    answers: Vec<Answer>,
    totals: &Totals,
    (field, wants_logprobs): (ReasoningField, bool),
) -> ChatCompletion {
    let think = answers.first().and_then(report);
    let choices = answers.into_iter().enumerate().map(|(index, answer)| {
        let (finish_reason, stop_reason) = match &answer.end {
            Some(Ok(finished)) => end(&finished.reason),
            _ => (None, None),
        };
        let content = match answer.text.is_empty() && !answer.tools.is_empty() {
            true => None,
            false => Some(answer.text),
        };
        let mut said = Said { role: Some("assistant"), content: Some(content), ..Said::default() };
        if !answer.thinking.is_empty() {
            think_into(&mut said, answer.thinking, field);
        }
        if !answer.tools.is_empty() {
            said.tool_calls = Some(answer.tools.into_iter().enumerate().map(whole_tool).collect());
        }
        let logprobs = wants_logprobs.then(|| ChatLogprobs {
            content: answer.tokens.iter().filter(|t| !t.is_thinking).map(logprob).collect(),
        });
        let message = Some(said);
        ChatChoice { index, message, delta: None, logprobs, finish_reason, stop_reason }
    });
    let mut whole = head.chat("chat.completion", choices.collect());
    whole.usage = Some(usage(totals, think));
    whole
}

/// What became of the wish to think.
pub(crate) fn report(answer: &Answer) -> Option<Thinking> {
    match &answer.end {
        Some(Ok(finished)) => Some(thinking(&finished.think)),
        _ => None,
    }
}

pub(crate) fn thinking(report: &ThinkReport) -> Thinking {
    let ThinkReport { thought, decided_by, ended_by, decision_tokens, note } = report.clone();
    let decision_tokens = (decision_tokens > 0).then_some(decision_tokens);
    Thinking { thought, decided_by: decided_by.into(), ended_by, decision_tokens, note }
}

fn whole_tool((index, tool): (usize, Tool)) -> ToolDelta {
    let Tool { id, name, arguments } = tool;
    let function = FunctionCall { name, arguments };
    let call = ToolCall { id: Some(id), kind: "function".into(), function };
    ToolDelta { index, call: ToolPart::Whole(call) }
}

fn think_into(said: &mut Said, text: String, field: ReasoningField) {
    match field {
        ReasoningField::Content => said.reasoning_content = Some(text),
        ReasoningField::Reasoning => said.reasoning = Some(text),
        ReasoningField::Both => {
            said.reasoning_content = Some(text.clone());
            said.reasoning = Some(text);
        }
    }
}

/// Why an answer ended, and the string that did it, or that it went in circles.
pub(crate) fn end(reason: &Reason) -> (Option<&'static str>, Option<String>) {
    match reason {
        Reason::Stop => (Some("stop"), None),
        Reason::StopString(stop) => (Some("stop"), Some(stop.clone())),
        Reason::Length => (Some("length"), None),
        Reason::Loop => (Some("length"), Some("loop".into())),
        Reason::ToolCalls => (Some("tool_calls"), None),
    }
}

pub(crate) fn usage(totals: &Totals, thinking: Option<Thinking>) -> Usage {
    let Totals { prompt_tokens, cached_tokens, completion_tokens, thinking_tokens, .. } = *totals;
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        prompt_tokens_details: PromptDetails { cached_tokens },
        completion_tokens_details: CompletionDetails { reasoning_tokens: thinking_tokens },
        ruminate: Extension {
            compute_ms: totals.compute_us as f64 / 1e3,
            thinking,
            ended_by: (totals.loops > 0).then_some("loop"),
            cost_usd: totals.bill.and_then(|bill| bill.cost),
            revenue_usd: totals.bill.and_then(|bill| bill.revenue),
            margin: totals.bill.and_then(|bill| bill.margin()),
        },
    }
}

/// Text of bytes that need not be whole characters.
pub(crate) fn token_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().fold("bytes:".into(), |text, byte| format!("{text}\\x{byte:02x}")),
    }
}

fn logprob(token: &TokenData) -> TokenLogprob {
    let top = token.top.iter().map(|top| TokenLogprob {
        token: token_text(&top.bytes),
        logprob: top.logprob,
        bytes: top.bytes.clone(),
        top_logprobs: None,
    });
    TokenLogprob {
        token: token_text(&token.bytes),
        // Words that the engine put in, to end thinking, were not drawn.
        logprob: token.logprob.unwrap_or(0.0),
        bytes: token.bytes.clone(),
        top_logprobs: Some(top.collect()),
    }
}

/// An error in OpenAI's shape.
pub(crate) fn error(error: &Error, _id: &RequestId) -> (StatusCode, Value) {
    let status = error.status();
    let param = match error {
        Error::Invalid { param, .. } => param.clone(),
        _ => None,
    };
    let (kind, code) = match error {
        Error::TooLong { .. } => ("invalid_request_error", Some("context_length_exceeded")),
        Error::NoSuchModel => ("invalid_request_error", Some("model_not_found")),
        Error::Unauthorized => ("invalid_request_error", Some("invalid_api_key")),
        Error::Overloaded { .. } => ("rate_limit_error", Some("rate_limit_exceeded")),
        Error::Draining { .. } | Error::EngineGone => ("server_error", Some("service_unavailable")),
        Error::QueueTimeout | Error::Timeout => ("server_error", Some("timeout")),
        Error::Internal => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let error = ErrorWords { message: error.to_string(), kind, param, code };
    (status, json!(ErrorBody { error }))
}

/// Tells chats in chunks.
pub(crate) struct ChatTeller {
    head: Head,
    field: ReasoningField,
    wants_usage: bool,
    wants_logprobs: bool,
    /// Of each answer, tokens whose text has not come yet.
    waiting: Vec<Vec<TokenLogprob>>,
    think: Option<Thinking>,
}

impl ChatTeller {
    pub(crate) fn new(
        head: Head,
        n_choices: usize,
        field: ReasoningField,
        (wants_usage, wants_logprobs): (bool, bool),
    ) -> ChatTeller {
        let waiting = (0..n_choices).map(|_| Vec::new()).collect();
        ChatTeller { head, field, wants_usage, wants_logprobs, waiting, think: None }
    }

    fn chunk(&self, out: &mut String, choice: ChatChoice) {
        event(out, None, &self.head.chat("chat.completion.chunk", vec![choice]));
    }

    fn delta(&self, out: &mut String, index: usize, said: Said) {
        self.chunk(out, ChatChoice { index, delta: Some(said), ..ChatChoice::default() });
    }

    /// The tokens that go with text that comes now.
    fn logprobs(&mut self, index: usize) -> Option<ChatLogprobs> {
        let content = std::mem::take(&mut self.waiting[index]);
        (self.wants_logprobs && !content.is_empty()).then_some(ChatLogprobs { content })
    }

    fn finished(&mut self, out: &mut String, index: usize, finished: &Finished) {
        if index == 0 {
            self.think = Some(thinking(&finished.think));
        }
        let (finish_reason, stop_reason) = end(&finished.reason);
        let logprobs = self.logprobs(index);
        let delta = Some(Said::default());
        let choice =
            ChatChoice { index, delta, logprobs, finish_reason, stop_reason, message: None };
        self.chunk(out, choice);
    }
}

impl Teller for ChatTeller {
    fn part(&mut self, out: &mut String, index: usize, part: Part) {
        match part {
            Part::Started { .. } => {
                let content = Some(Some(String::new()));
                let said = Said { role: Some("assistant"), content, ..Said::default() };
                self.delta(out, index, said);
            }
            Part::Token(token) if !token.is_thinking => self.waiting[index].push(logprob(&token)),
            Part::Thinking(text) => {
                let mut said = Said::default();
                think_into(&mut said, text, self.field);
                self.delta(out, index, said);
            }
            Part::Text(text) => {
                let delta = Some(Said { content: Some(Some(text)), ..Said::default() });
                let logprobs = self.logprobs(index);
                self.chunk(out, ChatChoice { index, delta, logprobs, ..ChatChoice::default() });
            }
            Part::ToolStart { index: tool, id, name } => {
                let started = Tool { id, name, arguments: String::new() };
                let tool_calls = Some(vec![whole_tool((tool, started))]);
                self.delta(out, index, Said { tool_calls, ..Said::default() });
            }
            Part::ToolArguments { index: tool, json } => {
                let function = MoreArguments { arguments: json };
                let call = ToolPart::More { function };
                let tool_calls = Some(vec![ToolDelta { index: tool, call }]);
                self.delta(out, index, Said { tool_calls, ..Said::default() });
            }
            Part::Finished(finished) => self.finished(out, index, &finished),
            Part::Prompt(_) | Part::Token(_) | Part::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut String, totals: &Totals) {
        if self.wants_usage {
            let mut last = self.head.chat("chat.completion.chunk", Vec::new());
            last.usage = Some(usage(totals, self.think.take()));
            event(out, None, &last);
        }
        *out += "data: [DONE]\n\n";
    }

    fn fail(&mut self, out: &mut String, fault: &Error) {
        event(out, None, &error(fault, &RequestId("".into())).1);
    }
}
