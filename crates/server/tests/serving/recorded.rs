//! What clients of others were seen to send, sent again: `fixtures/clients`.

use std::path::Path;

use serde_json::Value;

use crate::server::{Reply, TestServer, agent};

/// Types of a stream's events, repeated ones once.
fn kinds(stream: &str) -> Vec<String> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut kinds: Vec<String> = data
        .map(|data| match serde_json::from_str::<Value>(data) {
            Ok(event) => {
                let kind = event["type"].as_str().or(event["object"].as_str());
                kind.unwrap_or_default().into()
            }
            Err(_) => data.into(),
        })
        .collect();
    kinds.dedup();
    kinds
}

/// Kinds without those that depend on what a model says.
fn frame(kinds: &[String]) -> (Vec<&str>, &str) {
    let head = kinds.iter().take(2).map(String::as_str).collect();
    // A model of random weights seldom comes to its end by itself.
    let last = kinds.last().map_or("", String::as_str);
    (head, if last == "response.incomplete" { "response.completed" } else { last })
}

#[test]
fn what_clients_were_seen_to_send_is_answered_as_it_was() {
    let server = TestServer::thinking_with_room(|options| options.names.push("*".into()));
    for name in ["claude_code", "codex", "aider"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clients");
        let text = std::fs::read_to_string(path.join(name).with_extension("json")).unwrap();
        let recorded: Value = serde_json::from_str(&text).unwrap();
        let mut request = agent().post(server.url(recorded["path"].as_str().unwrap()));
        for (header, value) in recorded["headers"].as_object().unwrap() {
            request = request.header(header, value.as_str().unwrap());
        }
        let reply = Reply::of(request.send_json(&recorded["body"]).unwrap());
        let seen = &recorded["seen"];
        assert_eq!(u64::from(reply.status), seen["status"], "{name}: {}", reply.text);
        assert_eq!(reply.headers["content-type"], seen["content_type"].as_str().unwrap());
        let expected: Vec<String> = serde_json::from_value(seen["events"].clone()).unwrap();
        assert_eq!(frame(&kinds(&reply.text)), frame(&expected), "{name}");
    }
    server.wait_for("ruminate_kv_pages_used", 0.0);
}
