//! Anthropic's messages over a socket.

use ruminate_server::{Keys, Limits, MessagesSettings};
use serde_json::{Value, json};

use crate::server::{Reply, TestServer, agent};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

fn hello(max_tokens: usize) -> Value {
    json!({
        "model": "tiny", "max_tokens": max_tokens, "temperature": 1.0, "seed": 5,
        "ignore_eos": true, "messages": [{"role": "user", "content": "Hello"}],
    })
}

fn thinking(max_tokens: usize) -> Value {
    let mut body = hello(max_tokens);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 8});
    body
}

fn look() -> Value {
    json!([{"name": "look", "description": "Looks.", "input_schema": {
        "type": "object", "properties": {"deep": {"type": "boolean"}},
        "required": ["deep"], "additionalProperties": false}}])
}

/// The message that a stream tells, after its events were seen to come in their order.
fn streamed(server: &TestServer, body: &Value) -> Value {
    let events: Vec<Value> = server
        .stream(MESSAGES, body)
        .iter()
        .map(|data| serde_json::from_str(data).unwrap())
        .filter(|event: &Value| event["type"] != "ping")
        .collect();
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    let mut message = events[0]["message"].clone();
    let mut content: Vec<Value> = Vec::new();
    let (mut json, mut is_open) = (String::new(), false);
    for event in &events[1..events.len() - 1] {
        let text = |value: &Value| value.as_str().unwrap_or("").to_string();
        let kind = event["type"].as_str().unwrap();
        if kind != "message_delta" {
            let n = content.len();
            let expected = if kind == "content_block_start" { n } else { n - 1 };
            assert_eq!(
                (event["index"].as_u64(), is_open),
                (Some(expected as u64), kind != "content_block_start")
            );
        }
        match kind {
            "content_block_start" => {
                content.push(event["content_block"].clone());
                (json, is_open) = (String::new(), true);
            }
            "content_block_delta" => {
                let (block, delta) = (content.last_mut().unwrap(), &event["delta"]);
                let mut add = |field: &str| {
                    block[field] = (text(&block[field]) + &text(&delta[field])).into()
                };
                match delta["type"].as_str().unwrap() {
                    "thinking_delta" => add("thinking"),
                    "signature_delta" => add("signature"),
                    "text_delta" => add("text"),
                    "input_json_delta" => json += &text(&delta["partial_json"]),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                if !json.is_empty() {
                    content.last_mut().unwrap()["input"] = serde_json::from_str(&json).unwrap();
                }
                is_open = false;
            }
            "message_delta" => {
                for field in ["stop_reason", "stop_sequence"] {
                    message[field] = event["delta"][field].clone();
                }
                message["usage"] = event["usage"].clone();
            }
            other => panic!("{other}"),
        }
    }
    message["content"] = content.into();
    message
}

/// What of a message does not depend on when it was asked for.
fn lasting(message: &Value) -> Value {
    let fields = ["type", "role", "model", "content", "stop_reason", "stop_sequence"];
    fields.iter().map(|field| message[field].clone()).collect()
}

/// The type of an error in Anthropic's shape.
fn fault(reply: &Reply) -> String {
    let body = reply.json();
    assert_eq!(body["type"], "error", "{}", reply.text);
    assert!(body["error"]["message"].is_string(), "{}", reply.text);
    assert_eq!(body["request_id"].as_str(), reply.headers["request-id"].to_str().ok());
    body["error"]["type"].as_str().unwrap().into()
}

#[test]
fn a_message_says_the_same_whole_and_streamed() {
    let server = TestServer::thinking(|_| ());
    let mut texts = Vec::new();
    for body in [thinking(180), hello(40)] {
        let whole = server.ask(MESSAGES, &body);
        assert_eq!((&whole["type"], &whole["role"]), (&json!("message"), &json!("assistant")));
        assert_eq!(whole["stop_reason"], "max_tokens");
        let told = streamed(&server, &body);
        assert_eq!(lasting(&told), lasting(&whole));
        assert_eq!(told["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
        texts.push(whole);
    }
    let thought = &texts[0]["content"][0];
    assert_eq!(thought["type"], "thinking");
    assert!(!thought["signature"].as_str().unwrap().is_empty());
    let usage = &texts[0]["usage"];
    assert_eq!(usage["output_tokens"], 180);
    assert!(usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap() > 0);
    assert_eq!(usage["cache_creation_input_tokens"], 0);
}

#[test]
fn thinking_that_is_disabled_leaves_no_block() {
    let server = TestServer::thinking(|_| ());
    let mut body = hello(30);
    body["thinking"] = json!({"type": "disabled"});
    let message = server.ask(MESSAGES, &body);
    let kinds = message["content"].as_array().unwrap().iter().map(|block| &block["type"]);
    assert!(kinds.clone().all(|kind| kind == "text"), "{message}");
}

#[test]
fn a_thought_comes_back_as_it_was_or_is_refused() {
    let server = TestServer::thinking_with_room(|_| ());
    for display in ["summarized", "omitted"] {
        let mut body = thinking(150);
        body["thinking"]["display"] = json!(display);
        let first = server.ask(MESSAGES, &body);
        let thought = &first["content"][0];
        let is_told = !thought["thinking"].as_str().unwrap().is_empty();
        assert_eq!((&thought["type"], is_told), (&json!("thinking"), display == "summarized"));
        let turns = body["messages"].as_array_mut().unwrap();
        turns.push(json!({"role": "assistant", "content": first["content"]}));
        turns.push(json!({"role": "user", "content": "And?"}));
        server.ask(MESSAGES, &body);
        body["messages"][1]["content"][0]["thinking"] = json!("something else");
        let reply = server.post(MESSAGES, &body);
        assert_eq!((reply.status, fault(&reply).as_str()), (400, "invalid_request_error"));
        assert!(reply.text.contains("messages.1.content.0: Invalid `signature`"), "{}", reply.text);
    }
}

#[test]
fn a_thought_of_another_start_is_known_by_a_key_that_lasts() {
    let with = |secret: Option<&[u8]>| {
        TestServer::thinking_with_room(|options| {
            let signature_key = secret.map(ruminate_server::SignatureKey::of);
            options.messages = MessagesSettings { signature_key, ..MessagesSettings::default() };
        })
    };
    let first = with(Some(b"a secret")).ask(MESSAGES, &thinking(120));
    let mut body = thinking(120);
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "content": first["content"]}));
    turns.push(json!({"role": "user", "content": "And?"}));
    assert_eq!(with(Some(b"a secret")).post(MESSAGES, &body).status, 200);
    assert_eq!(with(None).post(MESSAGES, &body).status, 400);
}

#[test]
fn a_tool_that_must_be_called_is_called_and_its_result_is_read() {
    let server = TestServer::thinking_with_room(|_| ());
    let mut body = thinking(300);
    body["tools"] = look();
    body["tool_choice"] =
        json!({"type": "tool", "name": "look", "disable_parallel_tool_use": true});
    let whole = server.ask(MESSAGES, &body);
    assert_eq!(whole["stop_reason"], "tool_use", "{whole}");
    let call = whole["content"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("look")));
    assert!(call["input"]["deep"].is_boolean());
    let told = streamed(&server, &body);
    let last = told["content"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["name"], &last["input"]), (&call["name"], &call["input"]));
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "content": whole["content"]}));
    turns.push(json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call["id"], "content": "the bottom"}]}));
    body["tool_choice"] = json!({"type": "none"});
    server.ask(MESSAGES, &body);
}

#[test]
fn tokens_are_counted_as_they_are_charged() {
    let server = TestServer::roomy();
    let mut body = hello(3);
    body["system"] = json!([{"type": "text", "text": "Be brief."}]);
    body["tools"] = look();
    let counted = server.ask(COUNT, &body);
    let usage = &server.ask(MESSAGES, &body)["usage"];
    let sum = ["input_tokens", "cache_read_input_tokens"]
        .iter()
        .map(|field| usage[field].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!(counted["input_tokens"], sum);
    // The second time the prompt is in the cache, as far as it fills pages.
    let again = &server.ask(MESSAGES, &body)["usage"];
    assert!(again["cache_read_input_tokens"].as_u64().unwrap() > 0, "{again}");
    body["tool_choice"] = json!({"type": "none"});
    let without = server.ask(COUNT, &body);
    assert!(without["input_tokens"].as_u64() < counted["input_tokens"].as_u64());
}

#[test]
fn what_claude_code_sends_besides_is_let_through() {
    let server = TestServer::roomy();
    let mut body = hello(5);
    body["thinking"] = json!({"type": "adaptive"});
    body["output_config"] = json!({"effort": "high"});
    body["context_management"] = json!({"edits": [{"type": "clear_thinking_20251015"}]});
    body["metadata"] = json!({"user_id": "somebody"});
    body["system"] = json!([{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]);
    let request = agent()
        .post(server.url("/v1/messages?beta=true"))
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "one-nobody-knows-2030-01-01,context-management-2025-06-27");
    assert_eq!(Reply::of(request.send_json(&body).unwrap()).status, 200);
    assert_eq!(agent().head(server.url("/")).call().unwrap().status(), 200);
}

#[test]
fn faults_have_anthropics_shape() {
    let server = TestServer::with(|options| options.keys = Keys::new(["sk-test"]));
    let with_key = |body: &Value, header: &str, key: &str| {
        let request = agent().post(server.url(MESSAGES)).header(header, key);
        Reply::of(request.send_json(body).unwrap())
    };
    let ask = |body: &Value| with_key(body, "x-api-key", "sk-test");
    assert_eq!(with_key(&hello(2), "authorization", "Bearer sk-test").status, 200);
    let stranger = with_key(&hello(2), "x-api-key", "wrong");
    assert_eq!((stranger.status, fault(&stranger).as_str()), (401, "authentication_error"));
    let mut other = hello(2);
    other["model"] = json!("another");
    let other = ask(&other);
    assert_eq!((other.status, fault(&other).as_str()), (404, "not_found_error"));
    for (field, value) in [
        ("max_tokens", Value::Null),
        ("max_tokens", json!(0)),
        ("messages", json!([])),
        ("messages", json!([{"role": "king", "content": "a"}])),
        ("messages", json!([{"role": "user", "content": [{"type": "image", "source": {}}]}])),
        (
            "messages",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        ),
        ("temperature", json!(-1)),
        ("thinking", json!({"type": "enabled", "budget_tokens": 50})),
        ("stop_sequences", json!(vec!["a"; 17])),
        ("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])),
    ] {
        let mut body = hello(20);
        body[field] = value.clone();
        let reply = ask(&body);
        assert_eq!(
            (reply.status, fault(&reply).as_str()),
            (400, "invalid_request_error"),
            "{field} {value}"
        );
    }
    let mut long = hello(2);
    long["messages"][0]["content"] = json!("word ".repeat(600));
    let reply = ask(&long);
    assert!(reply.status == 400 && reply.text.contains("prompt is too long"), "{}", reply.text);
}

#[test]
fn a_server_that_is_full_says_so_as_anthropics_clients_expect() {
    let server = TestServer::with(|options| {
        options.limits = Limits { queue_requests_max: 0, ..options.limits.clone() };
    });
    let reply = server.post(MESSAGES, &hello(2));
    assert_eq!((reply.status, fault(&reply).as_str()), (529, "overloaded_error"));
    assert!(reply.headers.contains_key("retry-after"));
}

#[test]
fn claudes_rules_hold_where_they_are_wanted() {
    let server = TestServer::with(|options| options.messages = MessagesSettings::claude());
    let mut body = hello(4000);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1023});
    assert_eq!(server.post(MESSAGES, &body).status, 400);
    body["thinking"]["budget_tokens"] = json!(1024);
    body["temperature"] = json!(0.5);
    assert_eq!(server.post(MESSAGES, &body).status, 400);
}
