//! Many at once: who vanishes, who is turned away and comes back, who is there at the end.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ruminate_server::Limits;
use serde_json::json;

use crate::server::{Reply, TestServer, agent, head, long_chat};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn two_hundred_clients_that_vanish_leave_nothing_behind() {
    let server = TestServer::start();
    let before = server.ask(CHAT, &long_chat(50));
    let connections: Vec<_> = (0..200)
        .map(|i| {
            let mut body = long_chat(200);
            body["stream"] = json!(i % 3 > 0);
            body["n"] = json!(1 + i % 2);
            let mut stream = server.send_raw(&head("POST", CHAT, "", &body.to_string()));
            if i % 5 == 0 && i % 3 > 0 {
                // Some go in the middle of their answer.
                let mut first = [0; 64];
                stream.read_exact(&mut first).unwrap();
            }
            stream
        })
        .collect();
    drop(connections);
    server.wait_for("ruminate_requests", 0.0);
    server.wait_for("ruminate_running", 0.0);
    server.wait_for("ruminate_waiting", 0.0);
    server.wait_for("ruminate_kv_pages_used", 0.0);
    let after = server.ask(CHAT, &long_chat(50));
    assert_eq!(before["choices"], after["choices"], "who comes after gets the same answer");
}

/// A request as OpenAI's SDK makes it: it comes back twice, when it is told to.
fn with_retries(server: &TestServer, refused: &AtomicUsize) -> u16 {
    let agent = agent();
    for left in (0..3).rev() {
        let reply = Reply::of(agent.post(server.url(CHAT)).send_json(long_chat(30)).unwrap());
        if reply.status != 429 || left == 0 {
            return reply.status;
        }
        refused.fetch_add(1, Ordering::Relaxed);
        let ms: u64 = reply.headers["retry-after-ms"].to_str().unwrap().parse().unwrap();
        let seconds: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(seconds * 1000 >= ms && ms > 0);
        thread::sleep(Duration::from_millis(ms));
    }
    unreachable!("the last try returns")
}

#[test]
fn ten_times_as_many_as_there_is_room_for_all_get_their_answer() {
    let server = TestServer::with(|options| {
        options.limits = Limits { queue_requests_max: 12, ..options.limits.clone() };
    });
    let refused = AtomicUsize::new(0);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..120).map(|_| scope.spawn(|| with_retries(&server, &refused))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let lost = statuses.iter().filter(|status| **status != 200).count();
    assert_eq!(lost, 0, "{statuses:?}");
    assert!(refused.into_inner() > 0, "nobody was turned away");
    server.wait_for("ruminate_requests", 0.0);
    server.wait_for("ruminate_kv_pages_used", 0.0);
}

#[test]
fn a_server_that_is_to_stop_ends_what_it_began_and_takes_nothing_new() {
    let mut server = TestServer::start();
    let running = AtomicUsize::new(0);
    let (done, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let mut body = long_chat(200);
                body["stream"] = json!(true);
                running.fetch_add(1, Ordering::Relaxed);
                let response = agent().post(server.url(CHAT)).send_json(&body).unwrap();
                let status = response.status();
                let text = response.into_body().read_to_string().unwrap();
                if status == 200 {
                    assert!(text.ends_with("data: [DONE]\n\n"), "a stream broke off: {text}");
                    done.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert_eq!(status, 503, "{text}");
                    turned_away.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while server.metric("ruminate_requests") < Some(4.0) && done.load(Ordering::Relaxed) < 12 {
            thread::sleep(Duration::from_millis(1));
        }
        server.handle.drain();
    });
    assert!(done.load(Ordering::Relaxed) >= 4, "{done:?} ended, {turned_away:?} were turned away");
    assert_eq!(done.into_inner() + turned_away.into_inner(), 12);
    server.join().unwrap();
}

#[test]
fn while_it_drains_it_is_alive_but_not_ready() {
    let server = TestServer::start();
    assert_eq!(server.get("/ready").status, 200);
    let mut body = long_chat(240);
    body["stream"] = json!(true);
    body["n"] = json!(16);
    let mut long = server.send_raw(&head("POST", CHAT, "", &body.to_string()));
    let mut first = [0; 64];
    long.read_exact(&mut first).unwrap();
    // One connection for all: the server may stop as soon as the long answer is over.
    server.handle.drain();
    let request = head("POST", CHAT, "", &long_chat(1).to_string());
    let refused = server.raw(&request);
    if !refused.is_empty() {
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        let lower = refused.to_lowercase();
        assert!(lower.contains("retry-after: 5") && lower.contains("connection: close"));
    }
    let mut rest = String::new();
    long.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "the running answer ends");
}

#[test]
fn what_does_not_end_in_time_is_told_so() {
    let mut server = TestServer::with(|options| {
        options.limits.shutdown_timeout = Duration::ZERO;
    });
    let mut body = long_chat(240);
    body["stream"] = json!(true);
    body["n"] = json!(16);
    let mut stream = server.send_raw(&head("POST", CHAT, "", &body.to_string()));
    let mut first = [0; 64];
    stream.read_exact(&mut first).unwrap();
    server.handle.drain();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("[DONE]"));
    assert!(rest.contains("service_unavailable"), "{rest}");
    server.join().unwrap();
}
