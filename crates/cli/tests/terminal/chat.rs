//! `ruminate chat`, from a pipe and on a terminal.

use std::process::Command;

use crate::shared::{Terminal, ruminate, run};
use crate::{FAMILIES, golden, greedy, stdout, thinker};

/// A greedy chat whose answers are short.
fn short(family: &str) -> Command {
    let mut command = greedy("chat", &golden(family));
    command.args(["--stop", " ", "--max-tokens", "10"]);
    command
}

fn on_terminal(command: &mut Command) -> Terminal {
    Terminal::start(command.env("TERM", "xterm"))
}

#[test]
fn each_line_of_a_pipe_is_a_turn_that_knows_the_turns_before() {
    for family in FAMILIES {
        let answers = |input| run(&mut short(family), input).out;
        let once = answers("Hello\n");
        let reset = answers("Hello\n/reset\nHello\n");
        assert_eq!(reset, format!("{once}{once}"), "{family}");
        let twice = answers("Hello\nHello\n");
        assert!(twice.starts_with(&once), "{family}: {twice}");
        assert_ne!(twice, reset, "{family}");
    }
}

#[test]
fn the_first_turn_is_what_run_answers() {
    let mut once = greedy("run", &golden("qwen3"));
    once.args(["--stop", " ", "--max-tokens", "10", "Hello \nyou"]);
    assert_eq!(run(&mut short("qwen3"), "Hello \\\nyou\n").out, run(&mut once, "").out);
}

#[test]
fn a_system_text_can_be_given_at_any_time() {
    let mut given = short("llama");
    let given = run(given.args(["--system", "Be brief."]), "Hello\n").out;
    let typed = run(&mut short("llama"), "/system Be brief.\nHello\n").out;
    assert_eq!(given, typed);
    let removed = run(&mut short("llama"), "/system Be brief.\n/system\nHello\n").out;
    assert_eq!(removed, run(&mut short("llama"), "Hello\n").out);
}

#[test]
fn thinking_of_earlier_turns_is_forgotten() {
    let model = thinker();
    let ask = |input| {
        let mut command = greedy("chat", model.path());
        command.args(["--stop", " ", "--max-tokens", "30", "--think", "20", "--context", "140"]);
        run(&mut command, input)
    };
    let (forced, skipped) = (ask("a\n"), ask("/fast\na\n"));
    assert_eq!((forced.code, skipped.code), (Some(0), Some(0)), "{forced:?} {skipped:?}");
    // The context holds three turns, and 20 tokens more: no thinking stays of any.
    let three = ask("a\nb\nc\n");
    assert!(three.code == Some(0) && !three.err.contains("is full"), "{three:?}");
}

#[test]
fn a_conversation_that_outgrows_the_context_is_told_and_not_cut() {
    let mut command = greedy("chat", &golden("llama"));
    command.args(["--context", "64", "--max-tokens", "4"]);
    let ended = run(&mut command, &format!("Hi\n{}\n", "long ".repeat(60)));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.err.lines().last().unwrap();
    assert!(last.ends_with("tokens do not fit the context of 64"), "{last}");
}

#[test]
fn a_wrong_command_in_a_pipe_fails() {
    let ended = run(&mut short("llama"), "/thnk\nHello\n");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_eq!(ended.err, "ruminate: /thnk is no command; /help lists them\n");
}

#[test]
fn an_empty_pipe_is_an_empty_conversation() {
    assert_eq!(stdout(&mut short("llama"), ""), "");
    assert_eq!(stdout(&mut short("llama"), "\n/quit\nHello\n"), "");
}

#[test]
fn a_terminal_has_commands_and_a_warm_cache() {
    let mut chat = on_terminal(&mut short("qwen3"));
    chat.expect("Ctrl-D leaves.");
    chat.enter("/help");
    chat.expect("/budget N");
    chat.enter("/budget 12");
    chat.expect("Thinking is on, for at most 12 tokens.");
    chat.enter("/fast");
    chat.expect("Thinking is off.");
    chat.enter("/nonsense");
    chat.expect("/nonsense is no command; /help lists them");
    // More than a page of prompt, so that the next turn finds it in the cache.
    chat.enter(&"the quick brown fox ".repeat(4));
    let first = chat.expect(" tokens/s");
    assert!(!first.contains(" cached)"), "{first:?}");
    chat.enter("again");
    let second = chat.expect(" tokens/s");
    assert!(second.contains(" cached) at "), "{second:?}");
    chat.enter("/reset");
    chat.expect("The conversation is forgotten.");
    chat.expect_line();
    chat.press(b"\x04");
    let (status, rest) = chat.end();
    assert!(status.success(), "{rest:?}");
}

#[test]
fn on_a_terminal_a_full_context_leaves_the_conversation_as_it_was() {
    let mut command = short("llama");
    let mut chat = on_terminal(command.args(["--context", "64"]));
    chat.expect("Ctrl-D leaves.");
    chat.enter(&"long ".repeat(60));
    chat.expect("tokens do not fit the context of 64; nothing was sent. /reset starts anew");
    chat.enter("Hi");
    chat.expect(" tokens/s");
    chat.enter("/quit");
    assert!(chat.end().0.success());
}

#[test]
fn ctrl_c_on_an_empty_line_leaves_nothing_but_a_hint() {
    let mut chat = on_terminal(&mut short("llama"));
    chat.expect("Ctrl-D leaves.");
    chat.expect_line();
    chat.press(b"\x03");
    chat.expect("Ctrl-D leaves.");
    chat.enter("/quit");
    assert!(chat.end().0.success());
}

#[test]
fn a_model_without_a_template_does_not_chat() {
    let model = crate::copy("llama");
    let path = model.path().join("tokenizer_config.json");
    std::fs::write(&path, r#"{"eos_token": "<|im_end|>"}"#).unwrap();
    let ended = run(ruminate().arg("chat").arg(model.path()), "Hi\n");
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("this model has no chat template, so it cannot chat"), "{ended:?}");
}
