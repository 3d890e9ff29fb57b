//! OpenAI's responses over a socket.

use serde_json::{Value, json};

use crate::server::TestServer;

const RESPONSES: &str = "/v1/responses";

fn hello(max_output_tokens: usize) -> Value {
    json!({
        "model": "tiny", "max_output_tokens": max_output_tokens, "temperature": 1.0, "seed": 5,
        "ignore_eos": true, "input": "Hello", "store": false,
    })
}

fn events(server: &TestServer, body: &Value) -> Vec<Value> {
    let events: Vec<Value> = server
        .stream(RESPONSES, body)
        .iter()
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], i, "{event}");
    }
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events[1]["type"], "response.in_progress");
    events
}

/// A response's items without their ids, which are each request's own.
fn output(response: &Value) -> Vec<Value> {
    let mut items = response["output"].as_array().unwrap().clone();
    for item in &mut items {
        let item = item.as_object_mut().unwrap();
        item.shift_remove("id");
        item.shift_remove("call_id");
    }
    items
}

#[test]
fn a_response_says_the_same_whole_and_streamed() {
    let server = TestServer::thinking_with_room(|_| ());
    let mut body = hello(700);
    body["reasoning"] = json!({"effort": "minimal", "summary": "auto"});
    let whole = server.ask(RESPONSES, &body);
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")));
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["usage"]["output_tokens"], 700);
    let items = output(&whole);
    assert_eq!((&items[0]["type"], &items[1]["type"]), (&json!("reasoning"), &json!("message")));
    assert!(whole["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
    let events = events(&server, &body);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(output(&last["response"]), items);
    let told = |kind: &str| {
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind.map(|event| event["delta"].as_str().unwrap()).collect::<String>()
    };
    assert_eq!(told("response.output_text.delta"), items[1]["content"][0]["text"]);
    assert_eq!(told("response.reasoning_text.delta"), items[0]["content"][0]["text"]);
    assert_eq!(told("response.reasoning_summary_text.delta"), items[0]["summary"][0]["text"]);
}

#[test]
fn items_are_handed_back_with_a_call_and_its_result() {
    let server = TestServer::thinking_with_room(|_| ());
    let mut body = hello(900);
    body["input"] = json!([{"role": "user", "content": "a"}]);
    body["instructions"] = json!("Be brief.");
    body["reasoning"] = json!({"effort": "minimal"});
    body["tools"] = json!([{"type": "function", "name": "look", "parameters": {
        "type": "object", "properties": {"deep": {"type": "boolean"}},
        "required": ["deep"], "additionalProperties": false}}]);
    body["tool_choice"] = json!({"type": "function", "name": "look"});
    body["parallel_tool_calls"] = json!(false);
    let whole = server.ask(RESPONSES, &body);
    assert_eq!(whole["status"], "completed", "{whole}");
    let call = whole["output"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("look")));
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["deep"].is_boolean());
    let events = events(&server, &body);
    let last = &events.last().unwrap()["response"];
    assert_eq!(output(last), output(&whole));
    let done = events.iter().find(|e| e["type"] == "response.function_call_arguments.done");
    assert_eq!(done.unwrap()["arguments"], call["arguments"]);
    let input = body["input"].as_array_mut().unwrap();
    input.extend(whole["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": call["call_id"],
                      "output": "the bottom"}));
    body["tool_choice"] = json!("none");
    body["max_output_tokens"] = json!(5);
    server.ask(RESPONSES, &body);
}

#[test]
fn a_form_that_is_asked_for_is_kept() {
    let server = TestServer::roomy();
    let mut body = hello(200);
    body["reasoning"] = json!({"effort": "none"});
    body["text"] = json!({"format": {"type": "json_schema", "name": "a", "strict": true,
        "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}},
                   "required": ["ok"], "additionalProperties": false}}});
    let whole = server.ask(RESPONSES, &body);
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["ok"].is_boolean(), "{text}");
    assert_eq!(whole["text"], body["text"], "what was asked is told again");
}

#[test]
fn what_cannot_be_done_is_refused_in_openais_shape() {
    let server = TestServer::start();
    for (field, value, param) in [
        ("previous_response_id", json!("resp_1"), "previous_response_id"),
        ("background", json!(true), "background"),
        ("input", json!([]), "input"),
        ("input", json!([{"type": "computer_call"}]), "input[0]"),
        ("temperature", json!(-1), "temperature"),
        ("max_output_tokens", json!(0), "max_output_tokens"),
        ("tool_choice", json!("sometimes"), "tool_choice"),
    ] {
        let mut body = hello(5);
        body[field] = value;
        let reply = server.post(RESPONSES, &body);
        assert_eq!(reply.status, 400, "{}", reply.text);
        assert_eq!(reply.json()["error"]["param"], param, "{}", reply.text);
    }
    assert_eq!(server.post(RESPONSES, &json!(["tiny", "Hello"])).status, 400);
}
