//! The page of a training run over real sockets: what it hands out, and to whom.

#![expect(clippy::unwrap_used, reason = "a test stops where its server does")]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ruminate_server::{RunPage, listen};
use serde_json::Value;
use ureq::http::Response;

const LINE: &str = "{\"step\": 1, \"reward\": 0.5, \"max |Δ log-prob|\": 0.0}\n";

struct Served {
    folder: tempfile::TempDir,
    page: RunPage,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false, false).unwrap();
        let page = RunPage::start(listener, folder.path()).unwrap();
        Served { folder, page }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Response<ureq::Body> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let request = agent.get(format!("http://{}{path}", self.page.address()));
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .call()
            .unwrap()
    }

    fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(path, headers).status().as_u16()
    }

    fn json(&self, path: &str) -> Value {
        let text = self.ask(path, &[]).into_body().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[test]
fn numbers_are_told_once_and_answers_when_asked_for() {
    let served = Served::start();
    let empty = served.json("/run");
    assert_eq!((&empty["last"], &empty["n_texts"]), (&Value::Null, &Value::from(0)));
    assert_eq!(served.status("/texts", &[]), 404);
    served.write("run.json", "{\"kind\": \"rl\", \"steps\": 5}");
    served.write("metrics.jsonl", LINE);
    served.write("samples.jsonl", "{\"step\": 1, \"prompt\": \"a\", \"text\": \"<b>\"}\n");
    let run = served.json("/run?epoch=0&rows=0");
    assert_eq!((&run["kind"], &run["steps"]), (&Value::from("rl"), &Value::from(5)));
    assert_eq!(run["numbers"]["rows"], serde_json::json!([[1, 0.5, 0.0]]));
    let known = served.json("/run?epoch=0&rows=1");
    assert_eq!(known["numbers"]["rows"], serde_json::json!([]));
    for path in ["/texts", "/texts?at=0", "/texts?step=9", "/texts?at=99"] {
        let texts = served.json(path);
        assert_eq!(texts["step"], 1, "{path}");
        assert_eq!(texts["texts"][0]["text"], "<b>", "{path}");
    }
}

#[test]
fn the_page_is_for_its_own_machine_and_origin() {
    let served = Served::start();
    let page = served.ask("/", &[]);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(served.status("/assets/main.js", &[]), 200);
    for missing in ["/assets/chat.css", "/assets/..%2f..%2fCargo.toml", "/metrics.jsonl", "/v1"] {
        assert_eq!(served.status(missing, &[]), 404, "{missing}");
    }
    assert_eq!(served.status("/run", &[("host", "localhost")]), 200);
    for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        assert_eq!(served.status("/run", &[(name, value)]), 403, "{name}");
    }
    assert!(listen(SocketAddr::from(([0, 0, 0, 0], 0)), false, false).is_err());
}

#[test]
fn a_page_that_is_dropped_is_gone() {
    let served = Served::start();
    let address = served.page.address();
    assert_eq!(served.status("/", &[]), 200);
    drop(served.page);
    assert!(TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err());
}
