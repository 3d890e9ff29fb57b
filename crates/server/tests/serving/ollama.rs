//! Ollama's API over a socket.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::server::{TestServer, agent};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

fn hello(n: usize) -> Value {
    json!({
        "model": "tiny:latest", "messages": [{"role": "user", "content": "Hello"}],
        "options": {"num_predict": n, "seed": 5, "temperature": 1.0},
    })
}

fn lines(server: &TestServer, path: &str, body: &Value) -> Vec<Value> {
    let response = agent().post(server.url(path)).send_json(body).unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let lines = BufReader::new(response.into_body().into_reader()).lines();
    let lines: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let (last, others) = lines.split_last().unwrap();
    assert!(last["done"] == true && others.iter().all(|line| line["done"] == false));
    lines
}

#[test]
fn a_chat_says_the_same_whole_and_in_lines() {
    let server = TestServer::thinking(|_| ());
    let mut body = hello(60);
    for think in [json!(true), json!(false)] {
        body["think"] = think.clone();
        let lines = lines(&server, CHAT, &body);
        let told = |field: &str| -> String {
            lines.iter().filter_map(|line| line["message"][field].as_str()).collect()
        };
        let mut whole = body.clone();
        whole["stream"] = json!(false);
        let whole = server.ask(CHAT, &whole);
        assert_eq!(whole["message"]["content"], told("content"));
        assert_eq!(whole["message"]["thinking"].as_str().unwrap_or(""), told("thinking"));
        assert_eq!(told("thinking").is_empty(), think == false);
        let last = lines.last().unwrap();
        assert_eq!(last["done_reason"], whole["done_reason"]);
        assert_eq!(last["eval_count"], whole["eval_count"]);
        assert!(whole["eval_count"].as_u64().unwrap() <= 60);
        assert!(whole["total_duration"].as_u64() >= whole["eval_duration"].as_u64());
        assert!(whole["created_at"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn a_prompt_is_answered_or_goes_on() {
    let server = TestServer::start();
    let mut body = json!({"model": "tiny", "prompt": "Once", "think": false,
                          "options": {"num_predict": 20, "seed": 3, "temperature": 1.0}});
    for raw in [false, true] {
        body["raw"] = json!(raw);
        let lines = lines(&server, GENERATE, &body);
        let told: String = lines.iter().filter_map(|line| line["response"].as_str()).collect();
        let mut whole = body.clone();
        whole["stream"] = json!(false);
        assert_eq!(server.ask(GENERATE, &whole)["response"], told);
    }
    let loaded = server.ask(GENERATE, &json!({"model": "tiny"}));
    assert_eq!((&loaded["done"], &loaded["done_reason"]), (&json!(true), &json!("load")));
}

#[test]
fn a_form_is_kept() {
    let server = TestServer::roomy();
    let mut body = hello(200);
    body["think"] = json!(false);
    body["stream"] = json!(false);
    body["format"] = json!({"type": "object", "properties": {"ok": {"type": "boolean"}},
                            "required": ["ok"], "additionalProperties": false});
    let said = server.ask(CHAT, &body)["message"]["content"].clone();
    let said: Value = serde_json::from_str(said.as_str().unwrap()).unwrap();
    assert!(said["ok"].is_boolean(), "{said}");
}

#[test]
fn the_model_is_listed_and_shown() {
    let server = TestServer::start();
    let tags = server.get("/api/tags").json();
    assert_eq!(tags["models"][0]["name"], "tiny");
    assert!(tags["models"][0]["size"].as_u64().unwrap() > 0);
    let shown = server.ask("/api/show", &json!({"model": "tiny:latest"}));
    assert_eq!(shown["details"]["family"], tags["models"][0]["details"]["family"]);
    assert!(shown["model_info"]["general.parameter_count"].as_u64().unwrap() > 0);
    let capabilities = shown["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&json!("thinking")) && capabilities.contains(&json!("tools")));
    assert!(server.get("/api/version").json()["version"].is_string());
}

#[test]
fn faults_have_ollamas_shape() {
    let server = TestServer::start();
    let mut other = hello(2);
    other["model"] = json!("llama3");
    let image = json!({"model": "tiny", "messages": [
        {"role": "user", "content": "a", "images": ["x"]}]});
    let format = json!({"model": "tiny", "prompt": "a", "format": "xml"});
    for (path, body, status) in [
        (CHAT, other, 404),
        (CHAT, image, 400),
        (CHAT, json!({}), 400),
        (GENERATE, format, 400),
        ("/api/show", json!({}), 400),
        ("/api/pull", json!({"model": "a"}), 404),
    ] {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, status, "{path} {}", reply.text);
        assert!(reply.json()["error"].is_string(), "{}", reply.text);
    }
}
