//! A real model answers in the terminal: SmolLM2-135M-Instruct.

#![expect(clippy::unwrap_used, reason = "a test stops where its ground is missing")]

mod shared;

use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use shared::{Terminal, repository, ruminate, run};

/// Without it this file answers some questions in French, as llama.cpp does with it too.
const SYSTEM: &str = "Answer in English.";
const QUESTION: &str = "What is the capital of France?";

/// The model, or a failure that says how to get it.
fn smollm2() -> PathBuf {
    let path = repository("models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is missing: run `cargo xtask fetch smollm2`", path.display());
    path
}

fn greedy(command: &str) -> Command {
    let mut it = ruminate();
    it.arg(command).arg(smollm2()).args(["--temperature", "0", "--system", SYSTEM]);
    it
}

#[test]
fn it_knows_the_capital_of_france() {
    let ended = run(greedy("run").args(["--max-tokens", "48", QUESTION]), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("Paris") && ended.err.is_empty(), "{ended:?}");
    let chat = run(greedy("chat").args(["--max-tokens", "48"]), &format!("{QUESTION}\n"));
    assert_eq!((chat.code, &chat.out), (Some(0), &ended.out));
}

#[test]
fn it_remembers_the_turn_before() {
    let input = format!("{QUESTION}\nAnd in which country is it?\n");
    let ended = run(greedy("chat").args(["--max-tokens", "48"]), &input);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (_, second) = ended.out.split_once('\n').unwrap();
    assert!(second.contains("France"), "{ended:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let answer = |threads| {
        let mut command = ruminate();
        command.arg("run").arg(smollm2()).args(["--seed", "3", "--threads", threads]);
        let ended = run(command.args(["--max-tokens", "24", "Tell me a story."]), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    assert_eq!(answer("1"), answer("2"));
}

/// What Ctrl-C sends while no line is edited.
fn interrupt(terminal: &Terminal) {
    kill_process(Pid::from_child(&terminal.child), Signal::INT).unwrap();
}

/// The answer goes on until the context is full, far longer than a test has patience for.
const ENDLESS: &str = "Tell me a long story about a fox.";

#[test]
fn ctrl_c_stops_an_answer_and_the_chat_goes_on() {
    let mut chat = Terminal::start(greedy("chat").env("TERM", "xterm"));
    chat.expect("Ctrl-D leaves.");
    chat.enter(ENDLESS);
    chat.expect("The story of");
    interrupt(&chat);
    chat.expect("ruminate: stopped");
    chat.expect(" tokens/s");
    chat.enter("/reset");
    chat.expect("The conversation is forgotten.");
    chat.enter(QUESTION);
    chat.expect("Paris");
    chat.expect(" tokens/s");
    chat.expect_line();
    chat.press(b"\x04");
    assert!(chat.end().0.success());
}

#[test]
fn ctrl_c_ends_run_with_what_is_there() {
    let mut answer = Terminal::start(greedy("run").arg(ENDLESS).env("TERM", "xterm"));
    answer.expect("The story of");
    interrupt(&answer);
    answer.expect("ruminate: stopped");
    assert_eq!(answer.end().0.code(), Some(130));
}
