//! Parts to responses: whole, and streamed item by item.

use serde_json::{Map, Value, json};

use super::answers::{
    Echo, Fault, Incomplete, InputDetails, Item, OutputDetails, Piece, Response, Usage,
};
use crate::error::Error;
use crate::openai;
use crate::part::{Answer, Finished, Part, Reason, Tool, Totals};
use crate::requests::RequestId;
use crate::telling::{Teller, event};

const IN_PROGRESS: &str = "in_progress";
const COMPLETED: &str = "completed";
const INCOMPLETE: &str = "incomplete";

/// What a response is told with, whole or streamed.
pub(super) struct Head {
    pub(super) id: RequestId,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) echo: Echo,
    /// Whether what was thought is told as a summary too.
    pub(super) wants_summary: bool,
}

impl Head {
    fn response(&self, status: &'static str, output: Vec<Item>) -> Response {
        Response {
            id: format!("resp_{}", self.id.0),
            object: "response",
            created_at: self.created,
            status,
            background: false,
            error: None,
            incomplete_details: None,
            model: self.model.clone(),
            output,
            previous_response_id: None,
            store: false,
            truncation: "disabled",
            usage: None,
            echo: self.echo.clone(),
        }
    }

    /// A response that came to its end.
    fn ended(&self, output: Vec<Item>, totals: &Totals, finished: Option<&Finished>) -> Response {
        let is_cut = finished
            .is_some_and(|finished| matches!(finished.reason, Reason::Length | Reason::Loop));
        let mut response = self.response(if is_cut { INCOMPLETE } else { COMPLETED }, output);
        response.incomplete_details = is_cut.then_some(Incomplete { reason: "max_output_tokens" });
        response.usage = Some(usage(totals, finished));
        response
    }

    /// The name of item `index`.
    fn item_id(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}_{index}", self.id.0)
    }

    fn reasoning(&self, index: usize, status: &'static str, thought: &str) -> Item {
        let text = || thought.to_string();
        let pieces = |piece: Piece| if thought.is_empty() { Vec::new() } else { vec![piece] };
        Item::Reasoning {
            id: self.item_id("rs", index),
            status,
            summary: match self.wants_summary {
                true => pieces(Piece::SummaryText { text: text() }),
                false => Vec::new(),
            },
            content: pieces(Piece::ReasoningText { text: text() }),
        }
    }

    fn message(&self, index: usize, status: &'static str, content: Vec<Piece>) -> Item {
        Item::Message { id: self.item_id("msg", index), status, role: "assistant", content }
    }

    fn call(&self, index: usize, status: &'static str, tool: Tool) -> Item {
        let Tool { id: call_id, name, arguments } = tool;
        Item::FunctionCall { id: self.item_id("fc", index), status, call_id, name, arguments }
    }
}

fn output_text(text: String) -> Piece {
    Piece::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() }
}

/// The whole of an answer.
pub(super) fn response(head: &Head, answer: Answer, totals: &Totals) -> Response {
    let finished = answer.end.as_ref().and_then(|end| end.as_ref().ok());
    let mut output = Vec::new();
    if !answer.thinking.is_empty() {
        output.push(head.reasoning(output.len(), COMPLETED, &answer.thinking));
    }
    if !answer.text.is_empty() {
        let content = vec![output_text(answer.text.clone())];
        output.push(head.message(output.len(), COMPLETED, content));
    }
    for tool in &answer.tools {
        output.push(head.call(output.len(), COMPLETED, tool.clone()));
    }
    head.ended(output, totals, finished)
}

fn usage(totals: &Totals, finished: Option<&Finished>) -> Usage {
    let Totals { prompt_tokens, cached_tokens, completion_tokens, thinking_tokens, .. } = *totals;
    let think = finished.map(|finished| openai::thinking(&finished.think));
    Usage {
        input_tokens: prompt_tokens,
        input_tokens_details: InputDetails { cached_tokens },
        output_tokens: completion_tokens,
        output_tokens_details: OutputDetails { reasoning_tokens: thinking_tokens },
        total_tokens: prompt_tokens + completion_tokens,
        ruminate: openai::usage(totals, think).ruminate,
    }
}

/// The item that is being told.
#[derive(Debug)]
enum Open {
    Thinking(String),
    Text(String),
    Call(Tool),
}

/// Tells a response item by item.
pub(super) struct ResponseTeller {
    head: Head,
    /// Of the next event.
    number: u64,
    open: Option<Open>,
    output: Vec<Item>,
    finished: Option<Finished>,
}

impl ResponseTeller {
    pub(super) fn new(head: Head) -> ResponseTeller {
        ResponseTeller { head, number: 0, open: None, output: Vec::new(), finished: None }
    }

    /// One event; `data` is what it has besides its type and its number.
    fn tell(&mut self, out: &mut String, kind: &str, data: Value) {
        let mut whole = Map::new();
        whole.insert("type".into(), kind.into());
        whole.insert("sequence_number".into(), self.number.into());
        if let Value::Object(data) = data {
            whole.extend(data);
        }
        self.number += 1;
        event(out, Some(kind), &whole);
    }

    /// An event of a piece of the open item.
    fn tell_of(&mut self, out: &mut String, kind: &str, id: &str, (name, value): (&str, Value)) {
        let index = if kind.contains("summary") { "summary_index" } else { "content_index" };
        let mut data = json!({"item_id": id, "output_index": self.output.len()});
        if !kind.contains("function_call") {
            data[index] = 0.into();
        }
        data[name] = value;
        if kind.contains("output_text") {
            data["logprobs"] = json!([]);
        }
        self.tell(out, kind, data);
    }

    fn add_item(&mut self, out: &mut String, item: &Item) {
        let data = json!({"output_index": self.output.len(), "item": item});
        self.tell(out, "response.output_item.added", data);
    }

    fn thinking(&mut self, out: &mut String, text: &str) {
        if !matches!(self.open, Some(Open::Thinking(_))) {
            self.close(out);
            let index = self.output.len();
            let id = self.head.item_id("rs", index);
            let item = self.head.reasoning(index, IN_PROGRESS, "");
            self.add_item(out, &item);
            if self.head.wants_summary {
                let part = ("part", json!(Piece::SummaryText { text: String::new() }));
                self.tell_of(out, "response.reasoning_summary_part.added", &id, part);
            }
            let part = ("part", json!(Piece::ReasoningText { text: String::new() }));
            self.tell_of(out, "response.content_part.added", &id, part);
            self.open = Some(Open::Thinking(String::new()));
        }
        let id = self.head.item_id("rs", self.output.len());
        if self.head.wants_summary {
            let delta = ("delta", text.into());
            self.tell_of(out, "response.reasoning_summary_text.delta", &id, delta);
        }
        self.tell_of(out, "response.reasoning_text.delta", &id, ("delta", text.into()));
        if let Some(Open::Thinking(thought)) = &mut self.open {
            *thought += text;
        }
    }

    fn text(&mut self, out: &mut String, text: &str) {
        if !matches!(self.open, Some(Open::Text(_))) {
            self.close(out);
            let index = self.output.len();
            let item = self.head.message(index, IN_PROGRESS, Vec::new());
            self.add_item(out, &item);
            let id = self.head.item_id("msg", index);
            let part = ("part", json!(output_text(String::new())));
            self.tell_of(out, "response.content_part.added", &id, part);
            self.open = Some(Open::Text(String::new()));
        }
        let id = self.head.item_id("msg", self.output.len());
        self.tell_of(out, "response.output_text.delta", &id, ("delta", text.into()));
        if let Some(Open::Text(said)) = &mut self.open {
            *said += text;
        }
    }

    fn call(&mut self, out: &mut String, id: String, name: String) {
        self.close(out);
        let tool = Tool { id, name, arguments: String::new() };
        let item = self.head.call(self.output.len(), IN_PROGRESS, tool.clone());
        self.add_item(out, &item);
        self.open = Some(Open::Call(tool));
    }

    fn arguments(&mut self, out: &mut String, json: &str) {
        let id = self.head.item_id("fc", self.output.len());
        self.tell_of(out, "response.function_call_arguments.delta", &id, ("delta", json.into()));
        if let Some(Open::Call(tool)) = &mut self.open {
            tool.arguments += json;
        }
    }

    /// Ends the item that is open.
    fn close(&mut self, out: &mut String) {
        let index = self.output.len();
        let item = match self.open.take() {
            None => return,
            Some(Open::Thinking(thought)) => {
                let id = self.head.item_id("rs", index);
                if self.head.wants_summary {
                    let text = ("text", thought.as_str().into());
                    self.tell_of(out, "response.reasoning_summary_text.done", &id, text);
                    let part = ("part", json!(Piece::SummaryText { text: thought.clone() }));
                    self.tell_of(out, "response.reasoning_summary_part.done", &id, part);
                }
                let text = ("text", thought.as_str().into());
                self.tell_of(out, "response.reasoning_text.done", &id, text);
                let part = ("part", json!(Piece::ReasoningText { text: thought.clone() }));
                self.tell_of(out, "response.content_part.done", &id, part);
                self.head.reasoning(index, COMPLETED, &thought)
            }
            Some(Open::Text(said)) => {
                let id = self.head.item_id("msg", index);
                let text = ("text", said.as_str().into());
                self.tell_of(out, "response.output_text.done", &id, text);
                let piece = output_text(said);
                self.tell_of(out, "response.content_part.done", &id, ("part", json!(piece)));
                self.head.message(index, COMPLETED, vec![piece])
            }
            Some(Open::Call(tool)) => {
                let data = json!({"item_id": self.head.item_id("fc", index),
                    "output_index": index, "name": tool.name, "arguments": tool.arguments});
                self.tell(out, "response.function_call_arguments.done", data);
                self.head.call(index, COMPLETED, tool)
            }
        };
        let data = json!({"output_index": index, "item": item});
        self.tell(out, "response.output_item.done", data);
        self.output.push(item);
    }
}

impl Teller for ResponseTeller {
    fn begin(&mut self, out: &mut String) {
        let response = json!({"response": self.head.response(IN_PROGRESS, Vec::new())});
        self.tell(out, "response.created", response.clone());
        self.tell(out, "response.in_progress", response);
    }

    fn part(&mut self, out: &mut String, _index: usize, part: Part) {
        match part {
            Part::Thinking(text) => self.thinking(out, &text),
            Part::Text(text) => self.text(out, &text),
            Part::ToolStart { id, name, .. } => self.call(out, id, name),
            // A call ends before the next one begins.
            Part::ToolArguments { json, .. } => self.arguments(out, &json),
            Part::Finished(finished) => {
                self.close(out);
                self.finished = Some(*finished);
            }
            Part::Started { .. } | Part::Prompt(_) | Part::Token(_) | Part::Failed(_) => {}
        }
    }

    fn end(&mut self, out: &mut String, totals: &Totals) {
        let output = std::mem::take(&mut self.output);
        let response = self.head.ended(output, totals, self.finished.as_ref());
        let kind = format!("response.{}", response.status);
        self.tell(out, &kind, json!({"response": response}));
    }

    fn fail(&mut self, out: &mut String, error: &Error) {
        let mut response = self.head.response("failed", std::mem::take(&mut self.output));
        let code = match error {
            Error::TooLong { .. } => "context_length_exceeded",
            Error::Overloaded { .. } => "rate_limit_exceeded",
            Error::Invalid { .. } => "invalid_prompt",
            _ => "server_error",
        };
        response.error = Some(Fault { code, message: error.to_string() });
        self.tell(out, "response.failed", json!({"response": response}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::ThinkReport;

    fn head(wants_summary: bool) -> Head {
        let id = RequestId("r".into());
        Head { id, created: 1, model: "m".into(), echo: Echo::default(), wants_summary }
    }

    fn parts(reason: Reason) -> Vec<Part> {
        let usage = engine::Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            thinking_tokens: 2,
            completion_tokens: 7,
            ..engine::Usage::default()
        };
        let think = ThinkReport::default();
        let start =
            |index: usize, id: &str| Part::ToolStart { index, id: id.into(), name: "look".into() };
        let more = |index: usize, json: &str| Part::ToolArguments { index, json: json.into() };
        vec![
            Part::Started { n_cached: 4 },
            Part::Thinking("h".into()),
            Part::Thinking("m".into()),
            Part::Text("Hel".into()),
            Part::Text("lo".into()),
            start(0, "c0"),
            more(0, "{\"at\":"),
            more(0, "1}"),
            start(1, "c1"),
            more(1, "{}"),
            Part::Finished(Box::new(Finished { reason, usage, bill: None, think })),
        ]
    }

    /// The events of a stream; each name is that of its data, and each is numbered.
    fn told(head: Head, parts: Vec<Part>) -> Vec<Value> {
        let mut teller = ResponseTeller::new(head);
        let (mut out, mut totals, mut failed) = (String::new(), Totals::default(), false);
        teller.begin(&mut out);
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
        let frames = out.split_terminator("\n\n").enumerate().map(|(i, frame)| {
            let (name, data) = frame.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            assert_eq!(data["sequence_number"], i);
            data
        });
        frames.collect()
    }

    fn shape(events: &[Value]) -> Vec<String> {
        let of = |event: &Value| {
            let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
            match event["output_index"].as_u64() {
                Some(index) => format!("{kind} {index}"),
                None => kind.to_string(),
            }
        };
        events.iter().map(of).collect()
    }

    #[test]
    fn the_events_of_a_response_come_in_their_order() {
        let events = told(head(false), parts(Reason::ToolCalls));
        let expected = [
            "created",
            "in_progress",
            "output_item.added 0",
            "content_part.added 0",
            "reasoning_text.delta 0",
            "reasoning_text.delta 0",
            "reasoning_text.done 0",
            "content_part.done 0",
            "output_item.done 0",
            "output_item.added 1",
            "content_part.added 1",
            "output_text.delta 1",
            "output_text.delta 1",
            "output_text.done 1",
            "content_part.done 1",
            "output_item.done 1",
            "output_item.added 2",
            "function_call_arguments.delta 2",
            "function_call_arguments.delta 2",
            "function_call_arguments.done 2",
            "output_item.done 2",
            "output_item.added 3",
            "function_call_arguments.delta 3",
            "function_call_arguments.done 3",
            "output_item.done 3",
            "completed",
        ];
        assert_eq!(shape(&events), expected);
        for event in &events {
            let item = &event["item"]["id"];
            if event["type"] == "response.output_item.added" {
                let index = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
                assert_eq!(&events.last().unwrap()["response"]["output"][index]["id"], item);
            }
        }
        assert_eq!(events[5]["item_id"], events[2]["item"]["id"]);
        assert_eq!(events[6]["text"], "hm");
        assert_eq!(events[13]["text"], "Hello");
        assert_eq!(events[19]["arguments"], "{\"at\":1}");
        assert_eq!(events[20]["item"]["call_id"], "c0");
        let usage = &events.last().unwrap()["response"]["usage"];
        assert_eq!(usage["input_tokens_details"]["cached_tokens"], 4);
        assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 2);
        assert_eq!(
            (&usage["total_tokens"], &events[0]["response"]["usage"]),
            (&json!(17), &Value::Null)
        );
    }

    #[test]
    fn a_summary_is_told_beside_what_was_thought_if_it_is_wanted() {
        let events = told(head(true), parts(Reason::Stop));
        let expected = [
            "output_item.added 0",
            "reasoning_summary_part.added 0",
            "content_part.added 0",
            "reasoning_summary_text.delta 0",
            "reasoning_text.delta 0",
            "reasoning_summary_text.delta 0",
            "reasoning_text.delta 0",
            "reasoning_summary_text.done 0",
            "reasoning_summary_part.done 0",
            "reasoning_text.done 0",
            "content_part.done 0",
            "output_item.done 0",
        ];
        assert_eq!(shape(&events)[2..14], expected);
        let item = &events.last().unwrap()["response"]["output"][0];
        assert_eq!(item["summary"], json!([{"type": "summary_text", "text": "hm"}]));
        assert_eq!(item["content"], json!([{"type": "reasoning_text", "text": "hm"}]));
    }

    #[test]
    fn a_whole_response_holds_what_the_stream_tells() {
        for reason in [Reason::Stop, Reason::Length] {
            let streamed = told(head(true), parts(reason.clone()));
            let (mut answer, mut totals) = (Answer::default(), Totals::default());
            for part in parts(reason.clone()) {
                if let Part::Finished(finished) = &part {
                    totals.add(finished, true);
                }
                answer.take(part);
            }
            let whole = json!(response(&head(true), answer, &totals));
            assert_eq!(whole, streamed.last().unwrap()["response"]);
            let status = if reason == Reason::Length { "incomplete" } else { "completed" };
            assert_eq!(whole["status"], status);
        }
    }

    #[test]
    fn a_stream_that_fails_says_so_and_keeps_what_is_done() {
        let mut parts = parts(Reason::Stop);
        parts.truncate(5);
        parts.push(Part::Failed(Error::Timeout));
        let events = told(head(false), parts);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.failed");
        assert_eq!(last["response"]["status"], "failed");
        assert_eq!(last["response"]["error"]["code"], "server_error");
        assert_eq!(last["response"]["output"].as_array().unwrap().len(), 1);
    }
}
