//! Who may ask.

use std::net::{Ipv4Addr, SocketAddr};

use ruminate_server::{Keys, StartError, listen};
use serde_json::json;

use crate::server::{Reply, TestServer, agent, head, long_chat};

const PUBLIC: [&str; 3] = ["/", "/health", "/ready"];

#[test]
fn every_documented_path_but_the_public_ones_needs_a_key() {
    let open = TestServer::start();
    let document = open.get("/openapi.json").json();
    let server = TestServer::with(|options| options.keys = Keys::new(["first", "second"]));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 10, "{} paths", paths.len());
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let call = |key: Option<(&str, &str)>| {
                let path = path.replace("{id}", "tiny");
                let request = ureq::http::Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(server.url(&path))
                    .header("content-type", "application/json");
                let request = match key {
                    Some((name, value)) => request.header(name, value),
                    None => request,
                };
                Reply::of(agent().run(request.body("{}".to_string()).unwrap()).unwrap()).status
            };
            let expected = if PUBLIC.contains(&path.as_str()) { 200 } else { 401 };
            assert_eq!(call(None), expected, "{method} {path} without a key");
            for wrong in ["", "third", "firs", "first2"] {
                assert_eq!(call(Some(("x-api-key", wrong))), expected, "{path} with {wrong:?}");
            }
            for (name, value) in [("x-api-key", "first"), ("authorization", "Bearer second")] {
                assert_ne!(call(Some((name, value))), 401, "{method} {path}");
            }
        }
    }
    // What is not documented tells nobody that it isn't there.
    assert_eq!(server.get("/nothing").status, 401);
    assert_eq!(server.get("/v1/models/../../etc").status, 401);
}

#[test]
fn an_address_that_others_reach_needs_a_key_or_an_oath() {
    let open = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    assert!(matches!(listen(open, false, false), Err(StartError::Open { .. })));
    assert!(listen(open, true, false).is_ok());
    assert!(listen(open, false, true).is_ok());
    assert!(listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false, false).is_ok());
}

#[test]
fn other_sites_and_other_names_of_this_machine_are_shut_out() {
    let server = TestServer::start();
    let ask = |headers: &str| {
        let request = head("GET", "/v1/models", &format!("{headers}connection: close\r\n"), "");
        server.raw(&request)
    };
    assert!(ask("").starts_with("HTTP/1.1 200"));
    assert!(ask("origin: http://evil.example\r\n").starts_with("HTTP/1.1 403"));
    let rebound = head("GET", "/v1/models", "connection: close\r\n", "");
    let rebound = rebound.replace("host: localhost", "host: evil.example");
    assert!(server.raw(&rebound).starts_with("HTTP/1.1 403"));
    assert!(!ask("").to_lowercase().contains("access-control-allow-origin"));

    let origin = "http://app.example";
    let friendly = TestServer::with(|options| options.origins.origins = vec![origin.into()]);
    let asked = format!("origin: {origin}\r\naccess-control-request-method: POST\r\n");
    let request =
        head("OPTIONS", "/v1/chat/completions", &format!("{asked}connection: close\r\n"), "");
    let preflight = friendly.raw(&request).to_lowercase();
    assert!(preflight.starts_with("http/1.1 204"), "{preflight}");
    assert!(preflight.contains(&format!("access-control-allow-origin: {origin}")));
}

#[test]
fn requests_have_ids_that_come_back() {
    let server = TestServer::start();
    let request = agent().post(server.url("/v1/chat/completions"));
    let reply =
        Reply::of(request.header("x-request-id", "mine-7").send_json(long_chat(1)).unwrap());
    assert_eq!(reply.headers["x-request-id"], "mine-7");
    assert_eq!(reply.json()["id"], "chatcmpl-mine-7");
    let own =
        |server: &TestServer| server.post("/tokenize", &json!({})).headers["x-request-id"].clone();
    assert_ne!(own(&server), own(&server));
    let request = agent().get(server.url("/health")).header("x-request-id", "a b<script>");
    let reply = Reply::of(request.call().unwrap());
    assert!(reply.headers["x-request-id"].to_str().unwrap().starts_with("req-"));
}

#[test]
fn keys_do_not_share_what_is_in_the_cache() {
    let server = TestServer::with(|options| options.keys = Keys::new(["one", "two"]));
    let prompt: Vec<u32> = (0..100).map(|i| i % 200 + 5).collect();
    let cached = |key: &str| {
        let request = agent().post(server.url("/v1/completions")).header("x-api-key", key);
        let body = json!({"prompt": prompt, "max_tokens": 1});
        let reply = Reply::of(request.send_json(&body).unwrap()).json();
        reply["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached("one"), 0);
    assert_eq!(cached("two"), 0, "the timing of a hit would tell what the other asked");
    assert!(cached("one") > 0 && cached("two") > 0);
}
