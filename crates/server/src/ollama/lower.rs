//! Ollama's words to asks.

use engine::sampler::PartialParams;
use serde_json::Value;
use text::Conversation;

use super::types::{ChatRequest, GenerateRequest, How, Message, Role, Think};
use crate::ask::{Ask, Grammar, Prompt, ThinkMode, ThinkWish};
use crate::error::Error;
use crate::openai::of_effort;
use crate::openai::types::OneOrMany;

const IMAGES: &str = "the model reads text alone: no images";

/// The ask of a chat; none if nothing is asked.
pub(super) fn chat(request: ChatRequest) -> Result<Option<Ask>, Error> {
    if request.messages.is_empty() {
        return Ok(None);
    }
    let messages = request.messages.into_iter().map(message).collect::<Result<_, _>>()?;
    let tools = request.tools.unwrap_or_default();
    with(Prompt::Chat(Conversation { messages, tools }), request.how).map(Some)
}

/// The ask of a prompt; none if it's empty.
pub(super) fn generate(request: GenerateRequest) -> Result<Option<Ask>, Error> {
    let is_said = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if request.images.is_some_and(|images| !images.is_empty()) {
        return Err(Error::invalid("images", IMAGES));
    }
    if is_said(&request.suffix) {
        return Err(Error::invalid("suffix", "filling in before a suffix is not supported"));
    }
    if is_said(&request.template) {
        return Err(Error::invalid("template", "the model's own template is used: ask with `raw`"));
    }
    if request.prompt.is_empty() {
        return Ok(None);
    }
    let prompt = match request.raw {
        Some(true) => Prompt::Text(request.prompt),
        _ => {
            let system = request.system.filter(|system| !system.is_empty());
            let system = system.map(|system| text::Message::new(text::Role::System, system));
            let question = text::Message::new(text::Role::User, request.prompt);
            let messages = system.into_iter().chain([question]).collect();
            Prompt::Chat(Conversation { messages, tools: Vec::new() })
        }
    };
    with(prompt, request.how).map(Some)
}

fn with(prompt: Prompt, how: How) -> Result<Ask, Error> {
    let mut ask = Ask::new(prompt);
    ask.think = match how.think {
        None => ThinkWish::default(),
        Some(Think::Switch(true)) => ThinkWish::of(ThinkMode::On),
        Some(Think::Switch(false)) => ThinkWish::of(ThinkMode::Off),
        Some(Think::Level(effort)) => of_effort(effort),
    };
    ask.grammar = match how.format {
        None | Some(Value::Null) => None,
        Some(Value::String(format)) if format.is_empty() => None,
        Some(Value::String(format)) if format == "json" => Some(Grammar::JsonObject),
        Some(schema @ Value::Object(_)) => Some(Grammar::JsonSchema(schema)),
        Some(_) => return Err(Error::invalid("format", "expected \"json\" or a JSON schema")),
    };
    let options = how.options.unwrap_or_default();
    ask.max_tokens = match options.num_predict {
        Some(0) => {
            let message = "an answer of no tokens was asked for";
            return Err(Error::invalid("options.num_predict", message));
        }
        // Negative ones mean that there is no limit.
        n => n.and_then(|n| usize::try_from(n).ok()),
    };
    ask.stops = match options.stop {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    ask.params = PartialParams {
        temperature: options.temperature,
        top_k: options.top_k.map(|k| usize::try_from(k).unwrap_or(0)),
        top_p: options.top_p,
        min_p: options.min_p,
        repetition_penalty: options.repeat_penalty,
        presence_penalty: options.presence_penalty,
        frequency_penalty: options.frequency_penalty,
        // Any 64 bits are a seed.
        seed: options.seed.map(i64::cast_unsigned),
    };
    Ok(ask)
}

fn message(message: Message) -> Result<text::Message, Error> {
    if message.images.is_some_and(|images| !images.is_empty()) {
        return Err(Error::invalid("messages.images", IMAGES));
    }
    let role = match message.role {
        Role::System => text::Role::System,
        Role::User => text::Role::User,
        Role::Assistant => text::Role::Assistant,
        Role::Tool => text::Role::Tool,
    };
    let mut turn = text::Message::new(role, message.content);
    turn.reasoning = message.thinking;
    turn.name = message.tool_name;
    turn.tool_call_id = message.tool_call_id;
    let calls = message.tool_calls.unwrap_or_default().into_iter();
    turn.tool_calls = calls
        .map(|call| text::ToolCall {
            id: call.id,
            name: call.function.name,
            arguments: call.function.arguments,
        })
        .collect();
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(fields: Value) -> Result<Ask, Error> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        chat(serde_json::from_value(body).unwrap()).map(Option::unwrap)
    }

    #[test]
    fn thinking_forms_and_options_are_understood() {
        let on = ThinkWish::of(ThinkMode::On);
        let off = ThinkWish::of(ThinkMode::Off);
        for (think, expected) in [
            (json!(true), on),
            (json!(false), off),
            (json!("low"), ThinkWish::within(2048)),
            (Value::Null, ThinkWish::default()),
        ] {
            assert_eq!(asked(json!({"think": think})).unwrap().think, expected);
        }
        let schema = json!({"type": "object"});
        let form = asked(json!({"format": schema})).unwrap().grammar;
        assert_eq!(form, Some(Grammar::JsonSchema(schema)));
        assert_eq!(asked(json!({"format": "json"})).unwrap().grammar, Some(Grammar::JsonObject));
        let options = json!({"num_predict": -1, "top_k": -1, "repeat_penalty": 1.5,
                             "stop": ["x"], "num_ctx": 9});
        let ask = asked(json!({"options": options})).unwrap();
        assert_eq!((ask.max_tokens, ask.params.top_k), (None, Some(0)));
        assert_eq!((ask.params.repetition_penalty, ask.stops), (Some(1.5), vec!["x".into()]));
        assert_eq!(asked(json!({"options": {"num_predict": 7}})).unwrap().max_tokens, Some(7));
    }

    #[test]
    fn turns_with_thoughts_and_calls_are_read() {
        let ask = asked(json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "thinking": "hm", "tool_calls": [
                {"function": {"name": "look", "arguments": {"at": 1}}}]},
            {"role": "tool", "content": "gone", "tool_name": "look"}]}))
        .unwrap();
        let Prompt::Chat(talk) = &ask.prompt else { panic!("a chat") };
        assert_eq!(talk.messages[1].reasoning.as_deref(), Some("hm"));
        assert_eq!(talk.messages[1].tool_calls[0].arguments["at"], 1);
        assert_eq!(talk.messages[2].name.as_deref(), Some("look"));
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_what_asks_nothing_is_no_ask() {
        let image = json!([{"role": "user", "content": "a", "images": ["x"]}]);
        let cases = [
            (json!({"format": "xml"}), "format"),
            (json!({"options": {"num_predict": 0}}), "options.num_predict"),
            (json!({"messages": image}), "messages.images"),
        ];
        for (fields, expected) in cases {
            match asked(fields) {
                Err(Error::Invalid { param, .. }) => assert_eq!(param.as_deref(), Some(expected)),
                other => panic!("{other:?}"),
            }
        }
        let generated = |fields: Value| generate(serde_json::from_value(fields).unwrap());
        assert!(generated(json!({"model": "m"})).unwrap().is_none());
        assert!(generated(json!({"model": "m", "prompt": "a", "suffix": "b"})).is_err());
        let raw = generated(json!({"model": "m", "prompt": "a", "raw": true})).unwrap().unwrap();
        assert!(matches!(raw.prompt, Prompt::Text(_)));
    }
}
