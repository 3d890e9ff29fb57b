//! What comes of bad requests: one clear error each, and a server that goes on.

use std::io::Read;
use std::io::Write;
use std::time::Duration;

use ruminate_server::Limits;
use serde_json::{Value, json};

use crate::server::{Reply, TestServer, agent, head, long_chat};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// The parameter that an error in OpenAI's shape names.
fn param(reply: &Reply) -> Option<String> {
    let error = reply.json()["error"].clone();
    assert!(error["message"].is_string() && error["type"].is_string(), "{}", reply.text);
    assert!(error.get("code").is_some());
    error["param"].as_str().map(String::from)
}

#[test]
fn a_wrong_body_is_named_and_harms_nobody() {
    let server = TestServer::start();
    let chat = |field: &str| {
        format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"a\"}}], {field}}}")
    };
    let text = |field: &str| format!("{{\"prompt\": \"a\", {field}}}");
    let cases = [
        (CHAT, "[]".into(), None),
        (CHAT, "null".into(), None),
        (CHAT, "{".into(), None),
        (CHAT, "{}".into(), None),
        (CHAT, r#"{"messages": []}"#.into(), Some("messages")),
        (CHAT, r#"{"messages": "hello"}"#.into(), Some("messages")),
        (
            CHAT,
            r#"{"messages": [{"role": "king", "content": "a"}]}"#.into(),
            Some("messages[0].role"),
        ),
        (CHAT, chat(r#""temperature": "hot""#), Some("temperature")),
        (CHAT, chat(r#""temperature": -1"#), Some("temperature")),
        (CHAT, chat(r#""top_p": 2"#), Some("top_p")),
        (CHAT, chat(r#""n": 0"#), Some("n")),
        (CHAT, chat(r#""n": 17"#), Some("n")),
        (CHAT, chat(r#""n": -1"#), Some("n")),
        (CHAT, chat(r#""n": 1e30"#), Some("n")),
        (CHAT, chat(r#""max_tokens": -5"#), Some("max_tokens")),
        (CHAT, chat(r#""logprobs": true, "top_logprobs": 21"#), Some("logprobs")),
        (CHAT, chat(r#""stop": ["", "a"]"#), Some("stop")),
        (CHAT, chat(&format!("\"stop\": {:?}", vec!["a"; 17])), Some("stop")),
        (CHAT, chat(r#""stop": 5"#), Some("stop")),
        (CHAT, chat(r#""stream": "yes""#), Some("stream")),
        (CHAT, chat(r#""tools": {}"#), Some("tools")),
        (CHAT, chat(r#""reasoning_effort": "enormous""#), Some("reasoning_effort")),
        (TEXT, r#"{"prompt": ""}"#.into(), Some("prompt")),
        (TEXT, r#"{"prompt": []}"#.into(), Some("prompt")),
        (TEXT, r#"{"prompt": [320]}"#.into(), Some("prompt")),
        (TEXT, r#"{"prompt": [4294967295]}"#.into(), Some("prompt")),
        (TEXT, r#"{"prompt": [-1]}"#.into(), Some("prompt")),
        (TEXT, r#"{"prompt": [[1], "a"]}"#.into(), Some("prompt")),
        (TEXT, r#"{"prompt": {}}"#.into(), Some("prompt")),
        (TEXT, text(r#""logprobs": -1"#), Some("logprobs")),
        (TEXT, text(r#""logprobs": 99"#), Some("logprobs")),
        (TEXT, text(r#""suffix": "b""#), Some("suffix")),
        ("/tokenize", "{}".into(), Some("prompt")),
        ("/detokenize", r#"{"tokens": [320]}"#.into(), Some("tokens")),
        ("/detokenize", r#"{"tokens": "a"}"#.into(), Some("tokens")),
    ];
    for (path, body, expected) in cases {
        let request = agent().post(server.url(path)).header("content-type", "application/json");
        let reply = Reply::of(request.send(&body).unwrap());
        assert_eq!(reply.status, 400, "{path} {body}: {}", reply.text);
        assert_eq!(param(&reply).as_deref(), expected, "{path} {body}: {}", reply.text);
    }
    server.ask(CHAT, &long_chat(3));
    assert_eq!(server.metric("ruminate_kv_pages_used"), Some(0.0));
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_its_numbers() {
    let server = TestServer::start();
    let reply = server.post(TEXT, &json!({"prompt": vec![5; 300], "max_tokens": 1}));
    assert_eq!(reply.status, 400);
    let error = reply.json()["error"].clone();
    assert_eq!(error["code"], "context_length_exceeded");
    assert!(error["message"].as_str().unwrap().contains("300 tokens"), "{error}");
    // One that leaves room for a token gets it, whatever it asked for.
    let body = json!({"prompt": vec![5; 255], "max_tokens": 1000, "ignore_eos": true});
    assert_eq!(server.ask(TEXT, &body)["usage"]["completion_tokens"], 1);
}

#[test]
fn what_a_client_wrote_is_not_repeated() {
    let server = TestServer::start();
    let secret = "tell-nobody-this";
    for body in [
        json!({"messages": secret}),
        json!({"messages": [], "temperature": secret}),
        json!({"messages": [{"role": secret, "content": "a"}]}),
        json!({"model": secret, "messages": [{"role": "user", "content": "a"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": secret}]}]}),
    ] {
        let reply = server.post(CHAT, &body);
        assert!((400..500).contains(&reply.status));
        assert!(!reply.text.contains(secret), "{}", reply.text);
    }
}

#[test]
fn paths_and_methods_that_are_not_there_say_so() {
    let server = TestServer::start();
    let missing = server.get("/v2/chat");
    assert_eq!((missing.status, param(&missing)), (404, None));
    let method = server.get(CHAT);
    assert_eq!((method.status, param(&method)), (405, None));
    let model = server.post(CHAT, &json!({"model": "gpt-9", "messages": []}));
    assert_eq!(
        (model.status, model.json()["error"]["code"].as_str()),
        (404, Some("model_not_found"))
    );
    let other = agent().post(server.url(CHAT)).header("content-type", "text/plain");
    assert_eq!(Reply::of(other.send("{}").unwrap()).status, 415);
    let packed = agent().post(server.url(CHAT)).header("content-type", "application/json");
    let packed = packed.header("content-encoding", "gzip").send("{}").unwrap();
    assert_eq!(packed.status(), 415);
}

#[test]
fn what_is_too_large_too_deep_or_too_slow_is_refused() {
    let server = TestServer::with(|options| {
        options.limits = Limits {
            body_bytes_max: 10_000,
            body_timeout: Duration::from_millis(300),
            head_timeout: Duration::from_millis(300),
            ..options.limits.clone()
        };
    });
    let large = json!({"prompt": "a".repeat(20_000)});
    assert_eq!(server.post(TEXT, &large).status, 413);
    let deep = format!("{{\"prompt\": {}", "[".repeat(5000));
    let reply = agent().post(server.url(TEXT)).header("content-type", "application/json");
    let reply = Reply::of(reply.send(&deep).unwrap());
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("nests deeper than 64"), "{}", reply.text);
    // A head of many headers, or of long ones.
    let many = (0..500).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    assert!(server.raw(&head("GET", "/health", &many, "")).starts_with("HTTP/1.1 431"));
    let long = format!("x-long: {}\r\n", "a".repeat(200_000));
    assert!(server.raw(&head("GET", "/health", &long, "")).starts_with("HTTP/1.1 431"));
    // A head and a body that never come to their end.
    assert!(!server.raw("GET /health HTTP/1.1\r\nhost: localhost\r\n").contains("200 OK"));
    let slow = head("POST", TEXT, "", "{}").replace("content-length: 2", "content-length: 900");
    assert!(server.raw(&slow).starts_with("HTTP/1.1 408"));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn who_waits_too_long_is_told_and_costs_nothing() {
    let server = TestServer::with(|options| {
        options.limits.queue_timeout = Duration::from_millis(1);
    });
    // Four sequences run; of so many at once, some wait longer than a millisecond for them.
    let request = head("POST", CHAT, "connection: close\r\n", &long_chat(200).to_string());
    let streams: Vec<_> = (0..32).map(|_| server.send_raw(&request)).collect();
    let replies = streams.into_iter().map(|mut stream| {
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    });
    // Others find the queue full, or a sequence free.
    let late = replies.filter(|reply| reply.starts_with("HTTP/1.1 504")).count();
    assert!(late > 0);
    server.wait_for("ruminate_running", 0.0);
}

#[test]
fn a_request_that_takes_too_long_ends_with_an_error_and_without_done() {
    let server = TestServer::start();
    let mut body = long_chat(240);
    body["timeout"] = json!(0.000_001);
    assert_eq!(server.post(CHAT, &body).status, 504);
    let data = server.stream(CHAT, &body);
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "timeout", "{data:?}");
    server.wait_for("ruminate_running", 0.0);
    server.wait_for("ruminate_kv_pages_used", 0.0);
}

#[test]
fn half_a_request_and_garbage_leave_the_server_well() {
    let server = TestServer::start();
    let garbage =
        ["\0\0\0\0", "GET\r\n\r\n", "POST / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n", "é é é\r\n\r\n"];
    for text in garbage {
        let answer = server.raw(&format!("{text}\r\n\r\n"));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{text:?}: {answer}");
    }
    let mut stream = server.send_raw("POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n");
    stream.write_all(b"content-length: 99999999999999999999\r\n\r\n").unwrap();
    drop(stream);
    server.ask(CHAT, &long_chat(3));
}
