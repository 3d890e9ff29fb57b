//! Anthropic's words to asks.

use engine::sampler::PartialParams;
use serde_json::Value;
use text::{Conversation, Role};

use super::signature::SignatureKey;
use super::types::{
    Block, Effort, How, Outcome, OutputConfig, Talk, Thinking, ThinkingKind, Tool, ToolMode, Turn,
    Words,
};
use super::{Settings, types};
use crate::ask::{Ask, Grammar, Prompt, ThinkMode, ThinkWish, ToolChoice};
use crate::error::Error;
use crate::turns::{self, Turns};

/// What the rules of a request depend on besides its body.
pub(super) struct Rules<'a> {
    pub(super) settings: &'a Settings,
    pub(super) key: &'a SignatureKey,
    /// The model whose thoughts may come back.
    pub(super) model: &'a str,
    /// Whether thinking goes on between calls of tools, where a budget is of all of it.
    pub(super) is_interleaved: bool,
}

/// The ask of a message.
pub(super) fn message(talk: Talk, how: How, rules: &Rules<'_>) -> Result<Ask, Error> {
    if how.max_tokens == 0 {
        return Err(Error::invalid("max_tokens", "an answer of no tokens was asked for"));
    }
    check_thinking(&talk, &how, rules)?;
    let think = think(talk.thinking.as_ref(), talk.output_config.as_ref());
    let (tool_choice, parallel) = tool_choice(talk.tool_choice.as_ref())?;
    let format = talk.output_config.as_ref().and_then(|config| config.format.as_ref());
    let grammar = format.map(|format| Grammar::JsonSchema(format.schema.clone()));
    let mut ask = Ask::new(Prompt::Chat(conversation(talk, rules)?));
    ask.think = think;
    ask.tool_choice = tool_choice;
    ask.parallel_tool_calls = parallel;
    ask.grammar = grammar;
    ask.max_tokens = Some(usize::try_from(how.max_tokens).unwrap_or(usize::MAX));
    ask.stops = how.stop_sequences.unwrap_or_default();
    ask.ignore_stops = how.ignore_eos.unwrap_or(false);
    ask.params = PartialParams {
        temperature: how.temperature,
        top_k: how.top_k.map(|k| usize::try_from(k).unwrap_or(usize::MAX)),
        top_p: how.top_p,
        // Any 64 bits are a seed.
        seed: how.seed.map(i64::cast_unsigned),
        ..PartialParams::default()
    };
    Ok(ask)
}

/// The conversation alone, and how much is to be thought about it.
pub(super) fn counted(talk: Talk, rules: &Rules<'_>) -> Result<(Conversation, ThinkWish), Error> {
    let think = think(talk.thinking.as_ref(), talk.output_config.as_ref());
    let (choice, _) = tool_choice(talk.tool_choice.as_ref())?;
    let mut conversation = conversation(talk, rules)?;
    if choice == ToolChoice::None {
        conversation.tools.clear();
    }
    Ok((conversation, think))
}

/// What Claude allows together with thinking; sampling is as free as with any open model unless
/// the settings say otherwise.
fn check_thinking(talk: &Talk, how: &How, rules: &Rules<'_>) -> Result<(), Error> {
    let Some(Thinking { kind, budget_tokens, .. }) = talk.thinking else { return Ok(()) };
    if kind == ThinkingKind::Disabled {
        return Ok(());
    }
    if kind == ThinkingKind::Enabled {
        const BUDGET: &str = "thinking.budget_tokens";
        let Some(budget) = budget_tokens else {
            return Err(Error::invalid(BUDGET, "missing field `budget_tokens`"));
        };
        let min = rules.settings.budget_min;
        if budget < min {
            let message = format!("a budget must be at least {min} tokens");
            return Err(Error::invalid(BUDGET, message));
        }
        if u64::from(budget) >= how.max_tokens && !rules.is_interleaved {
            return Err(Error::invalid(BUDGET, "a budget must be less than `max_tokens`"));
        }
    }
    if !rules.settings.is_strict {
        return Ok(());
    }
    let is_forced = matches!(
        talk.tool_choice,
        Some(types::ToolChoice { kind: ToolMode::Any | ToolMode::Tool, .. })
    );
    #[expect(clippy::float_cmp, reason = "just this number is allowed")]
    let faults = [
        (how.temperature.is_some_and(|t| t != 1.0), "temperature", "only 1 goes with thinking"),
        (how.top_k.is_some(), "top_k", "this does not go with thinking"),
        (
            how.top_p.is_some_and(|p| !(0.95..=1.0).contains(&p)),
            "top_p",
            "only 0.95 to 1 goes with thinking",
        ),
        (is_forced, "tool_choice", "a tool cannot be forced while thinking"),
    ];
    match faults.into_iter().find(|(is_wrong, ..)| *is_wrong) {
        Some((_, param, message)) => Err(Error::invalid(param, message)),
        None => Ok(()),
    }
}

/// How much to think.
fn think(thinking: Option<&Thinking>, config: Option<&OutputConfig>) -> ThinkWish {
    let effort = config.and_then(|config| config.effort);
    match thinking {
        None => effort.map_or(ThinkWish::default(), |effort| with_effort(ThinkMode::On, effort)),
        Some(thinking) => match thinking.kind {
            ThinkingKind::Disabled => ThinkWish::of(ThinkMode::Off),
            ThinkingKind::Enabled => ThinkWish::within(thinking.budget_tokens.unwrap_or(0)),
            // High is the API's default.
            ThinkingKind::Adaptive => with_effort(ThinkMode::Auto, effort.unwrap_or(Effort::High)),
        },
    }
}

/// An effort in tokens, as everywhere; the highest thinks whatever the signals say.
fn with_effort(mode: ThinkMode, effort: Effort) -> ThinkWish {
    let budget = match effort {
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 32768,
        Effort::Xhigh => return ThinkWish::of(mode),
        Effort::Max => return ThinkWish::of(ThinkMode::On),
    };
    ThinkWish { budget: Some(budget), ..ThinkWish::of(mode) }
}

fn tool_choice(choice: Option<&types::ToolChoice>) -> Result<(ToolChoice, bool), Error> {
    let Some(choice) = choice else { return Ok((ToolChoice::Auto, true)) };
    let of_kind = match (choice.kind, &choice.name) {
        (ToolMode::Auto, _) => ToolChoice::Auto,
        (ToolMode::Any, _) => ToolChoice::Required,
        (ToolMode::None, _) => ToolChoice::None,
        (ToolMode::Tool, Some(name)) => ToolChoice::Named(name.clone()),
        (ToolMode::Tool, None) => {
            return Err(Error::invalid("tool_choice.name", "missing field `name`"));
        }
    };
    Ok((of_kind, !choice.disable_parallel_tool_use.unwrap_or(false)))
}

fn conversation(talk: Talk, rules: &Rules<'_>) -> Result<Conversation, Error> {
    let mut turns = Turns::default();
    match talk.system {
        None => {}
        Some(Words::Text(text)) if text.is_empty() => {}
        Some(words) => said(&mut turns, Role::System, words, "system", rules)?,
    }
    if talk.messages.is_empty() {
        return Err(Error::invalid("messages", "there must be at least one message"));
    }
    for (i, Turn { role, content }) in talk.messages.into_iter().enumerate() {
        let role = match role {
            types::Role::User => Role::User,
            types::Role::Assistant => Role::Assistant,
            types::Role::System => Role::System,
        };
        said(&mut turns, role, content, &format!("messages[{i}].content"), rules)?;
    }
    if turns.last() == Some(Role::Assistant) {
        let message = "an answer cannot be begun for the model: the last turn must be the user's";
        return Err(Error::invalid("messages", message));
    }
    let tools = talk.tools.unwrap_or_default().into_iter().enumerate();
    let tools = tools.map(|(i, of)| tool(i, of)).collect::<Result<_, _>>()?;
    Ok(turns.with_tools(tools))
}

fn tool(i: usize, tool: Tool) -> Result<Value, Error> {
    match tool.input_schema {
        Some(schema) if tool.kind.is_none_or(|kind| kind == "custom") => {
            Ok(turns::tool(&tool.name, tool.description, schema))
        }
        _ => {
            let message = "only tools with an `input_schema` that the client runs are possible";
            Err(Error::invalid(&format!("tools[{i}]"), message))
        }
    }
}

fn said(
    turns: &mut Turns,
    role: Role,
    words: Words,
    at: &str,
    rules: &Rules<'_>,
) -> Result<(), Error> {
    let text = |turns: &mut Turns, text: &str| match role {
        Role::System => turns.system(text),
        Role::Assistant => turns.assistant(text),
        Role::User | Role::Tool => turns.user(text),
    };
    let blocks = match words {
        Words::Text(words) => {
            text(turns, &words);
            return Ok(());
        }
        Words::Blocks(blocks) => blocks,
    };
    for (i, block) in blocks.into_iter().enumerate() {
        let at = || format!("{at}[{i}]");
        match (block.kind.as_str(), role) {
            ("text", _) => text(turns, &needed(block.text, "text", &at)?),
            ("thinking", Role::Assistant) => turns.thinking(&thought(block, &at, rules)?),
            // No model here makes these, so there is nothing to read in them.
            ("redacted_thinking", Role::Assistant) => {}
            ("tool_use", Role::Assistant) => turns.call(
                needed(block.id, "id", &at)?,
                needed(block.name, "name", &at)?,
                needed(block.input, "input", &at)?,
            ),
            ("tool_result", Role::User) => {
                let id = needed(block.tool_use_id, "tool_use_id", &at)?;
                turns.result(id, outcome(block.content, block.is_error, &at)?);
            }
            (kind, _) => return Err(Error::invalid(&at(), cannot_read(kind))),
        }
    }
    Ok(())
}

fn needed<T>(field: Option<T>, name: &str, at: &impl Fn() -> String) -> Result<T, Error> {
    field.ok_or_else(|| Error::invalid(&at(), format!("missing field `{name}`")))
}

/// Why a block is refused; what the client called it is not repeated.
fn cannot_read(kind: &str) -> &'static str {
    match kind {
        "image" | "document" => "the model reads text alone: no images and no documents",
        _ => "a block of this type is not understood here",
    }
}

/// What was thought, if it is what the model thought.
fn thought(block: Block, at: &impl Fn() -> String, rules: &Rules<'_>) -> Result<String, Error> {
    let told = needed(block.thinking, "thinking", at)?;
    let signature = needed(block.signature, "signature", at)?;
    let thought = rules.key.verify(rules.model, &told, &signature);
    thought.ok_or_else(|| {
        let message = "Invalid `signature` in `thinking` block: hand thoughts back as they came, \
                       to the model and the server that had them";
        Error::invalid(&at(), message)
    })
}

fn outcome(
    outcome: Option<Outcome>,
    is_error: Option<bool>,
    at: &impl Fn() -> String,
) -> Result<String, Error> {
    let mut whole = String::new();
    match outcome {
        None => {}
        Some(Outcome::Text(text)) => whole = text,
        Some(Outcome::Blocks(blocks)) => {
            for block in blocks {
                match block.text.filter(|_| block.kind == "text") {
                    Some(text) if whole.is_empty() => whole = text,
                    Some(text) => whole = whole + "\n" + &text,
                    None => return Err(Error::invalid(&at(), cannot_read(&block.kind))),
                }
            }
        }
    }
    // Templates have no place for it, and a model should know.
    if is_error == Some(true) {
        whole = format!("Error: {whole}");
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(
        settings: &Settings,
        is_interleaved: bool,
        mut body: Value,
        fields: Value,
    ) -> Result<Ask, Error> {
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let key = SignatureKey::of(b"k");
        let rules = Rules { settings, key: &key, model: "m", is_interleaved };
        let how = serde_json::from_value(body.clone()).unwrap();
        message(serde_json::from_value(body).unwrap(), how, &rules)
    }

    fn hello() -> Value {
        json!({"max_tokens": 5000, "messages": [{"role": "user", "content": "Hello"}]})
    }

    fn asked(fields: Value) -> Result<Ask, Error> {
        with(&Settings::default(), false, hello(), fields)
    }

    fn param(asked: Result<Ask, Error>) -> Option<String> {
        match asked {
            Err(Error::Invalid { param, .. }) => param,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_way_to_say_how_much_to_think_is_understood() {
        let auto = |budget| ThinkWish { budget, ..ThinkWish::of(ThinkMode::Auto) };
        let cases = [
            (json!({}), ThinkWish::default()),
            (json!({"thinking": {"type": "disabled"}}), ThinkWish::of(ThinkMode::Off)),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 7}}), ThinkWish::within(7)),
            (json!({"thinking": {"type": "adaptive"}}), auto(Some(32768))),
            (
                json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
                auto(Some(2048)),
            ),
            (
                json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
                auto(None),
            ),
            (
                json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
                ThinkWish::of(ThinkMode::On),
            ),
            (json!({"output_config": {"effort": "medium"}}), ThinkWish::within(8192)),
        ];
        for (fields, expected) in cases {
            assert_eq!(asked(fields.clone()).unwrap().think, expected, "{fields}");
        }
    }

    #[test]
    fn a_budget_is_less_than_the_answer_and_claudes_other_rules_hold_where_they_are_wanted() {
        let thinking = |budget: u32| json!({"type": "enabled", "budget_tokens": budget});
        const BUDGET: Option<&str> = Some("thinking.budget_tokens");
        let large = json!({"thinking": thinking(5000)});
        assert_eq!(param(asked(large.clone())).as_deref(), BUDGET);
        let own = Settings::default();
        assert!(with(&own, true, hello(), large).is_ok(), "between calls of tools");
        assert_eq!(param(asked(json!({"thinking": {"type": "enabled"}}))).as_deref(), BUDGET);
        let claude = Settings::claude();
        let cases = [
            (json!({"thinking": thinking(1023)}), BUDGET),
            (json!({"thinking": thinking(1024), "temperature": 0.5}), Some("temperature")),
            (json!({"thinking": {"type": "adaptive"}, "top_k": 3}), Some("top_k")),
            (json!({"thinking": thinking(1024), "top_p": 0.9}), Some("top_p")),
            (
                json!({"thinking": thinking(1024), "tool_choice": {"type": "any"}}),
                Some("tool_choice"),
            ),
        ];
        for (fields, expected) in cases {
            let refused = param(with(&claude, false, hello(), fields.clone()));
            assert_eq!(refused.as_deref(), expected, "{fields}");
            assert!(asked(fields.clone()).is_ok(), "{fields}");
        }
        let fine = json!({"thinking": thinking(1024), "temperature": 1, "top_p": 0.95});
        assert!(with(&claude, false, hello(), fine).is_ok());
        assert!(with(&claude, false, hello(), json!({"temperature": 0.5})).is_ok());
    }

    #[test]
    fn a_conversation_of_blocks_is_read_whole() {
        let signature = SignatureKey::of(b"k").sign("m", "hm", false);
        let body = json!({"max_tokens": 9, "system": [
                {"type": "text", "text": "One.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "Two."}],
            "tools": [{"name": "look", "description": "Looks.", "input_schema": {"a": 1}}],
            "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
            "metadata": {"user_id": "x"}, "context_management": {"edits": []},
            "stop_sequences": ["END"],
            "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": signature},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": true,
                 "content": [{"type": "text", "text": "gone"}]},
                {"type": "text", "text": "c"}]}]});
        let ask = with(&Settings::default(), false, body, json!({})).unwrap();
        let Prompt::Chat(talk) = &ask.prompt else { panic!("a chat") };
        let said: Vec<_> =
            talk.messages.iter().map(|m| (m.role.name(), m.content.as_str())).collect();
        let expected = [
            ("system", "One.\n\nTwo."),
            ("user", "a\n\nb"),
            ("assistant", "I look."),
            ("tool", "Error: gone"),
            ("user", "c"),
        ];
        assert_eq!(said, expected);
        assert_eq!(talk.messages[2].reasoning.as_deref(), Some("hm"));
        assert_eq!(talk.messages[2].tool_calls[0].arguments["at"], 1);
        assert_eq!(talk.tools[0]["function"]["parameters"]["a"], 1);
        assert_eq!(ask.tool_choice, ToolChoice::Named("look".into()));
        assert!(!ask.parallel_tool_calls);
        assert_eq!(ask.stops, ["END"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_named() {
        let turn = |role: &str, block: Value| json!([{"role": role, "content": [block]}]);
        let forged = json!({"type": "thinking", "thinking": "hm", "signature": "v1.AAAA"});
        let cases = [
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"role": "assistant", "content": "I"}]}), "messages"),
            (
                json!({"messages": turn("user", json!({"type": "image", "source": {}}))}),
                "messages[0].content[0]",
            ),
            (json!({"messages": turn("user", json!({"type": "text"}))}), "messages[0].content[0]"),
            (json!({"messages": turn("assistant", forged)}), "messages[0].content[0]"),
            (
                json!({"messages": turn("user", json!({"type": "tool_use", "id": "1"}))}),
                "messages[0].content[0]",
            ),
            (
                json!({"messages": turn("user", json!({"type": "tool_result"}))}),
                "messages[0].content[0]",
            ),
            (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools[0]"),
            (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
        ];
        for (fields, expected) in cases {
            assert_eq!(param(asked(fields.clone())).as_deref(), Some(expected), "{fields}");
        }
    }
}
