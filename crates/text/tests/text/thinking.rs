//! Thinking is asked for, counted, cut short and left out as `thinking` says.

use std::sync::Arc;

use crate::shared::{fixture, fixture_json};
use ruminate_text::{
    ChatTemplate, Controls, Conversation, Message, Place, Prompt, RenderOptions, Role, Specials,
    ThinkEnd, ThinkLimits, ThinkMode, ThinkState, Thinking, Tokenizer, TokenizerConfig,
    VocabSource, answer_reserve, starts_inside,
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

/// Lets a model say `text`, with a wait wherever it would end too early.
fn run_patiently(tokenizer: &Tokenizer, state: &mut ThinkState, text: &str) -> String {
    let mut said = Vec::new();
    for wanted in encode(tokenizer, text) {
        while let Some(id) = state.forced() {
            state.advance(tokenizer, id);
            said.push(id);
        }
        let id = if state.refuses(wanted) { state.instead() } else { wanted };
        state.advance(tokenizer, id);
        said.push(id);
    }
    said.extend(run(tokenizer, state, "").iter().map(|said| said.0));
    tokenizer.decode(&said, Controls::Keep)
}

#[test]
fn thinking_cannot_end_before_its_minimum() {
    let [tokenizer, spelled] = tokenizers();
    let limits = ThinkLimits { budget: None, min: 12 };
    let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
    let said = run_patiently(&tokenizer, &mut state, "ab</think><|im_end|>cdefghi</think>done");
    assert_eq!(said, "ab\nWait,\nWait,cdefghi</think>done");
    assert_eq!(state.ended_by(), Some(ThinkEnd::Model));
    // A tag that is spelled out counts as thinking until it is whole.
    let limits = ThinkLimits { budget: None, min: 30 };
    let mut state = ThinkState::new(thinking(&spelled), limits, true);
    let said = run_patiently(&spelled, &mut state, "ab</think>");
    assert_eq!(said, "ab</think\nWait,");
    assert!(state.is_inside() && state.ended_by().is_none());
}

#[test]
fn an_answer_cannot_end_before_its_thinking_does() {
    for tokenizer in tokenizers() {
        let limits = ThinkLimits { budget: None, min: 0 };
        let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
        let said = run_patiently(&tokenizer, &mut state, "ab<|im_end|>");
        assert_eq!(said, "ab\n</think>\n\n");
        assert_eq!(state.ended_by(), Some(ThinkEnd::Model));
        assert!(!state.refuses(tokenizer.added("<|im_end|>").unwrap()));
    }
}

#[test]
fn a_minimum_beyond_the_budget_or_the_room_gives_way() {
    for tokenizer in tokenizers() {
        let limits = ThinkLimits { budget: Some(5), min: 1000 };
        let mut state = ThinkState::new(thinking(&tokenizer), limits, true);
        let close = *thinking(&tokenizer).closing().first().unwrap();
        let mut own = 0;
        while state.ended_by().is_none() {
            let id = state.forced().unwrap_or_else(|| {
                own += 1;
                if state.refuses(close) { state.instead() } else { encode(&tokenizer, "a")[0] }
            });
            state.advance(&tokenizer, id);
            assert!(own < 50);
        }
        assert_eq!(state.ended_by(), Some(ThinkEnd::Budget));
        let stop = encode(&tokenizer, STOP.split("</think>").next().unwrap()).len() as u32;
        assert!(state.thinking_tokens() <= 6 + stop + 8, "{}", state.thinking_tokens());
    }
}

#[test]
fn a_part_of_all_tokens_is_kept_for_the_answer_and_thinking_lands_before_it() {
    let reserves = [0, 3, 4, 100, 4096, 40_000].map(answer_reserve);
    assert_eq!(reserves, [0, 0, 1, 25, 1024, 1024]);
    for tokenizer in tokenizers() {
        for inside in [true, false] {
            for max_tokens in [40, 60, 200, 1000, 9000] {
                for line in ["a", "b c d\n"] {
                    let limits = ThinkLimits::default();
                    let state = ThinkState::new(thinking(&tokenizer), limits, inside);
                    let mut state = state.within(max_tokens);
                    // No two lines are alike, so that nothing goes in circles.
                    let text = |i: usize| format!("{i}{line}");
                    let mut wanted = Vec::new();
                    let mut n = 0;
                    if !inside {
                        wanted = encode(&tokenizer, "<think>");
                        wanted.reverse();
                    }
                    while state.ended_by().is_none() {
                        if wanted.is_empty() {
                            wanted = encode(&tokenizer, &text(n * 7919 % 10_007));
                            wanted.reverse();
                        }
                        let id = state.forced().unwrap_or_else(|| wanted.pop().unwrap());
                        state.advance(&tokenizer, id);
                        n += 1;
                        assert!(n <= max_tokens, "{max_tokens}");
                    }
                    while let Some(id) = state.forced() {
                        state.advance(&tokenizer, id);
                        n += 1;
                    }
                    assert_eq!(state.ended_by(), Some(ThinkEnd::Reserve));
                    let room = max_tokens - answer_reserve(max_tokens);
                    assert!(n <= room, "{n} of {room}, {line:?}");
                    if line == "a" {
                        assert_eq!(n, room, "without lines all of the room is used");
                    }
                    assert!(n + room / 10 + 1 >= room, "{n} of {room}: it lands not far before");
                }
            }
        }
    }
}

#[test]
fn thinking_that_goes_in_circles_is_stopped() {
    for tokenizer in tokenizers() {
        let mut state = ThinkState::new(thinking(&tokenizer), ThinkLimits::default(), true);
        let said = run(&tokenizer, &mut state, &"But wait, is it 4? Let me see.\n".repeat(60));
        assert_eq!(state.ended_by(), Some(ThinkEnd::Loop));
        let thought = text_at(&tokenizer, &said, Place::Thinking);
        assert!(thought.contains("based on the thinking directly now."), "{thought}");
        assert!(state.thinking_tokens() < 400, "{}", state.thinking_tokens());
    }
}

#[test]
fn whoever_drives_thinking_may_end_it_once() {
    let [tokenizer, _] = tokenizers();
    let mut state = ThinkState::new(thinking(&tokenizer), ThinkLimits::default(), true);
    run(&tokenizer, &mut state, "ab");
    assert!(state.is_free() && state.end(ThinkEnd::Agreed));
    assert!(!state.end(ThinkEnd::Agreed) && state.ended_by().is_none());
    run(&tokenizer, &mut state, "");
    assert_eq!(state.ended_by(), Some(ThinkEnd::Agreed));
    assert!(!state.end(ThinkEnd::Agreed));
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
