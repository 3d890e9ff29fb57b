//! Thinking is asked for, counted, cut short and left out as `thinking` says.

use std::sync::Arc;

use crate::shared::{fixture, fixture_json};
use ruminate_text::{
    ChatTemplate, Controls, Conversation, Message, Place, Prompt, RenderOptions, Role, Specials,
    ThinkLimits, ThinkMode, ThinkState, Thinking, Tokenizer, TokenizerConfig, VocabSource,
    starts_inside,
};

/// The tokenizer of the golden checkpoints, and the same with tags that are no tokens.
fn tokenizers() -> [Tokenizer; 2] {
    let whole = fixture("golden/tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(&whole).unwrap();
    json["added_tokens"].as_array_mut().unwrap().truncate(3);
    let spelled = serde_json::to_vec(&json).unwrap();
    [whole.as_bytes(), spelled.as_slice()].map(|bytes| {
        let config =
            TokenizerConfig { eos_token: Some("<|im_end|>".into()), ..TokenizerConfig::default() };
        Tokenizer::new(VocabSource::TokenizerJson(bytes), &config).unwrap()
    })
}

fn template(name: &str, tokenizer: &Tokenizer) -> ChatTemplate {
    let mut specials = tokenizer.specials();
    specials.bos = Some("<bos>".into());
    ChatTemplate::parse(&fixture(&format!("templates/{name}.jinja")), &specials).unwrap()
}

fn thinking(tokenizer: &Tokenizer) -> Arc<Thinking> {
    Thinking::of(tokenizer, &template("golden", tokenizer)).unwrap().unwrap()
}

fn ask(messages: Vec<Message>) -> Conversation {
    Conversation { messages, tools: vec![] }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_prompt(&Prompt::of_markup(text)).unwrap()
}

/// Lets a model say `text`, but for what is forced; the tokens and their places, until `n`.
fn run(tokenizer: &Tokenizer, state: &mut ThinkState, text: &str) -> Vec<(u32, Place)> {
    let mut wanted = encode(tokenizer, text).into_iter();
    let mut said = Vec::new();
    while let Some(id) = state.forced().or_else(|| wanted.next()) {
        assert!(said.len() < 10_000, "it never ends");
        said.push((id, state.advance(tokenizer, id)));
    }
    said
}

fn text_at(tokenizer: &Tokenizer, said: &[(u32, Place)], place: Place) -> String {
    let ids: Vec<u32> = said.iter().filter(|(_, p)| *p == place).map(|(id, _)| *id).collect();
    tokenizer.decode(&ids, Controls::Keep)
}

#[test]
fn every_token_has_its_place() {
    for tokenizer in tokenizers() {
        let thinking = thinking(&tokenizer);
        let limits = ThinkLimits::default();
        for (inside, text, answer) in [
            (false, "<think>\nhm, so\n</think>\n\nIt is 4.", "It is 4."),
            (true, "hm, so\n</think>\n\nIt is 4.", "It is 4."),
            (false, "It is 4. <think>no</think>", "It is 4. <think>no</think>"),
        ] {
            let mut state = ThinkState::new(thinking.clone(), limits, inside);
            let said = run(&tokenizer, &mut state, text);
            assert!(!state.is_inside());
            let count = said.iter().filter(|(_, p)| *p == Place::Thinking).count();
            assert_eq!(state.thinking_tokens() as usize, count);
            assert_eq!(count > 0, text.contains("hm"), "{text:?}");
            assert!(text_at(&tokenizer, &said, Place::Answer).ends_with(answer));
        }
    }
}

const STOP: &str = "\n\nConsidering the limited time by the user, I have to give the solution \
                    based on the thinking directly now.\n</think>\n\n";

#[test]
fn a_budget_lands_at_the_next_line_end() {
    for tokenizer in tokenizers() {
        let line = "a b c d e f g h\n";
        let line_len = encode(&tokenizer, line).len() as u32;
        let budget = 10 * line_len + 2;
        assert!(budget.div_ceil(10) >= line_len, "a line end must be in reach");
        let limits = ThinkLimits { budget: Some(budget), min: 0 };
        let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
        let said = run(&tokenizer, &mut state, &line.repeat(12));
        let text: String =
            tokenizer.decode(&said.iter().map(|s| s.0).collect::<Vec<_>>(), Controls::Keep);
        assert_eq!(text, format!("{}{STOP}{line}", line.repeat(11)));
        assert_eq!(text_at(&tokenizer, &said, Place::Answer), line, "the model's own words again");
    }
}

#[test]
fn without_a_line_end_thinking_stops_a_tenth_later() {
    for tokenizer in tokenizers() {
        for (budget, latest) in [(100, 110), (1, 2), (15, 17)] {
            let limits = ThinkLimits { budget: Some(budget), min: 0 };
            let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
            let mut own = 0;
            while state.forced().is_none() {
                state.advance(&tokenizer, encode(&tokenizer, "a")[0]);
                own += 1;
                assert!(own < 1000);
            }
            assert_eq!(own, latest, "budget {budget}");
            let forced = run(&tokenizer, &mut state, "");
            let ids: Vec<u32> = forced.iter().map(|s| s.0).collect();
            assert_eq!(tokenizer.decode(&ids, Controls::Keep), STOP);
            assert!(!state.is_inside());
        }
    }
}

#[test]
fn a_budget_of_nothing_forces_an_empty_block() {
    for tokenizer in tokenizers() {
        let limits = ThinkLimits { budget: Some(0), min: 0 };
        let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
        let said = run(&tokenizer, &mut state, "4");
        let ids: Vec<u32> = said.iter().map(|s| s.0).collect();
        assert_eq!(tokenizer.decode(&ids, Controls::Keep), "\n\n</think>\n\n4");
        let mut opened = ThinkState::new(thinking(&tokenizer), limits, false);
        let said = run(&tokenizer, &mut opened, "<think>");
        let ids: Vec<u32> = said.iter().map(|s| s.0).collect();
        assert_eq!(tokenizer.decode(&ids, Controls::Keep), "<think>\n\n</think>\n\n");
    }
}

#[test]
fn thinking_cannot_end_before_its_minimum() {
    for tokenizer in tokenizers() {
        let limits = ThinkLimits { budget: None, min: 3 };
        let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
        let close = encode(&tokenizer, "</think>");
        let (last, before) = close.split_last().unwrap();
        for &id in before {
            assert!(!state.banned().any(|banned| banned == id));
            state.advance(&tokenizer, id);
        }
        // A spelled tag counts as thinking until it is whole: the minimum may be behind us.
        if state.thinking_tokens() < 3 {
            assert!(state.banned().any(|banned| banned == *last));
            assert!(state.banned().any(|banned| banned == tokenizer.added("<|im_end|>").unwrap()));
        }
        while state.thinking_tokens() < 3 {
            state.advance(&tokenizer, encode(&tokenizer, "a")[0]);
        }
        assert_eq!(state.banned().count(), 0);
        for &id in &close {
            state.advance(&tokenizer, id);
        }
        assert!(!state.is_inside());
        assert_eq!(state.banned().count(), 0);
    }
}

#[test]
fn a_draft_is_undone_by_keeping_the_value() {
    let [tokenizer, _] = tokenizers();
    let limits = ThinkLimits { budget: Some(4), min: 0 };
    let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
    run(&tokenizer, &mut state, "ab");
    let kept = state.clone();
    let said = run(&tokenizer, &mut state, "cd\nef</think>gh");
    let mut again = kept.clone();
    assert_eq!(run(&tokenizer, &mut again, "cd\nef</think>gh"), said);
    assert_eq!(again.thinking_tokens(), state.thinking_tokens());
    assert!(kept.is_inside());
}

#[test]
#[should_panic(expected = "a forced token was not taken")]
fn another_token_than_the_forced_one_is_a_bug() {
    let [tokenizer, _] = tokenizers();
    let limits = ThinkLimits { budget: Some(0), min: 0 };
    let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
    state.advance(&tokenizer, encode(&tokenizer, "z")[0]);
}

#[test]
fn where_an_answer_begins_is_read_off_the_prompt() {
    let cases = fixture_json("rendered.json");
    let mut inside = std::collections::BTreeSet::new();
    for entry in cases.as_array().unwrap() {
        if entry["case"] == "single"
            && starts_inside(&Prompt::of_markup(entry["text"].as_str().unwrap_or_default()))
        {
            inside.insert(format!("{} {}", entry["template"], entry["thinking"]));
        }
    }
    let expected =
        ["\"deepseek-v3.1\" true", "\"qwq\" null", "\"r1-distill\" null"].map(str::to_owned);
    assert_eq!(inside.into_iter().collect::<Vec<_>>(), expected);
    let mut forged = Prompt::of_markup("user: ");
    forged.push_text("<think>\n");
    assert!(!starts_inside(&forged), "a user opened it");
}

#[test]
fn off_uses_the_switch_or_else_an_empty_block() {
    const NOTHING: &str = "<think>\nOkay, I think I have finished thinking.\n</think>\n\n";
    let [tokenizer, _] = tokenizers();
    let closed = format!("<｜Assistant｜>{NOTHING}");
    let qwq_closed = format!("assistant\n{NOTHING}");
    for (name, auto, on, off) in [
        ("golden", "assistant\n", "assistant\n", "assistant\n<think>\n\n</think>\n\n"),
        ("qwen3", "assistant\n", "assistant\n", "assistant\n<think>\n\n</think>\n\n"),
        ("qwq", "assistant\n<think>\n", "assistant\n<think>\n", &qwq_closed),
        ("r1-distill", "<｜Assistant｜><think>\n", "<｜Assistant｜><think>\n", &closed),
        ("r1-distill-first", "<｜Assistant｜>", "<｜Assistant｜><think>\n", &closed),
        ("deepseek-v3.1", "<｜Assistant｜></think>", "<｜Assistant｜><think>", {
            "<｜Assistant｜></think>"
        }),
    ] {
        let template = template(name, &tokenizer);
        let thinking = Thinking::of(&tokenizer, &template).unwrap().unwrap();
        let conversation = ask(vec![Message::new(Role::User, "2+2?")]);
        for (mode, expected) in
            [(ThinkMode::Auto, auto), (ThinkMode::On, on), (ThinkMode::Off, off)]
        {
            let options = RenderOptions::default();
            let rendered = thinking.render(&template, &conversation, &options, mode).unwrap();
            let text = rendered.prompt.text();
            assert!(text.ends_with(expected), "{name} {mode:?}: {text:?}");
            assert_eq!(rendered.inside, expected.trim_end().ends_with("<think>"));
        }
    }
}

#[test]
fn a_model_that_knows_no_tags_does_not_think() {
    let [_, spelled] = tokenizers();
    let template = template("smollm2", &spelled);
    assert!(Thinking::of(&spelled, &template).unwrap().is_none());
}

#[test]
fn earlier_turns_lose_their_thinking_whatever_the_template_does() {
    let [tokenizer, _] = tokenizers();
    let mut reasoned = Message::new(Role::Assistant, "Hello!");
    reasoned.reasoning = Some("qzxv".into());
    let tagged = Message::new(Role::Assistant, "<think>\nqzxv\n</think>\n\nHello!");
    let names = fixture_json("cases.json");
    for name in names["templates"].as_object().unwrap().keys() {
        // It cannot do without tools.
        if name == "hermes-3" {
            continue;
        }
        let template = template(name, &tokenizer);
        for answer in [&reasoned, &tagged] {
            let conversation = ask(vec![
                Message::new(Role::User, "Hi"),
                answer.clone(),
                Message::new(Role::User, "Go on"),
            ]);
            let prompt = template.render(&conversation, &RenderOptions::default()).unwrap().text();
            assert!(!prompt.contains("qzxv"), "{name}: {prompt}");
            assert!(prompt.contains("Hello!"), "{name}: {prompt}");
        }
    }
    let keeps = "{% for m in messages %}{{ m.reasoning_content }}|{{ m.content }}{% endfor %}";
    let template = ChatTemplate::parse(keeps, &Specials::default()).unwrap();
    let turns =
        vec![Message::new(Role::User, "u"), reasoned.clone(), Message::new(Role::User, "w")];
    let prompt = template.render(&ask(turns), &RenderOptions::default()).unwrap();
    assert_eq!(prompt.text(), "|u|Hello!|w");
    // In the answer to the last question it stays: the model is still at it.
    let turns = vec![Message::new(Role::User, "u"), reasoned];
    let prompt = template.render(&ask(turns), &RenderOptions::default()).unwrap();
    assert_eq!(prompt.text(), "|uqzxv|Hello!");
}
