//! Which format a chat template writes: it is shown a call, and what it makes of it is read back.

use serde_json::{Value, json};

use super::{Shows, ToolFormat, ToolParser, ToolPiece, ToolStyle, marks};
use crate::{ChatTemplate, Conversation, Message, RenderOptions, Role, Tokenizer, ToolCall};

/// Words that no template has of its own.
const NAME: &str = "qzxv_f";
const VALUE: &str = "qzxv_value";
const TEXT: &str = "qzxv_text";

impl ToolFormat {
    /// The format of calls that `template` writes; none if it writes no calls, or in no format
    /// that is known. What else it does is tried out too.
    pub fn of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Self> {
        let shown = rendered(template, vec![called(1, "")], false)?;
        let marked = [
            ToolStyle::Tags,
            ToolStyle::Deepseek { fenced: shown.contains("```json") },
            ToolStyle::Mistral { named: shown.contains("[ARGS]") },
            ToolStyle::Hermes,
        ];
        let style = marked.into_iter().find(|&style| reads_back(style, &shown)).or_else(|| {
            let arguments =
                if shown.contains("\"parameters\"") { "parameters" } else { "arguments" };
            let style = ToolStyle::Json { arguments };
            // It is the whole answer, so it is looked for where answers begin.
            let before = rendered(template, Vec::new(), false)?;
            let answer = shown.strip_prefix(common(&before, &shown))?;
            let begins = answer.match_indices('{').map(|(at, _)| &answer[at..]).take(4);
            begins.into_iter().any(|answer| reads_back(style, answer)).then_some(style)
        })?;
        let text_too = rendered(template, vec![called(1, TEXT)], false);
        let text_too = text_too.is_some_and(|text| text.contains(VALUE) && text.contains(TEXT));
        let several = rendered(template, vec![called(2, "")], false);
        let several = several.is_some_and(|text| text.matches(VALUE).count() == 2);
        let tools = rendered(template, Vec::new(), true).is_some_and(|text| text.contains(NAME));
        let controls = marks::controls(style, tokenizer);
        let template = Shows { tools, calls: true, several, text_too };
        Some(Self { style, controls, template })
    }
}

/// An answer that calls the tool so many times.
fn called(n: usize, text: &str) -> Message {
    let mut message = Message::new(Role::Assistant, text);
    message.tool_calls = (0..n)
        .map(|index| ToolCall {
            // Mistral's templates insist on nine letters.
            id: Some(format!("qzxv0000{index}")),
            name: NAME.into(),
            arguments: json!({"a": VALUE}),
        })
        .collect();
    message
}

fn tool() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"a": {"type": "string", "description": "b"}},
        "required": ["a"],
    });
    json!({
        "type": "function",
        "function": {"name": NAME, "description": "c", "parameters": parameters},
    })
}

fn rendered(template: &ChatTemplate, rest: Vec<Message>, with_tool: bool) -> Option<String> {
    let mut messages = vec![Message::new(Role::User, "a")];
    messages.extend(rest);
    let tools = if with_tool { vec![tool()] } else { Vec::new() };
    let conversation = Conversation { messages, tools };
    let prompt = template.render(&conversation, &RenderOptions::default()).ok()?;
    Some(prompt.text())
}

/// Whether a text of this style holds the one call, whole.
fn reads_back(style: ToolStyle, text: &str) -> bool {
    let mut parser = ToolParser::of_style(style, &[tool()]);
    let mut pieces = Vec::new();
    parser.push(text, &mut pieces);
    parser.finish(&mut pieces);
    let mut arguments = String::new();
    let mut ended = false;
    for piece in pieces {
        match piece {
            ToolPiece::Text(_) => {}
            ToolPiece::Start { name, .. } if name == NAME => {}
            ToolPiece::Start { .. } => return false,
            ToolPiece::Arguments { json, .. } => arguments += &json,
            ToolPiece::End { .. } => ended = true,
        }
    }
    ended
        && serde_json::from_str::<Value>(&arguments)
            .is_ok_and(|arguments| arguments == json!({"a": VALUE}))
}

/// The longest beginning that both have.
fn common<'t>(a: &'t str, b: &str) -> &'t str {
    let same = a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b);
    &a[..same.map_or(a.len().min(b.len()), |((at, _), _)| at)]
}
