//! `ruminate run`, `completions` and the help.

use serde_json::Value;
use text::{Prompt, Tokenizer, TokenizerConfig, VocabSource};

use crate::shared::{Terminal, ruminate, run};
use crate::{FAMILIES, golden, greedy, json, stdout, thinker};

/// What `--json` says of a greedy answer.
fn described(command: &mut std::process::Command, input: &str) -> Value {
    json(&stdout(command.arg("--json"), input))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn off_a_terminal_stdout_is_the_answer_alone() {
    for family in FAMILIES {
        let ask = || {
            let mut command = greedy("run", &golden(family));
            command.args(["--max-tokens", "24", "Hello"]);
            command
        };
        let ended = run(&mut ask(), "");
        let answer = described(&mut ask(), "")["answer"].as_str().unwrap().to_string();
        assert_eq!((ended.code, ended.out), (Some(0), answer + "\n"), "{family}");
        assert_eq!(ended.err, "ruminate: the answer was cut at --max-tokens 24\n");
    }
}

#[test]
fn the_json_of_an_answer_has_its_figures() {
    let mut command = greedy("run", &golden("qwen3"));
    let found = described(command.args(["--max-tokens", "9", "--seed", "5", "Hello"]), "");
    let fields = [
        "model",
        "answer",
        "thinking",
        "finish",
        "thinking_ended_by",
        "auto",
        "seed",
        "usage",
        "timings",
        "experts",
    ];
    assert_eq!(keys(&found), fields);
    assert_eq!(found["finish"], "length");
    assert_eq!(found["seed"], 5);
    assert_eq!(found["thinking"], "");
    let usage = &found["usage"];
    let counts = [
        "prompt_tokens",
        "cached_tokens",
        "thinking_tokens",
        "answer_tokens",
        "completion_tokens",
        "drafted_tokens",
        "accepted_tokens",
    ];
    assert_eq!(keys(usage), counts);
    assert_eq!((&usage["completion_tokens"], &usage["thinking_tokens"]), (&9.into(), &0.into()));
    assert!(usage["prompt_tokens"].as_u64() > Some(5), "{usage}");
    let rates = [
        "load_ms",
        "prompt_ms",
        "decode_ms",
        "prompt_tok_per_s",
        "decode_tok_per_s",
        "tokens_a_step",
    ];
    assert_eq!(keys(&found["timings"]), rates);
    assert!(found["experts"].is_null(), "a dense model has none");
    assert!(rates.iter().all(|rate| found["timings"][rate].as_f64() > Some(0.0)), "{found}");
}

#[test]
fn threads_change_nothing_and_seeds_do() {
    let ask = |threads: &str, seed: &str| {
        let mut command = ruminate();
        let model = golden("qwen2");
        command.arg("run").arg(model).args(["--threads", threads, "--seed", seed]);
        described(command.args(["--temperature", "1", "--max-tokens", "120", "Hi"]), "")
    };
    let (one, two, other) = (ask("1", "7"), ask("2", "7"), ask("1", "8"));
    assert_eq!(one["answer"], two["answer"]);
    assert_eq!(one["usage"], two["usage"]);
    assert_ne!(one["answer"], other["answer"]);
}

#[test]
fn a_pipe_is_the_prompt_or_stands_below_it() {
    let ask = |prompt: &[&str], input| {
        let mut command = greedy("run", &golden("llama"));
        described(command.args(["--max-tokens", "8"]).args(prompt), input)
    };
    let whole = ask(&["Say:\n\nno"], "");
    let parts = ask(&["Say:"], "no\n");
    let piped = ask(&[], "Say:\n\nno\n");
    assert_eq!(whole["answer"], parts["answer"]);
    assert_eq!(whole["usage"], parts["usage"]);
    assert_eq!(whole["answer"], piped["answer"]);
    assert_ne!(whole["usage"], ask(&["Say:"], "")["usage"]);
}

#[test]
fn raw_text_goes_on_without_a_template() {
    let ask = |args: &[&str]| {
        let mut command = greedy("run", &golden("llama"));
        described(command.args(["--max-tokens", "8", "aaaa"]).args(args), "")
    };
    let (raw, chat) = (ask(&["--raw"]), ask(&[]));
    let tokens = |found: &Value| found["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&raw) <= 4 && tokens(&chat) > 4, "{raw} {chat}");
}

#[test]
fn a_system_text_is_heard() {
    let ask = |args: &[&str]| {
        let mut command = greedy("run", &golden("llama"));
        described(command.args(["--max-tokens", "8", "Hi"]).args(args), "")["usage"].clone()
    };
    assert!(
        ask(&["--system", "Be brief."])["prompt_tokens"].as_u64()
            > ask(&[])["prompt_tokens"].as_u64()
    );
}

#[test]
fn a_stop_text_ends_the_answer_before_it() {
    let ask = |args: &[&str]| {
        let mut command = greedy("run", &golden("llama"));
        described(command.args(["--max-tokens", "60", "Hello"]).args(args), "")
    };
    let whole = ask(&[]);
    let whole = whole["answer"].as_str().unwrap();
    let stop: String = whole.chars().skip(10).take(4).collect();
    let found = ask(&["--stop", "never written", "--stop", &stop]);
    let before = &whole[..whole.find(&stop).unwrap()];
    assert_eq!(
        (found["finish"].as_str(), found["answer"].as_str()),
        (Some("stop_string"), Some(before))
    );
}

/// Tokens of the text that ends thinking by force, up to its tag.
fn forced_tokens() -> u64 {
    let read = |file| std::fs::read(golden("llama").join(file)).unwrap();
    let config = TokenizerConfig::from_json(&read("tokenizer_config.json"), None).unwrap();
    let json = read("tokenizer.json");
    let tokenizer = Tokenizer::new(VocabSource::TokenizerJson(&json), &config).unwrap();
    let text = "\n\nConsidering the limited time by the user, I have to give the solution based \
                on the thinking directly now.\n</think>";
    let tokens = tokenizer.encode_prompt(&Prompt::of_markup(text)).unwrap();
    tokens.len() as u64 - 1
}

#[test]
fn thinking_is_off_on_or_as_long_as_its_budget() {
    let model = thinker();
    let ask = |think: &str, tokens: &str| {
        let mut command = greedy("run", model.path());
        described(command.args(["--max-tokens", tokens, "--think", think, "Hello"]), "")
    };
    let off = ask("off", "30");
    assert_eq!((&off["thinking"], &off["usage"]["thinking_tokens"]), (&"".into(), &0.into()));
    assert_eq!(off["usage"]["answer_tokens"], 30);
    // A quarter is kept for the answer, and what closes thinking goes before it.
    let on = ask("on", "30");
    assert_eq!(
        (&on["thinking_ended_by"], &on["usage"]["completion_tokens"]),
        (&"reserve".into(), &30.into())
    );
    assert_eq!(on["usage"]["answer_tokens"], 7);
    for budget in [1_u64, 10, 20] {
        let found = ask(&budget.to_string(), "180");
        let tokens = found["usage"]["thinking_tokens"].as_u64().unwrap() - forced_tokens();
        assert!((budget..=budget + budget.div_ceil(10)).contains(&tokens), "{budget}: {tokens}");
        let thinking = found["thinking"].as_str().unwrap();
        assert!(thinking.ends_with("based on the thinking directly now."), "{thinking}");
        assert!(found["usage"]["answer_tokens"].as_u64() > Some(0), "{found}");
    }
}

#[test]
fn off_a_terminal_thinking_is_not_printed() {
    let model = thinker();
    let ask = || {
        let mut command = greedy("run", model.path());
        command.args(["--max-tokens", "180", "--think", "10", "Hello"]);
        command
    };
    let answer = described(&mut ask(), "")["answer"].as_str().unwrap().to_string();
    assert_eq!(run(&mut ask(), "").out, answer + "\n");
}

#[test]
fn on_a_terminal_thinking_is_dim_and_figures_follow() {
    let model = thinker();
    let mut command = greedy("run", model.path());
    command.args(["--max-tokens", "180", "--think", "10", "Hello"]);
    let (status, shown) = Terminal::start(command.env("TERM", "xterm")).end();
    assert!(status.success(), "{shown}");
    let (thinking, answer) = shown.split_once("\x1b[0m\r\n\r\n").unwrap();
    assert!(thinking.contains("\x1b[2m"), "{shown:?}");
    let (answer, figures) = answer.split_once("\x1b[2mprompt ").unwrap();
    assert!(!answer.contains("\x1b[2m"), "{shown:?}");
    assert!(figures.contains(" · thinking ") && figures.contains(" · answer "), "{shown:?}");
    assert!(figures.ends_with(" tokens/s\x1b[0m\r\n"), "{shown:?}");
}

#[test]
fn without_colour_words_tell_thinking_apart() {
    let model = thinker();
    let mut command = greedy("run", model.path());
    command.args(["--max-tokens", "180", "--think", "10", "Hello"]);
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    let (status, shown) = Terminal::start(&mut command).end();
    assert!(status.success() && !shown.contains("\x1b[2m"), "{shown:?}");
    assert!(shown.contains("<think>\r\n") && shown.contains("\r\n</think>\r\n\r\n"), "{shown:?}");
}

#[test]
fn completions_are_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(ruminate().args(["completions", shell]), "");
        assert!(script.contains("max-tokens"), "{shell}");
    }
}

#[test]
fn help_shows_examples() {
    for command in ["chat", "run", "pull", "completions"] {
        let help = stdout(ruminate().args([command, "--help"]), "");
        assert!(help.contains("Examples:\n"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
