//! Questions with known answers, asked here and of a server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json as object};
use tempfile::TempDir;

use crate::serving::Serving;
use crate::shared::{ruminate, run};
use crate::{copy, golden, json, stdout, thinker};

const TASKS: &str = r#"{"question": "1+1?", "answer": "2", "difficulty": 3}

{"question": "Say a.", "answer": "a", "verifier": "exact", "difficulty": "hard"}
{"question": "3*4?", "answer": "12", "verifier": "number", "difficulty": 1}
{"question": "Why?", "answer": "42"}
"#;

/// A file of questions in a folder that goes with it.
fn tasks(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.jsonl");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// `ruminate eval` of short answers by a model here.
fn eval(model: &Path, tasks: &Path, args: &[&str]) -> Command {
    let mut command = ruminate();
    command.arg("eval").arg(model).arg(tasks).args(["--max-tokens", "80"]).args(args);
    command
}

/// The same by a server.
fn eval_at(url: &str, tasks: &Path, args: &[&str]) -> Command {
    let mut command = ruminate();
    command.args(["eval", "--url", url]).arg(tasks).args(["--max-tokens", "80"]).args(args);
    command
}

#[test]
fn a_server_answers_as_the_engine_here_does() {
    let (model, (_folder, tasks)) = (thinker(), tasks(TASKS));
    let server = Serving::start(model.path(), &["--quiet", "--streams", "3", "--threads", "2"]);
    let url = format!("http://{}", server.address);
    let mut answers = Vec::new();
    let system = ["--system", "Why not?"];
    for sampling in [["--temperature", "0"], ["--samples", "2"], ["--seed", "0"], system] {
        let mut here = eval(model.path(), &tasks, &["--json", "--threads", "1"]);
        let here = run(here.args(sampling), "");
        let there = run(eval_at(&url, &tasks, &["--json", "--streams", "5"]).args(sampling), "");
        assert_eq!((here.code, there.code), (Some(0), Some(0)), "{here:?} {there:?}");
        let (here, there) = (json(&here.out), json(&there.out));
        for part in ["answers", "modes", "questions"] {
            assert_eq!(here[part], there[part], "{part}");
        }
        let n = if sampling[0] == "--samples" { 24 } else { 12 };
        assert_eq!(here["answers"].as_array().unwrap().len(), n);
        answers.push(here["answers"].clone());
    }
    assert_ne!(answers[2], answers[3], "what is said before a question is heard");
}

#[test]
fn a_seed_gives_the_same_answers_however_many_are_under_way() {
    let (model, (_folder, tasks)) = (thinker(), tasks(TASKS));
    let ask = |seed: &str, args: &[&str]| {
        let mut command = eval(model.path(), &tasks, &["--samples", "4", "--json"]);
        command.args(["--temperature", "1", "--top-p", "1", "--seed", seed]).args(args);
        json(&stdout(&mut command, ""))["answers"].clone()
    };
    let one = ask("7", &["--streams", "1", "--threads", "1"]);
    assert_eq!(one, ask("7", &["--streams", "9", "--threads", "2"]));
    assert_ne!(one, ask("8", &["--streams", "9", "--threads", "2"]));
    let answers = |mode: &str| -> Vec<&str> {
        let all = one.as_array().unwrap().iter();
        let of = all.filter(|it| it["mode"] == mode && it["question"] == 0);
        of.map(|it| it["answer"].as_str().unwrap()).collect()
    };
    assert_eq!(answers("fast").len(), 4);
    assert!(answers("fast").iter().any(|it| *it != answers("fast")[0]), "{:?}", answers("fast"));
}

#[test]
fn what_is_right_is_counted_and_what_it_takes() {
    let (model, (folder, path)) = (thinker(), tasks(TASKS));
    let flags = ["--temperature", "0", "--json"];
    let found = json(&stdout(&mut eval(model.path(), &path, &flags), ""));
    // Whatever it says to the last question without thinking is now right.
    let said = &found["answers"].as_array().unwrap()[9];
    assert_eq!((&said["question"], &said["mode"]), (&3.into(), &"fast".into()), "{said}");
    let last = object!({ "question": "Why?", "answer": said["answer"], "verifier": "exact" });
    let last = last.to_string();
    let text = TASKS.lines().take(4).chain([last.as_str()]).collect::<Vec<_>>();
    fs::write(&path, text.join("\n")).unwrap();
    let found = json(&stdout(&mut eval(model.path(), &path, &flags), ""));
    let modes = found["modes"].as_array().unwrap();
    let names: Vec<_> = modes.iter().map(|mode| mode["mode"].as_str().unwrap()).collect();
    assert_eq!(names, ["fast", "slow", "auto"]);
    let fast = &modes[0];
    assert_eq!(fast["right"]["share"], 0.25, "{fast}");
    let (low, high) = (&fast["right"]["low"], &fast["right"]["high"]);
    // Wilson's interval of one in four.
    assert!((low.as_f64().unwrap() - 0.0456).abs() < 1e-4, "{low}");
    assert!((high.as_f64().unwrap() - 0.6994).abs() < 1e-4, "{high}");
    let parts = fast["by_difficulty"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| part["difficulty"].as_str().unwrap()).collect();
    assert_eq!(names, ["1", "3", "hard", "none"]);
    assert_eq!(parts[3]["right"]["share"], 1.0);
    for (mode, thought) in [(fast, 0.0), (&modes[1], 1.0)] {
        assert_eq!(mode["thought"], thought, "{mode}");
        let tokens = |key: &str| mode[key].as_f64().unwrap();
        let parts = ["thinking_tokens_each", "answer_tokens_each", "decision_tokens_each"];
        let sum: f64 = parts.iter().map(|key| tokens(key)).sum();
        assert!((sum - tokens("tokens_each")).abs() < 1e-9, "{mode}");
    }
    let auto = &found["answers"].as_array().unwrap()[2];
    assert_eq!(auto["mode"], "auto");
    assert!(auto["tokens"].as_u64() > auto["decision_tokens"].as_u64(), "{auto}");

    let svg = folder.path().join("plot.svg");
    let mut command = eval(model.path(), &path, &["--samples", "2", "--modes", "slow,fast"]);
    let shown = stdout(command.arg("--limit").arg("3").arg("--svg").arg(&svg), "");
    for words in ["3 questions of", "2 answers to each", "decision", "pass@2", "% right", "hard"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let svg = fs::read_to_string(&svg).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
}

#[test]
fn a_model_that_does_not_think_answers_fast() {
    let (model, (_folder, tasks)) = (copy("llama"), tasks(TASKS));
    let path = model.path().join("tokenizer_config.json");
    let mut config = json(&fs::read_to_string(&path).unwrap());
    // Without a template nobody knows what thinking would be.
    config.as_object_mut().unwrap().remove("chat_template");
    fs::write(&path, config.to_string()).unwrap();
    let ended = run(&mut eval(model.path(), &tasks, &["--json"]), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("does not think"), "{ended:?}");
    let found = json(&ended.out);
    assert_eq!(found["modes"].as_array().unwrap().len(), 1);
    assert_eq!(found["modes"][0]["mode"], "fast");
    let ended = run(&mut eval(model.path(), &tasks, &["--modes", "fast,slow"]), "");
    assert!(ended.code == Some(2) && ended.err.contains("it has only fast"), "{ended:?}");
}

#[test]
fn broken_questions_and_flags_are_one_line_that_names_them() {
    let long = format!("{{\"question\": \"{}\", \"answer\": \"\"}}", "?".repeat(1 << 20));
    for (text, why) in [
        ("\n\nwhat?\n", "tasks.jsonl, line 3: it is not like"),
        ("{\"question\": \"?\"}\n", "tasks.jsonl, line 1: it is not like"),
        (long.as_str(), "tasks.jsonl, line 1: it is longer than 1048576 bytes"),
        ("\n\n", "tasks.jsonl: there is no question"),
        ("", "tasks.jsonl: there is no question"),
        (r#"{"question": "?", "answer": "", "verifier": "oracle"}"#, "line 1: no verifier"),
        (r#"{"question": "?", "answer": "", "difficulty": {}}"#, "line 1: its difficulty"),
    ] {
        let (_folder, path) = tasks(text);
        let ended = run(&mut eval(&golden("llama"), &path, &[]), "");
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(ended.err.contains(why), "{why}: {}", ended.err);
    }
    let (_folder, path) = tasks(TASKS);
    let url = "http://127.0.0.1:9";
    for (args, why) in [
        (vec!["--verifier", "oracle"], "no verifier \"oracle\""),
        (vec!["--temperature", "101"], "temperature is 101"),
        (vec!["--modes", "hard"], "expected fast, slow or auto"),
        (vec!["--samples", "0"], "expected 1 to 1024"),
        (vec!["--url", url], "cannot be used with"),
        (vec!["--model-name", "x"], "cannot be used with"),
    ] {
        let ended = run(&mut eval(&golden("llama"), &path, &args), "");
        assert!(ended.code == Some(2) && ended.err.contains(why), "{args:?}: {ended:?}");
    }
    let ended = run(ruminate().arg("eval").arg(&path), "");
    assert!(ended.code == Some(2) && ended.err.contains("MODEL"), "{ended:?}");
    let ended = run(&mut eval_at(url, &path, &["--threads", "1"]), "");
    assert!(ended.code == Some(2) && ended.err.contains("its server's"), "{ended:?}");
    let ended = run(&mut eval_at("ftp://x", &path, &[]), "");
    assert!(ended.code == Some(2) && ended.err.contains("expected http://"), "{ended:?}");
    for name in [&[][..], &["--model-name", "x"][..]] {
        let ended = run(&mut eval_at(url, &path, name), "");
        assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{ended:?}");
        assert!(ended.err.contains("cannot ask http://127.0.0.1:9/v1/models"), "{ended:?}");
    }
}

/// A server that says `reply` to each path and body, with a status before it.
fn pretend(reply: fn(&str, &str) -> (&'static str, String)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let answer = move |stream: TcpStream| {
        let mut reader = BufReader::new(stream);
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                return;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap().to_string();
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (head, body) = reply(&path, &String::from_utf8(body).unwrap());
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        // Who has heard enough is gone.
        let _ = reader.get_mut().write_all(text.as_bytes());
    };
    thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap())));
    url
}

/// A reply to a chat, of a server that knows nothing of thinking.
fn chat(text: &str) -> String {
    let choice = object!({ "message": { "content": text }, "finish_reason": "stop" });
    object!({ "choices": [choice], "usage": { "completion_tokens": 5 } }).to_string()
}

#[test]
fn an_answer_that_fails_is_named_and_not_the_end() {
    let url = pretend(|path, body| match path {
        "/v1/models" => ("200 OK", "{\"data\": [{\"id\": \"m\"}]}".into()),
        _ if body.contains("1+1?") => ("200 OK", chat("2")),
        _ if body.contains("Say a.") => ("200 OK", "<html>".into()),
        _ if body.contains("Why?") => ("200 OK", "{\"choices\": []}".into()),
        _ => ("500 Oh", "{\"error\": {\"message\": \"it fell\"}}".into()),
    });
    let (_folder, tasks) = tasks(TASKS);
    let ended = run(&mut eval_at(&url, &tasks, &["--modes", "slow", "--json"]), "");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for why in [
        "line 3, slow, sample 0: the reply has no JSON: <html>",
        "line 4, slow, sample 0: status 500: it fell",
        "line 5, slow, sample 0: the reply has no message",
        "3 of 4 answers failed",
    ] {
        assert!(ended.err.contains(why), "{why}: {}", ended.err);
    }
    let found = json(&ended.out);
    let slow = &found["modes"][0];
    assert_eq!((&slow["answered"], &slow["failed"]), (&1.into(), &3.into()), "{slow}");
    assert_eq!((&slow["right"]["share"], &slow["tokens"]), (&1.0.into(), &5.into()), "{slow}");
    assert_eq!((&found["model"], &slow["thinking_tokens_each"]), (&"m".into(), &Value::Null));
    assert_eq!(found["answers"][1]["ended_by"], "failed");
}

#[test]
fn a_server_that_is_gone_is_given_up() {
    let url = pretend(|path, _| match path {
        "/v1/models" => ("404 Not Found", "nothing".into()),
        _ => ("503 Service Unavailable", "gone".into()),
    });
    let (_folder, tasks) = tasks(TASKS);
    let flags = ["--samples", "100", "--modes", "fast", "--streams", "3"];
    let ended = run(&mut eval_at(&url, &tasks, &flags), "");
    assert!(ended.code == Some(1) && ended.err.contains("status 404: nothing"), "{ended:?}");
    let ended = run(eval_at(&url, &tasks, &flags).args(["--model-name", "m"]), "");
    assert!(ended.code == Some(1) && ended.out.contains("Given up"), "{ended:?}");
    assert!(ended.err.contains("32 of 32 answers failed"), "{ended:?}");
}

/// Whether the second question has come.
static ASKED_AGAIN: AtomicBool = AtomicBool::new(false);

#[test]
fn an_interruption_shows_what_there_is() {
    let url = pretend(|path, body| {
        if path == "/v1/models" {
            return ("200 OK", "{\"data\": [{\"id\": \"m\"}]}".into());
        }
        if !body.contains("1+1?") {
            ASKED_AGAIN.store(true, Ordering::Relaxed);
            thread::sleep(Duration::from_secs(600));
        }
        ("200 OK", chat("2"))
    });
    let (_folder, tasks) = tasks(TASKS);
    let mut command = eval_at(&url, &tasks, &["--modes", "fast", "--streams", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !ASKED_AGAIN.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let shown = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{shown}");
    assert!(shown.contains("Interrupted") && shown.contains("100.0 %"), "{shown}");
}
