//! A server of a test's own, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ruminate_server::{
    Defaults, Handle, Keys, Limits, MessagesSettings, Money, Options, Origins, Service, StartError,
    listen,
};
use serde_json::{Value, json};

/// A context that holds the description of a tool.
const ROOMY: usize = 2048;
/// Longer than anything takes on a slow, crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server that is aborted when the test is over.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    thread: Option<JoinHandle<Result<(), StartError>>>,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn fixture(family: &str) -> PathBuf {
    repository("fixtures/golden").join(family)
}

/// What engine and server are asked for where a test says nothing else.
pub(crate) fn options() -> (engine::Options, Options) {
    let of_engine = engine::Options {
        sequences_max: 4,
        score_rows: 16,
        context: Some(256),
        threads: Some(2),
        ..engine::Options::default()
    };
    let of_server = Options {
        names: vec!["tiny".into(), "org/tiny".into()],
        limits: Limits::of_context(256, 4),
        defaults: Defaults::default(),
        messages: MessagesSettings::default(),
        money: Money::default(),
        keys: Keys::default(),
        origins: Origins::default(),
        peaks: None,
        traces: None,
        supervisor: None,
        log: |_| (),
    };
    (of_engine, of_server)
}

impl TestServer {
    /// A server of the family that thinks if asked to.
    pub(crate) fn start() -> TestServer {
        TestServer::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> TestServer {
        let (of_engine, mut of_server) = options();
        change(&mut of_server);
        TestServer::of("qwen3", &of_engine, of_server)
    }

    /// A server of a model with a context that holds the description of a tool.
    pub(crate) fn roomy() -> TestServer {
        let folder = copy();
        widen(folder.path(), ROOMY);
        let (of_engine, of_server) = roomy_options(ROOMY);
        TestServer::at(folder.path(), &of_engine, of_server)
    }

    /// A server of a model whose template opens thinking, so that random weights think too.
    pub(crate) fn thinking(change: impl FnOnce(&mut Options)) -> TestServer {
        let folder = copy();
        open_thinking(folder.path());
        let (of_engine, mut of_server) = options();
        change(&mut of_server);
        TestServer::at(folder.path(), &of_engine, of_server)
    }

    /// A server of a model that thinks and has room for tools.
    pub(crate) fn thinking_with_room(change: impl FnOnce(&mut Options)) -> TestServer {
        let folder = copy();
        open_thinking(folder.path());
        widen(folder.path(), ROOMY);
        let (of_engine, mut of_server) = roomy_options(ROOMY);
        change(&mut of_server);
        TestServer::at(folder.path(), &of_engine, of_server)
    }

    /// A server of a model whose template shows tools, calls, and what was thought before them, as
    /// Qwen3's does; it opens thinking.
    pub(crate) fn like_qwen3() -> TestServer {
        let folder = copy();
        widen(folder.path(), ROOMY);
        let template = repository("fixtures/text/templates/qwen3.jinja");
        let template = std::fs::read_to_string(template).unwrap();
        let end = "{%- endif %}\n{%- endif %}";
        let opened = template.trim_end().strip_suffix(end).unwrap().to_string()
            + "{%- else %}{{ '<think>\n' }}{%- endif %}{%- endif %}";
        change_json(&folder.path().join("tokenizer_config.json"), |json| {
            json["chat_template"] = opened.into();
        });
        let (of_engine, of_server) = roomy_options(ROOMY);
        TestServer::at(folder.path(), &of_engine, of_server)
    }

    /// A server of a model with a context that holds an answer of thousands of tokens.
    pub(crate) fn long(change: impl FnOnce(&mut Options)) -> TestServer {
        let folder = copy();
        widen(folder.path(), 8192);
        let (of_engine, mut of_server) = roomy_options(8192);
        change(&mut of_server);
        TestServer::at(folder.path(), &of_engine, of_server)
    }

    pub(crate) fn of(family: &str, of_engine: &engine::Options, options: Options) -> TestServer {
        TestServer::at(&fixture(family), of_engine, options)
    }

    fn at(path: &Path, of_engine: &engine::Options, options: Options) -> TestServer {
        let loaded = engine::Loaded::open(path, of_engine, &|_, _| ()).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen(address, !options.keys.is_empty(), false).unwrap();
        let service = Service::new(listener, loaded, options).unwrap();
        let (address, handle) = (service.address().unwrap(), service.handle());
        let thread = thread::spawn(move || service.run(false));
        TestServer { address, handle, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Status, headers and JSON of what comes back.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::of(agent().post(self.url(path)).send_json(body).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        Reply::of(agent().get(self.url(path)).call().unwrap())
    }

    /// The JSON of a good answer.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> Value {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()
    }

    /// The data of a stream's events; the last is `[DONE]` if it came to its end.
    pub(crate) fn stream(&self, path: &str, body: &Value) -> Vec<String> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = agent().post(self.url(path)).send_json(&body).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        let data = lines.filter_map(|line| line.unwrap().strip_prefix("data: ").map(String::from));
        data.collect()
    }

    /// A connection with a request on its way, of which nothing was read.
    pub(crate) fn send_raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// All that the server says to a request.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = self.send_raw(request);
        let mut answer = String::new();
        // A server that hangs up has said all it wants to.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// One of the metrics, of whichever labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").text;
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until a metric has a value.
    pub(crate) fn wait_for(&self, name: &str, value: f64) {
        let start = std::time::Instant::now();
        while self.metric(name) != Some(value) {
            assert!(start.elapsed() < PATIENCE, "{name} is {:?}", self.metric(name));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the engine makes no step any more, for nobody's sake either.
    pub(crate) fn wait_until_idle(&self) {
        let start = std::time::Instant::now();
        let (mut steps, mut same) = (None, 0);
        while same < 5 {
            assert!(start.elapsed() < PATIENCE, "it never rests");
            thread::sleep(Duration::from_millis(30));
            let now = self.metric("ruminate_steps_total");
            let rests = now == steps && self.metric("ruminate_warming") == Some(0.0);
            same = if rests { same + 1 } else { 0 };
            steps = now;
        }
    }

    /// Waits for the end; what the server said of it.
    pub(crate) fn join(&mut self) -> Result<(), StartError> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.abort();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

/// A copy of the family that thinks if asked to.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture("qwen3")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

/// Makes the context of the model in a folder long.
fn widen(folder: &Path, context: usize) {
    change_json(&folder.join("config.json"), |json| {
        json["max_position_embeddings"] = context.into();
    });
}

fn roomy_options(context: usize) -> (engine::Options, Options) {
    let (of_engine, of_server) = options();
    let limits = Limits::of_context(context, 4);
    (engine::Options { context: Some(context), ..of_engine }, Options { limits, ..of_server })
}

/// Makes the template of the model in a folder open thinking.
fn open_thinking(folder: &Path) {
    change_json(&folder.join("tokenizer_config.json"), |json| {
        let template = json["chat_template"].as_str().unwrap();
        let end = "{%- endif %}{%- endif %}";
        let opened = template.strip_suffix(end).unwrap().to_string();
        json["chat_template"] = (opened + "{%- else %}{{ '<think>\n' }}" + end).into();
    });
}

/// A request as it goes over the wire, for one connection.
pub(crate) fn head(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn of(response: ureq::http::Response<ureq::Body>) -> Reply {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.into_body().read_to_string().unwrap();
        Reply { status, headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
}

pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    config.into()
}

/// A chat that goes on for so many tokens.
pub(crate) fn long_chat(max_tokens: usize) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": max_tokens, "ignore_eos": true, "temperature": 1.0, "seed": 5,
    })
}
