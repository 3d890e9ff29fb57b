//! Parts to Ollama's lines of JSON: whole, and one a piece.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::answers::{Chat, ErrorBody, Figures, Generated, Said};
use super::types::{Function, ToolCall};
use crate::error::Error;
use crate::part::{Answer, Finished, Part, Reason, Tool, Totals};
use crate::requests::RequestId;
use crate::state::now_unix_s;
use crate::telling::Teller;
use crate::turns::arguments;

const LINES: &str = "application/x-ndjson";

/// The time now, as Ollama writes it.
pub(super) fn now() -> String {
    time(now_unix_s())
}

pub(super) fn time(unix_s: u64) -> String {
    text::strftime("%Y-%m-%dT%H:%M:%SZ", i64::try_from(unix_s).unwrap_or(i64::MAX))
}

fn figures(finished: &Finished) -> Figures {
    let usage = &finished.usage;
    let ns = |us: u64| Some(us.saturating_mul(1000));
    Figures {
        total_duration: ns(usage.queue_us + usage.prompt_us + usage.decode_us),
        load_duration: Some(0),
        prompt_eval_count: Some(usage.prompt_tokens),
        prompt_eval_duration: ns(usage.prompt_us),
        eval_count: Some(usage.completion_tokens),
        eval_duration: ns(usage.decode_us),
    }
}

fn reason(finished: &Finished) -> &'static str {
    match finished.reason {
        Reason::Length | Reason::Loop => "length",
        Reason::Stop | Reason::StopString(_) | Reason::ToolCalls => "stop",
    }
}

fn call(index: usize, tool: Tool) -> ToolCall {
    let Tool { id, name, arguments: json } = tool;
    let function = Function { index: Some(index), name, arguments: arguments(json) };
    ToolCall { id: Some(id), function }
}

/// A line that says nothing: there is a model, and it is loaded.
pub(super) fn loaded_chat(model: &str) -> Chat {
    let done_reason = Some("load");
    Chat { done: true, done_reason, ..piece_of_chat(model, Said::default()) }
}

/// The same for one prompt.
pub(super) fn loaded(model: &str) -> Generated {
    let (model, created_at) = (model.to_string(), now());
    let done_reason = Some("load");
    Generated { model, created_at, done: true, done_reason, ..Generated::default() }
}

fn piece_of_chat(model: &str, said: Said) -> Chat {
    let message = Said { role: "assistant", ..said };
    Chat { model: model.into(), created_at: now(), message, ..Chat::default() }
}

/// The whole of a chat.
pub(super) fn chat(model: &str, answer: Answer) -> Chat {
    let Answer { thinking, text: content, tools, end, .. } = answer;
    let tool_calls = tools.into_iter().enumerate().map(|(i, tool)| call(i, tool)).collect();
    let mut line = piece_of_chat(model, Said { content, thinking, tool_calls, role: "" });
    line.done = true;
    if let Some(Ok(finished)) = &end {
        (line.done_reason, line.figures) = (Some(reason(finished)), figures(finished));
    }
    line
}

/// The whole of an answer to one prompt.
pub(super) fn generated(model: &str, answer: Answer) -> Generated {
    let Answer { thinking, text: response, end, .. } = answer;
    let end = end.as_ref().and_then(|end| end.as_ref().ok());
    Generated {
        model: model.into(),
        created_at: now(),
        response,
        thinking,
        done: true,
        done_reason: end.map(reason),
        figures: end.map(figures).unwrap_or_default(),
    }
}

/// An error in Ollama's shape.
pub(super) fn error(error: &Error, _id: &RequestId) -> (StatusCode, Value) {
    let words = match error {
        Error::Invalid { param: Some(param), message } => format!("{param}: {message}"),
        _ => error.to_string(),
    };
    (error.status(), json!(ErrorBody { error: words }))
}

fn line(out: &mut String, data: &impl Serialize) {
    // Our own types are JSON, and JSON has no line ends but in strings, where they are escaped.
    *out += &serde_json::to_string(data).unwrap_or_default();
    out.push('\n');
}

fn fail(out: &mut String, fault: &Error) {
    line(out, &error(fault, &RequestId("".into())).1);
}

/// Tells a chat line by line; a call of a tool is told once it is whole.
pub(super) struct ChatTeller {
    model: String,
    call: Option<(usize, Tool)>,
    finished: Option<Finished>,
}

impl ChatTeller {
    pub(super) fn new(model: &str) -> ChatTeller {
        ChatTeller { model: model.into(), call: None, finished: None }
    }

    fn say(&self, out: &mut String, said: Said) {
        line(out, &piece_of_chat(&self.model, said));
    }

    fn end_call(&mut self, out: &mut String) {
        if let Some((index, tool)) = self.call.take() {
            let tool_calls = vec![call(index, tool)];
            self.say(out, Said { tool_calls, ..Said::default() });
        }
    }
}

impl Teller for ChatTeller {
    const CONTENT_TYPE: &'static str = LINES;
    const KEEP_ALIVE: &'static str =
        "{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":false}\n";

    fn part(&mut self, out: &mut String, _index: usize, part: Part) {
        match part {
            Part::Thinking(thinking) => self.say(out, Said { thinking, ..Said::default() }),
            Part::Text(content) => self.say(out, Said { content, ..Said::default() }),
            Part::ToolStart { index, id, name } => {
                self.end_call(out);
                self.call = Some((index, Tool { id, name, arguments: String::new() }));
            }
            Part::ToolArguments { json, .. } => {
                if let Some((_, tool)) = &mut self.call {
                    tool.arguments += &json;
                }
            }
            Part::Finished(finished) => {
                self.end_call(out);
                self.finished = Some(*finished);
            }
            Part::Started { .. } | Part::Prompt(_) | Part::Token(_) | Part::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut String, _totals: &Totals) {
        let mut last = piece_of_chat(&self.model, Said::default());
        last.done = true;
        last.done_reason = self.finished.as_ref().map(reason);
        last.figures = self.finished.as_ref().map(figures).unwrap_or_default();
        line(out, &last);
    }

    fn fail(&mut self, out: &mut String, error: &Error) {
        fail(out, error);
    }
}

/// Tells an answer to one prompt line by line.
pub(super) struct GenerateTeller {
    model: String,
    finished: Option<Finished>,
}

impl GenerateTeller {
    pub(super) fn new(model: &str) -> GenerateTeller {
        GenerateTeller { model: model.into(), finished: None }
    }

    fn piece(&self) -> Generated {
        Generated { model: self.model.clone(), created_at: now(), ..Generated::default() }
    }
}

impl Teller for GenerateTeller {
    const CONTENT_TYPE: &'static str = LINES;
    const KEEP_ALIVE: &'static str = "{\"response\":\"\",\"done\":false}\n";

    fn part(&mut self, out: &mut String, _index: usize, part: Part) {
        match part {
            Part::Thinking(thinking) => line(out, &Generated { thinking, ..self.piece() }),
            Part::Text(response) => line(out, &Generated { response, ..self.piece() }),
            Part::Finished(finished) => self.finished = Some(*finished),
            _ => {}
        }
    }

    fn end(&mut self, out: &mut String, _totals: &Totals) {
        let done_reason = self.finished.as_ref().map(reason);
        let figures = self.finished.as_ref().map(figures).unwrap_or_default();
        line(out, &Generated { done: true, done_reason, figures, ..self.piece() });
    }

    fn fail(&mut self, out: &mut String, error: &Error) {
        fail(out, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::ThinkReport;

    fn parts() -> Vec<Part> {
        let usage = engine::Usage {
            prompt_tokens: 10,
            completion_tokens: 7,
            queue_us: 1,
            prompt_us: 20,
            decode_us: 300,
            ..engine::Usage::default()
        };
        let (reason, think) = (Reason::Length, ThinkReport::default());
        let start = |index: usize| Part::ToolStart { index, id: "c".into(), name: "look".into() };
        let more = |index: usize, json: &str| Part::ToolArguments { index, json: json.into() };
        vec![
            Part::Started { n_cached: 0 },
            Part::Thinking("hm".into()),
            Part::Text("Hel".into()),
            Part::Text("lo".into()),
            start(0),
            more(0, "{\"at\":"),
            more(0, "1}"),
            start(1),
            more(1, "{}"),
            Part::Finished(Box::new(Finished { reason, usage, bill: None, think })),
        ]
    }

    fn lines<T: Teller>(mut teller: T) -> Vec<Value> {
        let mut out = String::new();
        parts().into_iter().for_each(|part| teller.part(&mut out, 0, part));
        teller.end(&mut out, &Totals::default());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_chat_is_told_in_lines_with_whole_calls_and_figures_at_the_end() {
        let lines = lines(ChatTeller::new("m"));
        let said: Vec<&Value> = lines.iter().map(|line| &line["message"]).collect();
        assert_eq!(said[0]["thinking"], "hm");
        assert_eq!((&said[1]["content"], &said[2]["content"]), (&json!("Hel"), &json!("lo")));
        let call = |i: usize| &said[i]["tool_calls"][0]["function"];
        assert_eq!(call(3)["arguments"], json!({"at": 1}));
        assert_eq!((&call(4)["index"], &call(4)["arguments"]), (&json!(1), &json!({})));
        let last = lines.last().unwrap();
        assert_eq!(
            (lines.len(), &last["done"], &last["done_reason"]),
            (6, &json!(true), &json!("length"))
        );
        assert_eq!(last["total_duration"], 321_000);
        assert_eq!((&last["eval_count"], &last["eval_duration"]), (&json!(7), &json!(300_000)));
        assert!(lines[..5].iter().all(|line| line["done"] == false && line["model"] == "m"));
    }

    #[test]
    fn an_answer_to_one_prompt_is_told_in_lines() {
        let lines = lines(GenerateTeller::new("m"));
        assert_eq!(lines[0]["thinking"], "hm");
        assert_eq!(lines[2]["response"], "lo");
        assert_eq!((&lines[3]["done"], &lines[3]["prompt_eval_count"]), (&json!(true), &json!(10)));
    }

    #[test]
    fn lines_that_keep_a_stream_alive_are_json() {
        for line in [ChatTeller::KEEP_ALIVE, GenerateTeller::KEEP_ALIVE] {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["done"], false);
        }
    }

    #[test]
    fn times_are_written_as_everywhere() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
    }
}
