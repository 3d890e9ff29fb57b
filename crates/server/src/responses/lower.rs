//! Responses' words to asks.

use engine::sampler::PartialParams;
use serde_json::{Value, json};
use text::Conversation;

use super::types::{Format, Input, Item, Piece, ResponsesRequest, Role, Tool, ToolChoice, Words};
use crate::ask::{self, Ask, Grammar, Prompt};
use crate::error::Error;
use crate::openai::of_effort;
use crate::openai::types::{FormatKind, ToolMode};
use crate::turns::{self, Turns, arguments};

/// The ask of a response.
pub(super) fn ask(request: ResponsesRequest) -> Result<Ask, Error> {
    check_kept(&request)?;
    let conversation = conversation(request.input, request.instructions, request.tools)?;
    let mut ask = Ask::new(Prompt::Chat(conversation));
    ask.max_tokens = request.max_output_tokens.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if ask.max_tokens == Some(0) {
        return Err(Error::invalid("max_output_tokens", "an answer of no tokens was asked for"));
    }
    ask.tool_choice = match request.tool_choice {
        None | Some(ToolChoice::Mode(ToolMode::Auto)) => ask::ToolChoice::Auto,
        Some(ToolChoice::Mode(ToolMode::None)) => ask::ToolChoice::None,
        Some(ToolChoice::Mode(ToolMode::Required)) => ask::ToolChoice::Required,
        Some(ToolChoice::Function(chosen)) => match chosen.name {
            Some(name) if chosen.kind == "function" => ask::ToolChoice::Named(name),
            _ => return Err(Error::invalid("tool_choice", "only a function can be chosen")),
        },
    };
    ask.parallel_tool_calls = request.parallel_tool_calls.unwrap_or(true);
    let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
    ask.think = effort.map(of_effort).unwrap_or_default();
    ask.grammar = match request.text.and_then(|text| text.format) {
        None | Some(Format { kind: FormatKind::Text, .. }) => None,
        Some(Format { kind: FormatKind::JsonObject, .. }) => Some(Grammar::JsonObject),
        Some(Format { kind: FormatKind::JsonSchema, schema: Some(schema) }) => {
            Some(Grammar::JsonSchema(schema))
        }
        Some(Format { kind: FormatKind::JsonSchema, schema: None }) => {
            return Err(Error::invalid("text.format", "missing field `schema`"));
        }
    };
    ask.ignore_stops = request.ignore_eos.unwrap_or(false);
    ask.params = PartialParams {
        temperature: request.temperature,
        top_p: request.top_p,
        // Any 64 bits are a seed.
        seed: request.seed.map(i64::cast_unsigned),
        ..PartialParams::default()
    };
    Ok(ask)
}

/// Nothing is kept here that a request could go on from.
fn check_kept(request: &ResponsesRequest) -> Result<(), Error> {
    let is_there = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
    let kept = [
        ("previous_response_id", request.previous_response_id.is_some()),
        ("conversation", is_there(&request.conversation)),
        ("prompt", is_there(&request.prompt)),
    ];
    if let Some((param, _)) = kept.into_iter().find(|(_, is_there)| *is_there) {
        let message = "responses are not kept here: send the whole conversation as `input`";
        return Err(Error::invalid(param, message));
    }
    match request.background {
        Some(true) => Err(Error::invalid("background", "answers are not made in the background")),
        _ => Ok(()),
    }
}

fn conversation(
    input: Input,
    instructions: Option<String>,
    tools: Option<Vec<Tool>>,
) -> Result<Conversation, Error> {
    let mut turns = Turns::default();
    if let Some(instructions) = instructions.filter(|text| !text.is_empty()) {
        turns.system(&instructions);
    }
    match input {
        Input::Text(text) => turns.user(&text),
        Input::Items(items) => {
            for (i, of) in items.into_iter().enumerate() {
                item(&mut turns, of, &format!("input[{i}]"))?;
            }
        }
    }
    if turns.last().is_none_or(|role| role == text::Role::System) {
        return Err(Error::invalid("input", "there must be at least one message"));
    }
    let tools = tools.unwrap_or_default().into_iter().filter(|tool| tool.kind == "function");
    let tools = tools.map(|tool| match tool.name {
        Some(name) => {
            let empty = || json!({"type": "object", "properties": {}});
            Ok(turns::tool(&name, tool.description, tool.parameters.unwrap_or_else(empty)))
        }
        None => Err(Error::invalid("tools", "missing field `name`")),
    });
    let tools = tools.collect::<Result<_, _>>()?;
    Ok(turns.with_tools(tools))
}

fn item(turns: &mut Turns, item: Item, at: &str) -> Result<(), Error> {
    let kind = item.kind.as_deref().unwrap_or("message");
    match kind {
        "message" => {
            let text = words(needed(item.content, "content", at)?, at)?;
            match needed(item.role, "role", at)? {
                Role::User => turns.user(&text),
                Role::Assistant => turns.assistant(&text),
                Role::System | Role::Developer => turns.system(&text),
            }
        }
        "reasoning" => {
            let thought = match (item.content, item.summary) {
                (Some(content), _) => words(content, at)?,
                (None, Some(summary)) => words(Words::Pieces(summary), at)?,
                (None, None) => String::new(),
            };
            if !thought.is_empty() {
                turns.thinking(&thought);
            }
        }
        "function_call" | "custom_tool_call" => {
            let with = match kind {
                "function_call" => arguments(item.arguments.unwrap_or_default()),
                _ => json!({"input": item.input.unwrap_or_default()}),
            };
            turns.call(needed(item.call_id, "call_id", at)?, needed(item.name, "name", at)?, with);
        }
        "function_call_output" | "custom_tool_call_output" => {
            let output = words(needed(item.output, "output", at)?, at)?;
            turns.result(needed(item.call_id, "call_id", at)?, output);
        }
        _ => return Err(Error::invalid(at, "an item of this type is not understood here")),
    }
    Ok(())
}

fn needed<T>(field: Option<T>, name: &str, at: &str) -> Result<T, Error> {
    field.ok_or_else(|| Error::invalid(at, format!("missing field `{name}`")))
}

fn words(words: Words, at: &str) -> Result<String, Error> {
    let pieces = match words {
        Words::Text(text) => return Ok(text),
        Words::Pieces(pieces) => pieces,
    };
    let mut whole = String::new();
    for Piece { kind, text, refusal } in pieces {
        match (kind.as_str(), text.or(refusal)) {
            ("input_image" | "input_file" | "input_audio", _) => {
                let message = "the model reads text alone: no images, files or sounds";
                return Err(Error::invalid(at, message));
            }
            (_, Some(text)) => whole += &text,
            (_, None) => return Err(Error::invalid(at, "missing field `text`")),
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{ThinkMode, ThinkWish};

    fn asked(fields: Value) -> Result<Ask, Error> {
        let mut body = json!({"input": "Hello"});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        ask(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn items_become_turns_with_thoughts_calls_and_results() {
        let ask = asked(json!({"instructions": "Be brief.", "store": false, "include": ["x"],
            "tools": [{"type": "function", "name": "look", "parameters": {"a": 1}, "strict": false},
                      {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": false,
            "reasoning": {"effort": "low", "summary": "auto"},
            "input": [
            {"type": "message", "role": "developer", "content": [
                {"type": "input_text", "text": "Rules."}]},
            {"role": "user", "content": "a"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
             "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "I look.", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"at\": 1}"},
            {"type": "function_call_output", "call_id": "c1", "output": "gone"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}],
             "encrypted_content": null},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "+a"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "done"}]}]}))
        .unwrap();
        let Prompt::Chat(talk) = &ask.prompt else { panic!("a chat") };
        let said: Vec<_> =
            talk.messages.iter().map(|m| (m.role.name(), m.content.as_str())).collect();
        let expected = [
            ("system", "Be brief.\n\nRules."),
            ("user", "a"),
            ("assistant", "I look."),
            ("tool", "gone"),
            ("assistant", ""),
            ("tool", "done"),
        ];
        assert_eq!(said, expected);
        assert_eq!(talk.messages[2].reasoning.as_deref(), Some("hm"));
        assert_eq!(talk.messages[2].tool_calls[0].arguments["at"], 1);
        assert_eq!(talk.messages[4].reasoning.as_deref(), Some("s"));
        assert_eq!(talk.messages[4].tool_calls[0].arguments["input"], "+a");
        assert_eq!(talk.tools.len(), 1, "what cannot be run is not offered");
        assert_eq!(talk.tools[0]["function"]["parameters"]["a"], 1);
        assert_eq!(ask.tool_choice, ask::ToolChoice::Named("look".into()));
        assert_eq!(ask.think, ThinkWish::within(2048));
        assert!(!ask.parallel_tool_calls);
    }

    #[test]
    fn forms_and_efforts_are_understood() {
        let schema = json!({"type": "object"});
        let format = json!({"text": {"format":
            {"type": "json_schema", "name": "x", "schema": schema, "strict": true}}});
        assert_eq!(asked(format).unwrap().grammar, Some(Grammar::JsonSchema(schema)));
        let plain = json!({"text": {"format": {"type": "text"}, "verbosity": "low"}});
        assert_eq!(asked(plain).unwrap().grammar, None);
        let none = asked(json!({"reasoning": {"effort": "none"}})).unwrap();
        assert_eq!(none.think, ThinkWish::of(ThinkMode::Off));
        assert_eq!(asked(json!({"reasoning": null})).unwrap().think, ThinkWish::default());
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_named() {
        let image =
            json!([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]);
        let cases = [
            (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"conversation": "conv_1"}), "conversation"),
            (json!({"prompt": {"id": "p"}}), "prompt"),
            (json!({"background": true}), "background"),
            (json!({"max_output_tokens": 0}), "max_output_tokens"),
            (json!({"input": []}), "input"),
            (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0]"),
            (json!({"input": [{"type": "function_call", "name": "x"}]}), "input[0]"),
            (json!({"input": image}), "input[0]"),
            (json!({"tools": [{"type": "function"}]}), "tools"),
            (json!({"tool_choice": {"type": "mcp"}}), "tool_choice"),
            (json!({"text": {"format": {"type": "json_schema", "name": "x"}}}), "text.format"),
        ];
        for (fields, expected) in cases {
            match asked(fields.clone()) {
                Err(Error::Invalid { param, .. }) => assert_eq!(param.as_deref(), Some(expected)),
                other => panic!("{fields}: {other:?}"),
            }
        }
    }
}
