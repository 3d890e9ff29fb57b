//! `ruminate serve` as a process: what it prints, what it refuses, how it ends.

#![expect(clippy::unwrap_used, reason = "a test stops where the command does")]

#[path = "shared/serving.rs"]
mod serving;
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod shared;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serving::Serving;
use shared::{repository, ruminate, run};

/// A server of a tiny model.
fn start(args: &[&str]) -> Serving {
    Serving::start(&repository("fixtures/golden/llama"), args)
}

impl Serving {
    fn signal(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// A request for a streamed answer of so many tokens, of which nothing was read.
    fn ask(&self, max_tokens: usize) -> TcpStream {
        let body = format!(
            "{{\"prompt\": \"Once\", \"max_tokens\": {max_tokens}, \"ignore_eos\": true, \
             \"stream\": true}}"
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        let kind = "content-type: application/json";
        let request = format!("{head}{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

#[test]
fn sigterm_under_load_loses_no_answer_that_was_begun() {
    let mut server = start(&["--quiet", "--streams", "4"]);
    // Each has its head, so it was taken.
    let streams: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = server.ask(200);
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    server.signal();
    let readers = streams.into_iter().map(|mut stream| {
        thread::spawn(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        let text = reader.join().unwrap();
        assert!(text.contains("data: [DONE]"), "an answer broke off: {text}");
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn whoever_supervises_it_is_told_that_it_is_ready_well_and_about_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let heard = || {
        let mut words = [0; 256];
        let n = socket.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..n]).into_owned()
    };
    let mut command = ruminate();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut server = Serving::run(command, &repository("fixtures/golden/llama"), &["--quiet"]);
    assert_eq!(heard(), "READY=1\nSTATUS=serving llama\n");
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1\n");
    }
    server.signal();
    let stopping = std::iter::repeat_with(heard).find(|words| words != "WATCHDOG=1\n").unwrap();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let mut server = start(&["--quiet", "--streams", "1", "--shutdown-timeout", "9999"]);
    let mut streams: Vec<_> = (0..40).map(|_| server.ask(200)).collect();
    let mut first = [0; 12];
    streams[0].read_exact(&mut first).unwrap();
    server.signal();
    server.signal();
    // A signal that comes twice at once may be seen once.
    while server.child.try_wait().unwrap().is_none() {
        server.signal();
        thread::yield_now();
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn it_says_what_it_serves_and_how_to_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("serve.toml");
    std::fs::write(&config, "alias = \"small\"\nstreams = 3\nquiet = true\n").unwrap();
    let server = start(&["--config", config.to_str().unwrap()]);
    for words in [
        "small, llama at http://127.0.0.1:",
        "3 streams at once",
        "this machine",
        "OpenAI(base_url=\"http://127.0.0.1:",
        "ANTHROPIC_BASE_URL=http://127.0.0.1:",
        "wire_api=\"responses\"",
        "/v1/chat/completions",
    ] {
        assert!(server.greeting.contains(words), "{words}: {}", server.greeting);
    }
    let mut text = String::new();
    server.ask(3).read_to_string(&mut text).unwrap();
    assert!(text.contains("\"model\":\"small\"") && text.contains("[DONE]"), "{text}");
}

#[test]
fn what_cannot_be_served_is_refused_before_the_model_is_loaded() {
    let model = repository("fixtures/golden/llama");
    let model = model.to_str().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["--host", "0.0.0.0", "--port", "0"], "can be reached from other machines"),
        (&["--api-key", ""], "an empty key lets everybody in"),
        (&["--price-per-hour=-1"], "at least 0"),
        (&["--otlp-endpoint", "collector:4318"], "expected http:// or https:// and a host"),
        (&["--think", "maybe"], "default, on, off, auto or a number"),
    ];
    for (args, words) in cases {
        let ended = run(ruminate().arg("serve").arg(model).args(args), "");
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.err);
        assert!(ended.err.contains(words), "{args:?}: {}", ended.err);
    }
}

#[test]
fn loads_are_put_on_a_server_and_measured() {
    let server = start(&["--quiet", "--streams", "4"]);
    let url = format!("http://{}", server.address);
    let lengths = ["--prompt", "5..9", "--answer", "4..6", "--json"];
    for load in [["--streams", "1,6"], ["--rate", "40,80"]] {
        let mut command = ruminate();
        command.args(["bench", "serve", &url, "--requests", "12"]).args(load).args(lengths);
        let ended = run(&mut command, "");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let rows: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
        for row in rows.as_array().unwrap() {
            assert_eq!((&row["answered"], &row["failed"]), (&12.into(), &0.into()), "{row}");
            let (seconds, output) = (&row["seconds"], &row["output_tok_per_s"]);
            let tokens = (seconds.as_f64().unwrap() * output.as_f64().unwrap()).round();
            assert!((48.0..=72.0).contains(&tokens), "{tokens} tokens of answers");
            assert!(row["first_ms"]["p50"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}

#[test]
fn a_load_on_nobody_is_one_clear_line() {
    let mut command = ruminate();
    let ended = run(command.args(["bench", "serve", "http://127.0.0.1:9"]), "");
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("cannot ask http://127.0.0.1:9/tokenize"), "{}", ended.err);
    assert_eq!(ended.err.trim_end().lines().count(), 1, "{}", ended.err);
}
