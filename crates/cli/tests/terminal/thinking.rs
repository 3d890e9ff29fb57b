//! Thinking that is kept in bounds, decided in auto, and calibrated.

use std::fs;

use crate::shared::run;
use crate::{greedy, json, stdout, thinker};

const QUESTIONS: &str = r#"{"question": "1+1?", "answer": "2"}

{"question": "Say a.", "answer": "a", "verifier": "exact"}
{"question": "3*4?", "answer": "12", "verifier": "number"}
"#;

#[test]
fn the_decision_of_auto_is_told_and_is_the_same_again() {
    let model = thinker();
    let ask = || {
        let mut command = greedy("run", model.path());
        command.args(["--max-tokens", "120", "--think", "auto", "--json", "Hello"]);
        json(&stdout(&mut command, ""))
    };
    let found = ask();
    let auto = &found["auto"];
    assert!(auto["thinks"].is_boolean() && auto["why"].is_string(), "{found}");
    let p_end = auto["p_end"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&p_end), "{found}");
    let again = ask();
    for key in ["answer", "thinking", "usage", "auto"] {
        assert_eq!(found[key], again[key], "{key}");
    }
    let mut plain = greedy("run", model.path());
    plain.args(["--max-tokens", "9", "--think", "off", "--json", "Hello"]);
    assert!(json(&stdout(&mut plain, ""))["auto"].is_null());
}

#[test]
fn a_minimum_of_thinking_is_kept() {
    let model = thinker();
    let ask = |least: &str| {
        let mut command = greedy("run", model.path());
        command.args([
            "--max-tokens",
            "120",
            "--think",
            "on",
            "--think-min",
            least,
            "--json",
            "Hi",
        ]);
        json(&stdout(&mut command, ""))["usage"]["thinking_tokens"].as_u64().unwrap()
    };
    assert!(ask("50") >= 50);
}

#[test]
fn thresholds_are_found_written_and_read() {
    let model = thinker();
    let folder = tempfile::tempdir().unwrap();
    let (questions, out) = (folder.path().join("questions.jsonl"), folder.path().join("out.toml"));
    fs::write(&questions, QUESTIONS).unwrap();
    let calibrate = |questions: &std::path::Path| {
        let mut command = crate::shared::ruminate();
        command.arg("calibrate").arg(model.path()).arg(questions);
        command.args(["--max-tokens", "100", "--threads", "1", "--out"]).arg(&out);
        command
    };
    let found = json(&stdout(calibrate(&questions).arg("--json"), ""));
    assert_eq!(found["questions"].as_array().unwrap().len(), 3);
    for question in found["questions"].as_array().unwrap() {
        assert!(question["fast"]["tokens"].as_u64() > Some(0), "{question}");
        assert!(question["slow"]["thinking_tokens"].as_u64() > Some(0), "{question}");
    }
    assert!(found["ways"]["on"]["tokens"].as_f64() > Some(0.0), "{found}");
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("# Questions: 3, seed 0, at most 100 tokens each"), "{text}");
    let shown = stdout(&mut calibrate(&questions), "");
    assert!(shown.contains("auto, fitted") && shown.ends_with("is written.\n"), "{shown}");
    assert_eq!(fs::read_to_string(&out).unwrap(), text, "the same seed gives the same file");
    let ask = |name: &std::path::Path| {
        let mut command = greedy("run", model.path());
        command.args(["--max-tokens", "60", "--think", "auto", "Hello"]);
        run(command.arg("--thinking-thresholds").arg(name), "")
    };
    assert_eq!(ask(&out).code, Some(0));
    fs::write(&out, "short_tokens = 0\n").unwrap();
    let ended = ask(&out);
    assert!(ended.code == Some(1) && ended.err.contains("short_tokens is 0"), "{ended:?}");

    fs::write(&questions, "{\"question\": \"?\"}\n").unwrap();
    let ended = run(&mut calibrate(&questions), "");
    assert!(ended.code == Some(1) && ended.err.contains("line 1"), "{ended:?}");
    let ended = run(calibrate(&questions).args(["--verifier", "oracle"]), "");
    assert!(ended.code == Some(2) && ended.err.contains("no verifier \"oracle\""), "{ended:?}");
}
