//! OpenAI's words to asks.

use std::time::Duration;

use engine::sampler::PartialParams;
use schedule::Priority;
use serde_json::Value;
use text::Conversation;

use super::types::{
    Chat, Completion, Content, Effort, FormatKind, FunctionCall, How, Message, OneOrMany, Prompts,
    Role, ThinkingKind, ToolCall, ToolChoice, ToolMode,
};
use crate::ask::{self, Ask, Grammar, Prompt, ThinkMode, ThinkWish};
use crate::error::Error;

/// The ask of a chat.
pub(crate) fn chat(chat: Chat, how: &How) -> Result<Ask, Error> {
    let think = think(&chat, how);
    let conversation = conversation(chat.messages, chat.tools)?;
    let mut ask = Ask::new(Prompt::Chat(conversation));
    // The newer name says what is meant, whatever the older one says.
    ask.max_tokens = count(chat.max_completion_tokens.or(how.max_tokens));
    if ask.max_tokens == Some(0) {
        return Err(Error::invalid("max_tokens", "an answer of no tokens was asked for"));
    }
    ask.logprobs = match (chat.logprobs, chat.top_logprobs) {
        (Some(true), n) => Some(n.unwrap_or(0) as usize),
        (_, Some(n)) if n > 0 => {
            return Err(Error::invalid("top_logprobs", "this needs `logprobs` to be true"));
        }
        _ => None,
    };
    ask.tool_choice = match chat.tool_choice {
        None | Some(ToolChoice::Mode(ToolMode::Auto)) => ask::ToolChoice::Auto,
        Some(ToolChoice::Mode(ToolMode::None)) => ask::ToolChoice::None,
        Some(ToolChoice::Mode(ToolMode::Required)) => ask::ToolChoice::Required,
        Some(ToolChoice::Function(chosen)) => ask::ToolChoice::Named(chosen.function.name),
    };
    ask.parallel_tool_calls = chat.parallel_tool_calls.unwrap_or(true);
    ask.think = think;
    shared(&mut ask, how)?;
    Ok(ask)
}

/// Turns and tools.
pub(crate) fn conversation(
    messages: Vec<Message>,
    tools: Option<Vec<Value>>,
) -> Result<Conversation, Error> {
    let messages = messages.into_iter().map(message).collect::<Result<_, _>>()?;
    Ok(Conversation { messages, tools: tools.unwrap_or_default() })
}

/// The asks of one or several completions.
pub(crate) fn completions(
    completion: Completion,
    how: &How,
    prompts_max: usize,
) -> Result<Vec<Ask>, Error> {
    if completion.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Error::invalid("suffix", "filling in before a suffix is not supported"));
    }
    let prompts: Vec<Prompt> = match completion.prompt {
        Prompts::Text(text) => vec![Prompt::Text(text)],
        Prompts::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
        Prompts::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        Prompts::ManyTokens(many) => many.into_iter().map(Prompt::Tokens).collect(),
    };
    if prompts.is_empty() || prompts.len() > prompts_max {
        let n = prompts.len();
        let message = format!("{n} prompts; there must be 1 to {prompts_max}");
        return Err(Error::invalid("prompt", message));
    }
    let asks = prompts.into_iter().map(|prompt| {
        let mut ask = Ask::new(prompt);
        // What the API has always said.
        const MAX_TOKENS: usize = 16;
        ask.max_tokens = Some(count(how.max_tokens).unwrap_or(MAX_TOKENS));
        ask.logprobs = completion.logprobs.map(|n| n as usize);
        ask.echo = completion.echo.unwrap_or(false);
        shared(&mut ask, how)?;
        Ok(ask)
    });
    asks.collect()
}

/// What chats and completions have in common.
fn shared(ask: &mut Ask, how: &How) -> Result<(), Error> {
    if how.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
        return Err(Error::invalid("logit_bias", "a bias of tokens is not supported"));
    }
    let top_k = match how.top_k {
        None => None,
        Some(-1) => Some(0),
        Some(k) => Some(
            usize::try_from(k)
                .map_err(|_| Error::invalid("top_k", "expected -1, 0 or a number of tokens"))?,
        ),
    };
    ask.params = PartialParams {
        temperature: how.temperature,
        top_k,
        top_p: how.top_p,
        min_p: how.min_p,
        repetition_penalty: how.repetition_penalty,
        presence_penalty: how.presence_penalty,
        frequency_penalty: how.frequency_penalty,
        // Any 64 bits are a seed.
        seed: how.seed.map(i64::cast_unsigned),
    };
    ask.stops = match &how.stop {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop.clone()],
        Some(OneOrMany::Many(stops)) => stops.clone(),
    };
    ask.n = how.n.unwrap_or(1) as usize;
    ask.min_tokens = count(how.min_tokens).unwrap_or(0);
    ask.ignore_stops = how.ignore_eos.unwrap_or(false);
    ask.priority = match how.priority.unwrap_or(0) {
        ..0 => Priority::High,
        0 => Priority::Normal,
        1.. => Priority::Low,
    };
    ask.salt = how.cache_salt.clone();
    ask.timeout = timeout(how.timeout)?;
    ask.grammar = grammar(how)?;
    Ok(())
}

fn count(n: Option<u64>) -> Option<usize> {
    n.map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn timeout(seconds: Option<f64>) -> Result<Option<Duration>, Error> {
    let of = |seconds| Duration::try_from_secs_f64(seconds).ok().filter(|t| !t.is_zero());
    match seconds {
        None => Ok(None),
        Some(seconds) => match of(seconds) {
            Some(timeout) => Ok(Some(timeout)),
            None => Err(Error::invalid("timeout", "expected a number of seconds above 0")),
        },
    }
}

fn grammar(how: &How) -> Result<Option<Grammar>, Error> {
    let mut found = Vec::new();
    if let Some(format) = &how.response_format {
        match (format.kind, &format.json_schema) {
            (FormatKind::Text, _) => {}
            (FormatKind::JsonObject, _) => found.push(Grammar::JsonObject),
            (FormatKind::JsonSchema, Some(of)) => {
                found.push(Grammar::JsonSchema(of.schema.clone()));
            }
            (FormatKind::JsonSchema, None) => {
                let message = "missing field `json_schema`";
                return Err(Error::invalid("response_format", message));
            }
        }
    }
    // Some clients send the schema as text.
    let schema = |schema: &Value| match schema {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| schema.clone()),
        _ => schema.clone(),
    };
    found.extend(how.guided_json.as_ref().map(|json| Grammar::JsonSchema(schema(json))));
    found.extend(how.guided_regex.clone().map(Grammar::Regex));
    found.extend(how.guided_grammar.clone().map(Grammar::Lark));
    found.extend(how.guided_choice.clone().map(Grammar::Choice));
    if let Some(outputs) = &how.structured_outputs {
        found.extend(outputs.json.as_ref().map(|json| Grammar::JsonSchema(schema(json))));
        found.extend(outputs.regex.clone().map(Grammar::Regex));
        found.extend(outputs.grammar.clone().map(Grammar::Lark));
        found.extend(outputs.choice.clone().map(Grammar::Choice));
        found.extend(outputs.json_object.filter(|wanted| *wanted).map(|_| Grammar::JsonObject));
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(Error::invalid("response_format", "several forms are asked for; one is possible")),
    }
}

/// How much to think, from whichever field says so; the more exact one wins.
fn think(chat: &Chat, how: &How) -> ThinkWish {
    if let Some(budget) = how.thinking_token_budget {
        return ThinkWish::within(budget);
    }
    if let Some(switch) = &chat.thinking {
        return match (switch.kind, switch.budget_tokens) {
            (ThinkingKind::Disabled, _) => ThinkWish::of(ThinkMode::Off),
            (ThinkingKind::Auto, budget) => ThinkWish { budget, ..ThinkWish::of(ThinkMode::Auto) },
            (ThinkingKind::Enabled, Some(budget)) => ThinkWish::within(budget),
            (ThinkingKind::Enabled, None) => ThinkWish::of(ThinkMode::On),
        };
    }
    if let Some(effort) = chat.reasoning_effort {
        return of_effort(effort);
    }
    let switches = chat.chat_template_kwargs.as_ref();
    match switches.and_then(|s| s.enable_thinking.or(s.thinking)) {
        None => ThinkWish::default(),
        Some(true) => ThinkWish::of(ThinkMode::On),
        Some(false) => ThinkWish::of(ThinkMode::Off),
    }
}

/// An effort in tokens: each step up is four times the one before, and the last two are free.
pub(crate) fn of_effort(effort: Effort) -> ThinkWish {
    match effort {
        Effort::None => ThinkWish::of(ThinkMode::Off),
        Effort::Minimal => ThinkWish::within(512),
        Effort::Low => ThinkWish::within(2048),
        Effort::Medium => ThinkWish::within(8192),
        Effort::High => ThinkWish::within(32768),
        Effort::Xhigh | Effort::Max => ThinkWish::of(ThinkMode::On),
        Effort::Auto => ThinkWish::of(ThinkMode::Auto),
    }
}

fn message(message: Message) -> Result<text::Message, Error> {
    let role = match message.role {
        Role::System | Role::Developer => text::Role::System,
        Role::User => text::Role::User,
        Role::Assistant => text::Role::Assistant,
        Role::Tool | Role::Function => text::Role::Tool,
    };
    let mut turn = text::Message::new(role, content(message.content)?);
    turn.reasoning = message.reasoning_content.or(message.reasoning);
    turn.tool_calls = message.tool_calls.unwrap_or_default().into_iter().map(tool_call).collect();
    turn.tool_call_id = message.tool_call_id;
    turn.name = message.name;
    Ok(turn)
}

fn content(content: Option<Content>) -> Result<String, Error> {
    match content {
        None => Ok(String::new()),
        Some(Content::Text(text)) => Ok(text),
        Some(Content::Parts(parts)) => {
            let mut whole = String::new();
            for part in parts {
                match part.text.filter(|_| matches!(part.kind.as_str(), "text" | "input_text")) {
                    Some(text) => whole += &text,
                    None => {
                        let message = "only parts of type \"text\" are understood";
                        return Err(Error::invalid("messages.content", message));
                    }
                }
            }
            Ok(whole)
        }
    }
}

fn tool_call(call: ToolCall) -> text::ToolCall {
    let FunctionCall { name, arguments } = call.function;
    // What a model wrote comes back as it wrote it, JSON or not.
    let arguments = match arguments.trim() {
        "" => Value::Object(serde_json::Map::new()),
        json => serde_json::from_str(json).unwrap_or(Value::String(arguments)),
    };
    text::ToolCall { id: call.id, name, arguments }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<Ask, Error> {
        let (wire, how) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(json).unwrap());
        chat(wire, &how)
    }

    fn thinking(field: &str) -> ThinkWish {
        asked(&format!("{{\"messages\": [], {field}}}")).unwrap().think
    }

    #[test]
    fn every_way_to_say_how_much_to_think_is_understood() {
        let off = ThinkWish::of(ThinkMode::Off);
        let on = ThinkWish::of(ThinkMode::On);
        let auto = ThinkWish::of(ThinkMode::Auto);
        let cases = [
            (r#""n": 1"#, ThinkWish::default()),
            (r#""reasoning_effort": "none""#, off),
            (r#""reasoning_effort": "low""#, ThinkWish::within(2048)),
            (r#""reasoning_effort": "max""#, on),
            (r#""reasoning_effort": "auto""#, auto),
            (r#""chat_template_kwargs": {"enable_thinking": false}"#, off),
            (r#""chat_template_kwargs": {"thinking": true, "evil": 1}"#, on),
            (r#""thinking_token_budget": 0"#, off),
            (r#""thinking_token_budget": 100, "reasoning_effort": "none""#, ThinkWish::within(100)),
            (r#""thinking": {"type": "disabled"}"#, off),
            (r#""thinking": {"type": "enabled", "budget_tokens": 7}"#, ThinkWish::within(7)),
            (r#""thinking": {"type": "adaptive"}"#, auto),
        ];
        for (field, expected) in cases {
            assert_eq!(thinking(field), expected, "{field}");
        }
    }

    #[test]
    fn a_conversation_with_tools_is_read_whole() {
        let json = r#"{"tools": [{"type": "function", "function": {"name": "f"}}],
            "tool_choice": "none", "unknown": [1], "stop": "x", "top_k": -1, "priority": -5,
            "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "reasoning": "hm", "tool_calls": [
                {"id": "1", "type": "function",
                 "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                {"function": {"name": "g", "arguments": "broken {"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "2"}]}"#;
        let ask = asked(json).unwrap();
        let Prompt::Chat(talk) = &ask.prompt else { panic!("a chat") };
        let roles: Vec<_> = talk.messages.iter().map(|m| m.role.name()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool"]);
        assert_eq!(talk.messages[1].content, "ab");
        assert_eq!(talk.messages[2].reasoning.as_deref(), Some("hm"));
        assert_eq!(talk.messages[2].tool_calls[0].arguments["x"], 1);
        assert_eq!(talk.messages[2].tool_calls[1].arguments, "broken {");
        assert_eq!(ask.tool_choice, ask::ToolChoice::None);
        assert_eq!((ask.stops, ask.params.top_k), (vec!["x".to_string()], Some(0)));
        assert_eq!(ask.priority, Priority::High);
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_named() {
        let cases = [
            (r#""max_tokens": 0"#, "max_tokens"),
            (r#""top_logprobs": 3"#, "top_logprobs"),
            (r#""logit_bias": {"5": 1}"#, "logit_bias"),
            (r#""top_k": -2"#, "top_k"),
            (r#""timeout": -1"#, "timeout"),
            (r#""response_format": {"type": "json_schema"}"#, "response_format"),
            (r#""guided_regex": "a", "guided_json": {}"#, "response_format"),
        ];
        for (field, expected) in cases {
            match asked(&format!("{{\"messages\": [], {field}}}")) {
                Err(Error::Invalid { param, .. }) => assert_eq!(param.as_deref(), Some(expected)),
                other => panic!("{field}: {other:?}"),
            }
        }
        let image = r#"{"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://x"}}]}]}"#;
        assert!(asked(image).is_err());
    }

    #[test]
    fn one_prompt_or_many_as_text_or_tokens() {
        let lowered = |json: &str| {
            let how = serde_json::from_str(json).unwrap();
            completions(serde_json::from_str(json).unwrap(), &how, 3)
        };
        let cases = [
            (r#"{"prompt": "a"}"#, 1),
            (r#"{"prompt": ["a", "b"]}"#, 2),
            (r#"{"prompt": [1, 2, 3, 4]}"#, 1),
            (r#"{"prompt": [[1, 2], [3], [4]]}"#, 3),
        ];
        for (json, n) in cases {
            let asks = lowered(json).unwrap();
            assert_eq!((asks.len(), asks[0].max_tokens), (n, Some(16)), "{json}");
        }
        assert!(lowered(r#"{"prompt": ["a", "b", "c", "d"]}"#).is_err());
        assert!(serde_json::from_str::<Completion>(r#"{"prompt": [1, "a"]}"#).is_err());
        assert!(serde_json::from_str::<Completion>(r#"{"prompt": [-1]}"#).is_err());
    }
}
