//! An engine that fails: who waits is told so in the words of their dialect, and nothing hangs.

use std::io::Read;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ruminate_server::StartError;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Reply, TestServer, agent, long_chat};

const CHAT: &str = "/v1/chat/completions";

/// The paths that ask for an answer, and what they are asked.
fn asks() -> Vec<(&'static str, Value)> {
    let message = json!([{"role": "user", "content": "Hello"}]);
    vec![
        (CHAT, long_chat(200)),
        ("/v1/completions", json!({"prompt": "a", "max_tokens": 200, "ignore_eos": true})),
        ("/v1/responses", json!({"input": "a", "max_output_tokens": 200, "store": false})),
        ("/v1/messages", json!({"model": "tiny", "max_tokens": 200, "messages": message})),
        ("/api/chat", json!({"model": "tiny", "messages": message})),
    ]
}

/// Holds the engine between two steps until something is sent; then it panics.
fn hold(server: &TestServer) -> Sender<()> {
    let (entered, held) = channel();
    let (release, released) = channel();
    server.handle.look(move |_| {
        entered.send(()).unwrap();
        let _ = released.recv();
        panic!("a fault that this test puts in");
    });
    held.recv().unwrap();
    release
}

/// What a stream or a whole answer ends with, as JSON.
fn last(text: &str) -> Value {
    let line = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let data = line.strip_prefix("data: ").unwrap_or(line);
    serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON at the end: {text}"))
}

/// Whether `body` says in the shape of a path's dialect that the engine has failed.
fn says_so(path: &str, streams: bool, body: &Value) {
    let error = if path == "/v1/responses" && streams {
        assert_eq!(body["type"], "response.failed", "{body}");
        &body["response"]["error"]
    } else {
        &body["error"]
    };
    let words = error.as_str().or(error["message"].as_str());
    assert!(words.is_some_and(|words| words.contains("engine has failed")), "{path}: {body}");
    match path {
        "/v1/messages" => {
            assert_eq!((&body["type"], &error["type"]), (&"error".into(), &"api_error".into()));
        }
        "/v1/responses" if streams => assert_eq!(error["code"], "server_error"),
        "/api/chat" => assert!(error.is_string()),
        _ => assert_eq!(error["code"], "service_unavailable"),
    }
}

#[test]
fn all_who_wait_for_an_engine_that_dies_are_told_in_their_own_words() {
    let mut server = TestServer::with(|options| {
        options.limits.last_words = Duration::from_secs(2);
    });
    let before = server.ask(CHAT, &long_chat(5));
    assert!(before["choices"].is_array());
    // One that runs, and more than the engine computes together.
    let mut running = long_chat(240);
    (running["n"], running["stream"]) = (json!(4), json!(true));
    let response = agent().post(server.url(CHAT)).send_json(&running).unwrap();
    let mut running = response.into_body().into_reader();
    running.read_exact(&mut [0; 64]).unwrap();
    thread::scope(|scope| {
        let release = hold(&server);
        let mut waiting = Vec::new();
        for (path, mut body) in asks() {
            for streams in [false, true] {
                body["stream"] = json!(streams);
                let (body, url) = (body.clone(), server.url(path));
                waiting.push(scope.spawn(move || {
                    let reply = Reply::of(agent().post(url).send_json(&body).unwrap());
                    (path, streams, reply)
                }));
            }
        }
        let start = Instant::now();
        while server.metric("ruminate_requests") < Some(10.0) {
            assert!(start.elapsed() < PATIENCE, "{:?} wait", server.metric("ruminate_requests"));
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(server.get("/health").status, 200, "it is held, and not yet gone");
        release.send(()).unwrap();
        for waiting in waiting {
            let (path, streams, reply) = waiting.join().unwrap();
            assert!(!reply.text.contains("[DONE]"), "{path}: {}", reply.text);
            // The head of a stream is told before anything is known of its end.
            assert_eq!(reply.status, if streams { 200 } else { 503 }, "{path}: {}", reply.text);
            says_so(path, streams, &last(&reply.text));
            assert!(streams || reply.headers.contains_key("retry-after"), "{path}");
        }
    });
    let mut text = String::new();
    running.read_to_string(&mut text).unwrap();
    assert!(text.contains("[DONE]") || text.contains("engine has failed"), "{text}");

    // It says so until it ends.
    let (health, ready) = (server.get("/health"), server.get("/ready"));
    assert_eq!((health.status, health.json()["status"].as_str()), (500, Some("engine gone")));
    assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("not well")));
    for (path, body) in asks() {
        let mut whole = body;
        whole["stream"] = json!(false);
        let reply = server.post(path, &whole);
        assert_eq!(reply.status, 503, "{path}: {}", reply.text);
        says_so(path, false, &reply.json());
    }
    assert!(server.metric("ruminate_requests").is_some(), "what was counted can be read");
    assert!(matches!(server.join(), Err(StartError::EngineGone)));
}

#[test]
fn an_idle_server_whose_engine_dies_ends_by_itself() {
    let mut server = TestServer::with(|options| options.limits.last_words = Duration::ZERO);
    hold(&server).send(()).unwrap();
    assert!(matches!(server.join(), Err(StartError::EngineGone)));
}

#[test]
fn an_engine_that_is_stuck_is_told_of_and_keeps_nobody_from_asking_how_it_is() {
    let server = TestServer::with(|options| {
        options.limits.stuck_after = Duration::from_millis(300);
    });
    let (entered, held) = channel();
    let (release, released) = channel::<()>();
    server.handle.look(move |_| {
        entered.send(()).unwrap();
        let _ = released.recv();
    });
    held.recv().unwrap();
    // More than its inbox holds: who looks does not wait.
    for _ in 0..3000 {
        server.handle.look(|_| ());
    }
    thread::sleep(Duration::from_millis(600));
    let (health, ready) = (server.get("/health"), server.get("/ready"));
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("engine stuck")));
    assert_eq!(ready.status, 503);
    let full = server.post(CHAT, &long_chat(3));
    assert_eq!(full.status, 429, "{}", full.text);
    drop(release);
    let answer = agent().get(server.url("/metrics")).call().unwrap();
    assert_eq!(answer.status(), 200);
    server.wait_for("ruminate_running", 0.0);
    server.ask(CHAT, &long_chat(3));
    assert_eq!(server.get("/health").status, 200);
}
