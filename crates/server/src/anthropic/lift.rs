//! Parts to Anthropic's messages: whole, and streamed block by block.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answers::{
    Content, Delta, Ending, ErrorBody, Event, Message, OutputDetails, Usage, Words,
};
use super::signature::SignatureKey;
use crate::error::Error;
use crate::openai;
use crate::part::{Answer, Finished, Part, Reason, Totals};
use crate::requests::RequestId;
use crate::telling::{Teller, event};
use crate::turns::arguments;

/// What a message is told with, whole or streamed.
pub(super) struct Head {
    pub(super) id: RequestId,
    pub(super) model: String,
    pub(super) key: SignatureKey,
    /// What was thought goes with its signature alone.
    pub(super) omits_thinking: bool,
}

impl Head {
    fn message(&self, usage: Usage) -> Message {
        Message {
            id: format!("msg_{}", self.id.0),
            kind: "message",
            role: "assistant",
            model: self.model.clone(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage,
        }
    }

    fn sign(&self, thought: &str) -> String {
        self.key.sign(&self.model, thought, self.omits_thinking)
    }
}

/// The whole of an answer.
pub(super) fn message(head: &Head, answer: Answer, totals: &Totals) -> Message {
    let finished = answer.end.as_ref().and_then(|end| end.as_ref().ok());
    let mut message = head.message(usage(totals, finished));
    if let Some(finished) = finished {
        let Ending { stop_reason, stop_sequence } = ending(&finished.reason);
        (message.stop_reason, message.stop_sequence) = (Some(stop_reason), stop_sequence);
    }
    if !answer.thinking.is_empty() {
        let signature = head.sign(&answer.thinking);
        let thinking = if head.omits_thinking { String::new() } else { answer.thinking };
        message.content.push(Content::Thinking { thinking, signature });
    }
    if !answer.text.is_empty() {
        message.content.push(Content::Text { text: answer.text });
    }
    message.content.extend(answer.tools.into_iter().map(|tool| Content::ToolUse {
        id: tool.id,
        name: tool.name,
        input: arguments(tool.arguments),
    }));
    message
}

fn ending(reason: &Reason) -> Ending {
    let (stop_reason, stop_sequence) = match reason {
        Reason::Stop => ("end_turn", None),
        Reason::StopString(stop) => ("stop_sequence", Some(stop.clone())),
        Reason::Length | Reason::Loop => ("max_tokens", None),
        Reason::ToolCalls => ("tool_use", None),
    };
    Ending { stop_reason, stop_sequence }
}

fn usage(totals: &Totals, finished: Option<&Finished>) -> Usage {
    let Totals { prompt_tokens, cached_tokens, completion_tokens, thinking_tokens, .. } = *totals;
    let think = finished.map(|finished| openai::thinking(&finished.think));
    Usage {
        input_tokens: prompt_tokens - cached_tokens.min(prompt_tokens),
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: cached_tokens,
        output_tokens: completion_tokens,
        output_tokens_details: finished.map(|_| OutputDetails { thinking_tokens }),
        ruminate: finished.map(|_| openai::usage(totals, think).ruminate),
    }
}

/// An error in Anthropic's shape.
pub(super) fn error(error: &Error, id: &RequestId) -> (StatusCode, Value) {
    let status = match error {
        // A code of Anthropic's own, which its clients wait upon.
        Error::Overloaded { .. } => StatusCode::from_u16(529).unwrap_or(error.status()),
        _ => error.status(),
    };
    let body = ErrorBody { kind: "error", error: words(error), request_id: id.0.to_string() };
    (status, json!(body))
}

fn words(error: &Error) -> Words {
    let kind = match error {
        Error::Unauthorized => "authentication_error",
        Error::Forbidden(_) => "permission_error",
        Error::NotFound | Error::NoSuchModel => "not_found_error",
        Error::TooLarge { .. } => "request_too_large",
        Error::Overloaded { .. } => "overloaded_error",
        Error::QueueTimeout | Error::Timeout => "timeout_error",
        Error::Draining { .. } | Error::EngineGone | Error::Internal => "api_error",
        _ => "invalid_request_error",
    };
    let message = match error {
        // Clients look for these words, and make the conversation shorter.
        Error::TooLong { n, max } => format!("prompt is too long: {n} tokens > {max} maximum"),
        Error::Invalid { param: Some(param), message } => {
            // As Anthropic writes a path: `messages.0.content`.
            format!("{}: {message}", param.replace('[', ".").replace(']', ""))
        }
        _ => error.to_string(),
    };
    Words { kind, message }
}

/// The block that is being told.
#[derive(Debug)]
enum Open {
    Thinking(String),
    Text,
    Tool,
}

/// Tells a message block by block.
pub(super) struct MessageTeller {
    head: Head,
    prompt_tokens: usize,
    open: Option<Open>,
    /// Of the block that is open, or comes next.
    index: usize,
    finished: Option<Finished>,
}

impl MessageTeller {
    pub(super) fn new(head: Head, prompt_tokens: usize) -> MessageTeller {
        MessageTeller { head, prompt_tokens, open: None, index: 0, finished: None }
    }

    fn tell(out: &mut String, what: &Event) {
        event(out, Some(what.name()), what);
    }

    fn delta(&self, out: &mut String, delta: Delta) {
        Self::tell(out, &Event::ContentBlockDelta { index: self.index, delta });
    }

    fn start(&mut self, out: &mut String, open: Open, content_block: Content) {
        self.close(out);
        self.open = Some(open);
        Self::tell(out, &Event::ContentBlockStart { index: self.index, content_block });
    }

    fn close(&mut self, out: &mut String) {
        let Some(open) = self.open.take() else { return };
        if let Open::Thinking(thought) = open {
            self.delta(out, Delta::SignatureDelta { signature: self.head.sign(&thought) });
        }
        Self::tell(out, &Event::ContentBlockStop { index: self.index });
        self.index += 1;
    }

    fn begin_message(&mut self, out: &mut String, cached_tokens: usize) {
        let prompt_tokens = self.prompt_tokens;
        let so_far = Totals { prompt_tokens, cached_tokens, ..Totals::default() };
        let message = self.head.message(usage(&so_far, None));
        Self::tell(out, &Event::MessageStart { message });
        Self::tell(out, &Event::Ping);
    }

    fn thinking(&mut self, out: &mut String, thinking: String) {
        if !matches!(self.open, Some(Open::Thinking(_))) {
            let (thinking, signature) = (String::new(), String::new());
            let block = Content::Thinking { thinking, signature };
            self.start(out, Open::Thinking(String::new()), block);
        }
        if let Some(Open::Thinking(thought)) = &mut self.open {
            *thought += &thinking;
        }
        if !self.head.omits_thinking {
            self.delta(out, Delta::ThinkingDelta { thinking });
        }
    }

    fn text(&mut self, out: &mut String, text: String) {
        if !matches!(self.open, Some(Open::Text)) {
            self.start(out, Open::Text, Content::Text { text: String::new() });
        }
        self.delta(out, Delta::TextDelta { text });
    }
}

impl Teller for MessageTeller {
    const KEEP_ALIVE: &'static str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

    fn part(&mut self, out: &mut String, _index: usize, part: Part) {
        match part {
            Part::Started { n_cached } => self.begin_message(out, n_cached),
            Part::Thinking(text) => self.thinking(out, text),
            Part::Text(text) => self.text(out, text),
            Part::ToolStart { id, name, .. } => {
                let block = Content::ToolUse { id, name, input: json!({}) };
                self.start(out, Open::Tool, block);
            }
            // A call ends before the next one begins.
            Part::ToolArguments { json, .. } => {
                self.delta(out, Delta::InputJsonDelta { partial_json: json });
            }
            Part::Finished(finished) => {
                self.close(out);
                self.finished = Some(*finished);
            }
            Part::Prompt(_) | Part::Token(_) | Part::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut String, totals: &Totals) {
        let finished = self.finished.take();
        let delta = ending(finished.as_ref().map_or(&Reason::Stop, |finished| &finished.reason));
        let usage = usage(totals, finished.as_ref());
        Self::tell(out, &Event::MessageDelta { delta, usage });
        Self::tell(out, &Event::MessageStop);
    }

    fn fail(&mut self, out: &mut String, error: &Error) {
        let request_id = self.head.id.0.to_string();
        Self::tell(out, &Event::Error { error: words(error), request_id });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::part::ThinkReport;

    fn head(omits_thinking: bool) -> Head {
        let id = RequestId("r".into());
        Head { id, model: "m".into(), key: SignatureKey::of(b"k"), omits_thinking }
    }

    fn finished(reason: Reason) -> Part {
        let usage = engine::Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            thinking_tokens: 2,
            completion_tokens: 7,
            ..engine::Usage::default()
        };
        let think = ThinkReport::default();
        Part::Finished(Box::new(Finished { reason, usage, bill: None, think }))
    }

    fn call(index: usize, id: &str, json: &[&str]) -> Vec<Part> {
        let start = Part::ToolStart { index, id: id.into(), name: "look".into() };
        let more = json.iter().map(|json| Part::ToolArguments { index, json: (*json).into() });
        std::iter::once(start).chain(more).collect()
    }

    fn parts() -> Vec<Part> {
        let mut parts = vec![
            Part::Started { n_cached: 4 },
            Part::Thinking("h".into()),
            Part::Thinking("m".into()),
            Part::Text("Hel".into()),
            Part::Text("lo".into()),
        ];
        parts.extend(call(0, "t0", &["{\"at\":", "1}"]));
        parts.extend(call(1, "t1", &["{}"]));
        parts.push(finished(Reason::ToolCalls));
        parts
    }

    /// The events of a stream, by name; each name is that of its data.
    fn told(head: Head, parts: Vec<Part>) -> Vec<Value> {
        let mut teller = MessageTeller::new(head, 10);
        let (mut out, mut totals, mut failed) = (String::new(), Totals::default(), false);
        for part in parts {
            match part {
                Part::Failed(error) => {
                    teller.fail(&mut out, &error);
                    failed = true;
                }
                part => {
                    if let Part::Finished(finished) = &part {
                        totals.add(finished, true);
                    }
                    teller.part(&mut out, 0, part);
                }
            }
        }
        if !failed {
            teller.end(&mut out, &totals);
        }
        let frames = out.split_terminator("\n\n").map(|frame| {
            let (name, data) = frame.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        });
        frames.collect()
    }

    /// Type, and what is in it, shortly.
    fn shape(events: &[Value]) -> Vec<String> {
        let of = |event: &Value| {
            let index = event["index"].as_u64().map_or(String::new(), |i| format!(" {i}"));
            let inner = [&event["delta"], &event["content_block"]];
            let inner = inner.iter().find_map(|inner| inner["type"].as_str()).unwrap_or("");
            format!("{}{index} {inner}", event["type"].as_str().unwrap()).trim_end().to_string()
        };
        events.iter().map(of).collect()
    }

    #[test]
    fn the_events_of_a_message_come_in_anthropics_order() {
        let events = told(head(false), parts());
        let expected = [
            "message_start",
            "ping",
            "content_block_start 0 thinking",
            "content_block_delta 0 thinking_delta",
            "content_block_delta 0 thinking_delta",
            "content_block_delta 0 signature_delta",
            "content_block_stop 0",
            "content_block_start 1 text",
            "content_block_delta 1 text_delta",
            "content_block_delta 1 text_delta",
            "content_block_stop 1",
            "content_block_start 2 tool_use",
            "content_block_delta 2 input_json_delta",
            "content_block_delta 2 input_json_delta",
            "content_block_stop 2",
            "content_block_start 3 tool_use",
            "content_block_delta 3 input_json_delta",
            "content_block_stop 3",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(shape(&events), expected);
        let begun = &events[0]["message"];
        assert_eq!((&begun["content"], &begun["stop_reason"]), (&json!([]), &Value::Null));
        assert_eq!(begun["usage"]["input_tokens"], 6);
        assert_eq!(begun["usage"]["cache_read_input_tokens"], 4);
        assert_eq!(events[2]["content_block"]["signature"], "");
        let signature = events[5]["delta"]["signature"].as_str().unwrap();
        assert!(SignatureKey::of(b"k").verify("m", "hm", signature).is_some());
        assert_eq!(events[11]["content_block"]["input"], json!({}));
        let last = &events[events.len() - 2];
        assert_eq!(last["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
        assert_eq!(last["usage"]["output_tokens"], 7);
        assert_eq!(last["usage"]["output_tokens_details"]["thinking_tokens"], 2);
    }

    #[test]
    fn a_whole_message_holds_what_the_stream_tells() {
        let (mut answer, mut totals) = (Answer::default(), Totals::default());
        for part in parts() {
            if let Part::Finished(finished) = &part {
                totals.add(finished, true);
            }
            answer.take(part);
        }
        let whole = json!(message(&head(false), answer, &totals));
        let kinds: Vec<_> =
            whole["content"].as_array().unwrap().iter().map(|c| c["type"].as_str()).collect();
        let expected = ["thinking", "text", "tool_use", "tool_use"];
        assert_eq!(kinds, expected.map(Some));
        assert_eq!(whole["content"][0]["thinking"], "hm");
        assert_eq!(whole["content"][1]["text"], "Hello");
        assert_eq!(whole["content"][2]["input"], json!({"at": 1}));
        assert_eq!(whole["stop_reason"], "tool_use");
        assert_eq!(whole["usage"]["input_tokens"], 6);
    }

    #[test]
    fn thinking_that_is_not_told_goes_with_its_signature() {
        let events = told(head(true), parts());
        let expected = [
            "message_start",
            "ping",
            "content_block_start 0 thinking",
            "content_block_delta 0 signature_delta",
            "content_block_stop 0",
        ];
        assert_eq!(shape(&events)[..5], expected);
        let signature = events[3]["delta"]["signature"].as_str().unwrap();
        let thought = SignatureKey::of(b"k").verify("m", "", signature);
        assert_eq!(thought.as_deref(), Some("hm"));
    }

    #[test]
    fn an_answer_without_thinking_or_words_has_no_block() {
        let parts = vec![Part::Started { n_cached: 0 }, finished(Reason::StopString("X".into()))];
        let events = told(head(false), parts);
        assert_eq!(shape(&events), ["message_start", "ping", "message_delta", "message_stop"]);
        let expected = json!({"stop_reason": "stop_sequence", "stop_sequence": "X"});
        assert_eq!(events[2]["delta"], expected);
    }

    #[test]
    fn a_stream_that_fails_ends_with_an_error() {
        let begun = vec![Part::Started { n_cached: 0 }, Part::Text("a".into())];
        let events = told(head(false), [begun, vec![Part::Failed(Error::Timeout)]].concat());
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["request_id"]), (&json!("error"), &json!("r")));
        assert_eq!(last["error"]["type"], "timeout_error");
    }

    #[test]
    fn errors_have_anthropics_names() {
        let after = Duration::from_secs(1);
        let cases = [
            (Error::invalid("messages[0].role", "no"), 400, "invalid_request_error"),
            (Error::TooLong { n: 9, max: 5 }, 400, "invalid_request_error"),
            (Error::Unauthorized, 401, "authentication_error"),
            (Error::Forbidden("no"), 403, "permission_error"),
            (Error::NoSuchModel, 404, "not_found_error"),
            (Error::TooLarge { max: 1 }, 413, "request_too_large"),
            (Error::Internal, 500, "api_error"),
            (Error::Draining { retry_after: after }, 503, "api_error"),
            (Error::QueueTimeout, 504, "timeout_error"),
            (Error::Overloaded { retry_after: after }, 529, "overloaded_error"),
        ];
        for (fault, status, kind) in cases {
            let (found, body) = error(&fault, &RequestId("r".into()));
            assert_eq!((found.as_u16(), body["error"]["type"].as_str()), (status, Some(kind)));
            assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!("r")));
        }
        let words = words(&Error::invalid("messages[0].content[1]", "no")).message;
        assert_eq!(words, "messages.0.content.1: no");
    }
}
