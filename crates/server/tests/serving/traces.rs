//! Traces, as a collector gets them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message;
use ruminate_server::Traces;
use serde_json::json;

use crate::server::{TestServer, agent, head, long_chat};

const CHAT: &str = "/v1/chat/completions";

/// A collector, and what it was sent.
fn collector() -> (String, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, sent) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with("POST /v1/traces "), "{line}");
            while line.trim() != "" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if sender.send(ExportTraceServiceRequest::decode(&body[..]).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, sent)
}

fn spans(sent: &Receiver<ExportTraceServiceRequest>) -> Vec<Span> {
    let resources = sent.try_iter().flat_map(|sent| sent.resource_spans);
    resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(n)) => n.to_string(),
        Some(Value::DoubleValue(x)) => format!("{x:.2}"),
        other => format!("{other:?}"),
    };
    let pair = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        (attribute.key.clone(), text(attribute.value.clone().and_then(|value| value.value)))
    };
    span.attributes.iter().map(pair).collect()
}

#[test]
fn a_request_is_a_span_in_its_client_s_trace_with_its_answers_times_and_no_text() {
    let (address, sent) = collector();
    let traces = Traces::to(&address).unwrap();
    let mut server = TestServer::with(|options| options.traces = Some(traces));
    let mut body = long_chat(20);
    (body["n"], body["top_p"]) = (json!(2), json!(0.5));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for stream in [false, true] {
        body["stream"] = json!(stream);
        let request = agent().post(server.url(CHAT)).header("traceparent", &parent);
        let text = request.send_json(&body).unwrap().into_body().read_to_string().unwrap();
        assert!(!text.is_empty());
    }
    // One that fails, one that is refused, and some that are not traced.
    let mut late = long_chat(200);
    late["timeout"] = json!(0.000_001);
    assert_eq!(server.post(CHAT, &late).status, 504);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": ""})).status, 400);
    server.get("/metrics");
    assert!(server.raw(&head("GET", CHAT, "connection: close\r\n", "")).contains(" 405 "));
    server.handle.drain();
    server.join().unwrap();

    let spans = spans(&sent);
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let chats = named("chat tiny");
    assert_eq!(chats.len(), 3, "{spans:?}");
    for chat in &chats[..2] {
        assert_eq!(chat.kind, SpanKind::Server as i32);
        let trace_id: String = chat.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(trace_id, trace, "it goes on with the client's trace");
        let found = attributes(chat);
        for (name, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.request.model", "tiny"),
            ("gen_ai.request.max_tokens", "20"),
            ("gen_ai.request.choice.count", "2"),
            ("gen_ai.request.temperature", "1.00"),
            ("gen_ai.request.top_p", "0.50"),
            ("gen_ai.request.seed", "5"),
            ("gen_ai.usage.output_tokens", "40"),
            ("http.response.status_code", "200"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}: {found:?}");
        }
        assert!(found["gen_ai.usage.input_tokens"].parse::<u32>().unwrap() > 3);
        assert!(found["gen_ai.response.finish_reasons"].contains("length"), "{found:?}");
        assert!(!found.values().any(|value| value.contains("Hello")), "{found:?}");
        // Its parts follow each other, and lie within it.
        for (i, name) in ["queue", "prefill", "decode"].into_iter().enumerate() {
            let own = spans.iter().filter(|span| span.parent_span_id == chat.span_id);
            let parts: Vec<_> = own.filter(|span| span.name == name).collect();
            assert_eq!(parts.len(), 2, "{name}: one of each answer");
            for part in parts {
                assert!(part.start_time_unix_nano <= part.end_time_unix_nano);
                assert!(part.end_time_unix_nano <= chat.end_time_unix_nano);
                let found = attributes(part);
                assert_eq!(found.contains_key("gen_ai.usage.output_tokens"), i == 2);
            }
        }
    }
    let late = attributes(chats[2]);
    assert_eq!((late["error.type"].as_str(), chats[2].status.as_ref().unwrap().code), ("504", 2));
    let refused = named("text_completion tiny");
    assert_eq!(attributes(refused[0])["error.type"], "400");
    assert!(refused[0].status.as_ref().is_none_or(|status| status.code == 0), "{refused:?}");
    assert_eq!(spans.len(), 4 + 2 * 2 * 3, "nothing else is traced");
}

#[test]
fn a_collector_that_is_not_there_harms_nobody() {
    let traces = Traces::to("http://127.0.0.1:9").unwrap();
    let mut server = TestServer::with(|options| options.traces = Some(traces));
    server.ask(CHAT, &long_chat(5));
    server.handle.drain();
    server.join().unwrap();
}
