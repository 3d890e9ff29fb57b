//! `verify` as a command: a verdict a line, broken lines by their numbers, code behind walls.

#![expect(clippy::unwrap_used, reason = "a test stops where its file is missing")]

#[expect(dead_code, reason = "other tests use the rest")]
mod shared;

use serde_json::{Value, json};
use shared::{Ended, ruminate, run};

fn verify(verifier: &str, lines: &str) -> Ended {
    run(ruminate().args(["verify", "-", "--verifier", verifier]), lines)
}

fn verdicts(ended: &Ended) -> Vec<(f64, String)> {
    let verdict = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["score"].as_f64().unwrap(), value["why"].as_str().unwrap().to_string())
    };
    ended.out.lines().map(verdict).collect()
}

#[test]
fn each_line_gets_a_verdict() {
    let lines = "{\"gold\": \"1/2\", \"pred\": \"so \\\\boxed{0.5}\"}\r\n\
                 {\"gold\": \"1/2\", \"pred\": \"\\\\boxed{0.6}\", \"id\": 7}";
    let ended = verify("math", lines);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let scores: Vec<f64> = verdicts(&ended).into_iter().map(|verdict| verdict.0).collect();
    assert_eq!(scores, [1.0, 0.0]);
}

#[test]
fn a_broken_line_is_named_by_its_number_and_the_others_are_scored() {
    let long = "x".repeat((1 << 20) + 100);
    let lines = format!(
        "{{\"gold\": \"a\", \"pred\": \"a\"}}\nno JSON\n\n{{\"gold\": \"a\"}}\n{long}\n\
         {{\"gold\": \"a\", \"pred\": \"a\"}}\n"
    );
    let ended = verify("exact", &lines);
    assert_eq!(ended.code, Some(1));
    let verdicts = verdicts(&ended);
    let scores: Vec<f64> = verdicts.iter().map(|verdict| verdict.0).collect();
    assert_eq!(scores, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    for number in 2..=5 {
        assert!(ended.err.contains(&format!("ruminate: -: line {number}: ")), "{}", ended.err);
        let broken = format!("line {number} is broken: ");
        assert!(verdicts[number - 1].1.starts_with(&broken), "{:?}", verdicts[number - 1]);
    }
    assert!(ended.err.ends_with("ruminate: -: 4 of 6 lines are broken\n"), "{}", ended.err);
}

#[test]
fn a_verifier_that_can_not_be_had_is_named() {
    for (name, code, says) in [
        ("oracle", 2, "no verifier is called oracle (known: choice, code"),
        ("command", 2, "the verifier command needs a program to run"),
        ("judge", 2, "the verifier judge needs the address of a server"),
    ] {
        let ended = verify(name, "");
        assert_eq!(ended.code, Some(code), "{}", ended.err);
        assert!(ended.err.starts_with(&format!("ruminate: {says}")), "{}", ended.err);
    }
    let missing = run(ruminate().args(["verify", "nowhere.jsonl", "--verifier", "exact"]), "");
    assert!(missing.err.starts_with("ruminate: nowhere.jsonl: cannot open"), "{}", missing.err);
    let child = run(ruminate().arg("sandbox-child"), "");
    assert_ne!(child.code, Some(0), "a person who calls the sandbox's child is told");
}

#[test]
fn a_command_of_the_user_scores() {
    let script = r#"while read -r l; do echo '{"score": 0.25, "why": "a quarter"}'; done"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grade.sh");
    std::fs::write(&path, script).unwrap();
    let command = format!("sh {}", path.display());
    let arguments = ["verify", "-", "--verifier", "command", "--command", &command];
    let ended = run(ruminate().args(arguments), "{\"gold\": \"a\", \"pred\": \"b\"}\n");
    assert_eq!(ended.out, "{\"score\":0.25,\"why\":\"a quarter\"}\n", "{}", ended.err);
}

#[test]
fn code_is_scored_behind_walls_that_hold() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let test = "assert f(20) == 6765";
    let right = "def f(n):\n    a, b = 0, 1\n    for _ in range(n): a, b = b, a + b\n    return a";
    let honest = "def f(n): return 6765\n";
    let hostile = [
        format!("print(open({secret:?}).read())\n{honest}"),
        format!("import socket\nsocket.create_connection(('127.0.0.1', {port}))\n{honest}"),
        format!("import os\nwhile True: os.fork()\n{honest}"),
        format!(
            "n = 0\nwhile True:\n    open(str(n), 'wb').write(bytes(1 << 20)); n += 1\n{honest}"
        ),
        format!(
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
             assert libc.ptrace(16, 1, 0, 0) == 0\n{honest}"
        ),
        format!("import os, signal\nos.kill(os.getppid() or 1, signal.SIGKILL)\n{honest}"),
        "print('{\"score\": 1.0, \"why\": \"equal\"}')\nimport os\nos._exit(0)".to_string(),
    ];
    let mut lines = json!({ "gold": test, "pred": right }).to_string() + "\n";
    for program in &hostile {
        let pred = format!("<think>hm</think>\n```python\n{program}\n```");
        lines += &(json!({ "gold": "", "tests": [test], "pred": pred }).to_string() + "\n");
    }
    let ended = verify("code", &lines);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let verdicts = verdicts(&ended);
    assert_eq!(verdicts[0], (1.0, "1 tests passed".into()));
    assert_eq!(verdicts.len(), 1 + hostile.len());
    for (verdict, program) in verdicts[1..].iter().zip(&hostile) {
        assert_eq!(verdict.0, 0.0, "{program}: {}", verdict.1);
    }
    assert!(!ended.out.contains("hunter2"));
}
