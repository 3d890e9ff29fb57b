//! A hub and a content host on two ports of this machine, which to a client are two hosts.
//!
//! Small files lie in git and come from the hub, by way of a relative redirect as on the true
//! hub. Large ones come from the content host, which knows ranges. A test can answer any request
//! in its own way; every request is kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ruminate_hub::{Hub, Name, Options, Progress, Snapshot, Token, Wait};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) const REPO: &str = "acme/thinker";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Hub,
    Content,
}

/// A request, as it came. Header names are lower case.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) host: Host,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer. `sent` bytes of the body are sent, then the connection is closed.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) sent: usize,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), sent: body.len() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Promises the whole body and breaks off after some bytes.
    pub(crate) fn cut(mut self, sent: usize) -> Self {
        self.sent = sent;
        self
    }

    pub(crate) fn redirect(location: impl Into<String>) -> Self {
        Self::new(302, b"").with("Location", location)
    }
}

/// What the hub has: a commit of `main` and its files.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Site {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec()));
        Self { commit: COMMIT.to_owned(), files: files.collect() }
    }

    /// A repository of safetensors in two shards, with all that lies beside them on the hub.
    pub(crate) fn sharded() -> Self {
        Self::new(&[
            (".gitattributes", b"*.safetensors filter=lfs"),
            ("README.md", b"A thinker."),
            ("config.json", b"{\"model_type\":\"llama\"}"),
            ("generation_config.json", b"{}"),
            ("model-00001-of-00002.safetensors", &[1; 3000]),
            ("model-00002-of-00002.safetensors", &[2; 2000]),
            (
                "model.safetensors.index.json",
                br#"{"weight_map":{"a":"model-00001-of-00002.safetensors",
                    "b":"model-00002-of-00002.safetensors"}}"#,
            ),
            ("modeling_thinker.py", b"import os"),
            ("original/consolidated.safetensors", &[3; 5000]),
            ("pytorch_model.bin", &[4; 5000]),
            ("tokenizer.json", b"{}"),
            ("tokenizer_config.json", b"{\"chat_template\":\"\"}"),
        ])
    }

    /// One GGUF of 200 000 bytes: more than the client takes in one read, so it can stop inside.
    pub(crate) fn gguf() -> Self {
        let content: Vec<u8> = (0..200_000u32).map(|i| ((i / 7) ^ (i / 4096)) as u8).collect();
        Self::new(&[("thinker-Q4_K_M.gguf", &content)])
    }

    fn answer(&self, seen: &Seen, content_host: SocketAddr) -> Answer {
        match seen.host {
            Host::Content => self.content(seen),
            Host::Hub => self.hub(seen, content_host),
        }
    }

    fn hub(&self, seen: &Seen, content_host: SocketAddr) -> Answer {
        let (repo, commit) = (REPO, &self.commit);
        if seen.path == format!("/api/models/{repo}/revision/main")
            || seen.path == format!("/api/models/{repo}/revision/{commit}")
        {
            return Answer::new(200, listing(commit, self.files.keys()).as_bytes());
        }
        let resolve = format!("/{repo}/resolve/{commit}/");
        let inner = format!("/api/resolve-cache/models/{repo}/{commit}/");
        let (path, is_inner) = match seen.path.strip_prefix(&resolve) {
            Some(path) => (path, false),
            None => (seen.path.strip_prefix(&inner).unwrap_or_default(), true),
        };
        let Some(content) = self.files.get(path) else {
            return Answer::new(404, b"").with("X-Error-Code", "RepoNotFound");
        };
        let etag = etag_of(path, content);
        if is_large(path) {
            Answer::redirect(format!("http://{content_host}/{etag}?signature=1"))
                .with("X-Repo-Commit", commit)
                .with("X-Linked-Etag", format!("\"{etag}\""))
                .with("X-Linked-Size", content.len().to_string())
        } else if is_inner {
            Answer::new(200, content)
                .with("X-Repo-Commit", commit)
                .with("ETag", format!("\"{etag}\""))
        } else {
            Answer::redirect(format!("{inner}{path}")).with("X-Repo-Commit", commit)
        }
    }

    fn content(&self, seen: &Seen) -> Answer {
        let named = seen.path[1..].split('?').next().unwrap();
        let found = self.files.iter().find(|(path, content)| etag_of(path, content) == named);
        let Some((_, content)) = found else { return Answer::new(404, b"") };
        ranged(seen, content, &format!("\"content-{named}\""))
    }
}

/// The answer of a host that knows `Range` and `If-Range`.
pub(crate) fn ranged(seen: &Seen, content: &[u8], etag: &str) -> Answer {
    let from = seen.header("range").map(|range| {
        let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        from.unwrap().parse::<usize>().unwrap()
    });
    match from {
        Some(from) if seen.header("if-range").is_none_or(|known| known == etag) => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            Answer::new(206, &content[from..]).with("ETag", etag).with("Content-Range", range)
        }
        _ => Answer::new(200, content).with("ETag", etag),
    }
}

pub(crate) fn listing<'a>(commit: &str, files: impl IntoIterator<Item = &'a String>) -> String {
    let files: Vec<_> =
        files.into_iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
    serde_json::json!({ "id": REPO, "sha": commit, "siblings": files, "tags": ["x"] }).to_string()
}

/// On the hub, weights and pickles lie outside git.
pub(crate) fn is_large(path: &str) -> bool {
    [".safetensors", ".gguf", ".bin"].iter().any(|end| path.ends_with(end))
}

pub(crate) fn etag_of(path: &str, content: &[u8]) -> String {
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if is_large(path) {
        return hex(&Sha256::digest(content));
    }
    let object = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    hex(&Sha1::digest(object))
}

/// A request and how many like it came before, to an answer that a test wants instead.
type Script = dyn Fn(&Seen, usize) -> Option<Answer> + Send + Sync;

pub(crate) struct StandIn {
    ports: [SocketAddr; 2],
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl StandIn {
    pub(crate) fn new(site: Site) -> Self {
        Self::scripted(site, |_, _| None)
    }

    pub(crate) fn scripted(
        site: Site,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [0, 1].map(|i: usize| listeners[i].local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (site, script): (_, Arc<Script>) = (Arc::new(site), Arc::new(script));
        let threads = listeners.into_iter().zip([Host::Hub, Host::Content]).map(|(port, host)| {
            let (site, script) = (site.clone(), script.clone());
            let (seen, stop) = (seen.clone(), stop.clone());
            std::thread::spawn(move || {
                // One connection at a time and one request each: the client never holds one open.
                while let Ok((stream, _)) = port.accept() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let reply = |now: &Seen| {
                        let mut seen = seen.lock().unwrap();
                        let alike = |old: &&Seen| {
                            (old.host, &old.method, &old.path) == (now.host, &now.method, &now.path)
                        };
                        let n_before = seen.iter().filter(alike).count();
                        seen.push(now.clone());
                        let content_host = ports[1];
                        script(now, n_before).unwrap_or_else(|| site.answer(now, content_host))
                    };
                    serve(&stream, host, reply);
                }
            })
        });
        let threads = threads.collect();
        Self { ports, seen, stop, threads }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.ports[0])
    }

    pub(crate) fn content_host(&self) -> String {
        format!("http://{}", self.ports[1])
    }

    /// The requests that came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn n_seen(&self, host: Host, method: &str) -> usize {
        self.seen().iter().filter(|seen| seen.host == host && seen.method == method).count()
    }

    pub(crate) fn options(&self, cache: &Path) -> Options {
        Options {
            cache: cache.to_owned(),
            endpoint: self.endpoint(),
            token: None,
            offline: false,
            proxy: None,
        }
    }

    pub(crate) fn pull(&self, cache: &Path) -> Result<Snapshot, ruminate_hub::Error> {
        self.pull_as(REPO, cache, &mut Ear::default())
    }

    pub(crate) fn pull_as(
        &self,
        name: &str,
        cache: &Path,
        ear: &mut Ear,
    ) -> Result<Snapshot, ruminate_hub::Error> {
        let hub = Hub::new(self.options(cache)).unwrap();
        hub.pull(&Name::parse(name).unwrap(), ear)
    }

    pub(crate) fn hub_with_token(&self, cache: &Path) -> Hub {
        let token = Some(Token::new("hf_secret").unwrap());
        Hub::new(Options { token, ..self.options(cache) }).unwrap()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for port in self.ports {
            // Wakes the thread that waits for a connection.
            drop(TcpStream::connect(port));
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn serve(stream: &TcpStream, host: Host, reply: impl Fn(&Seen) -> Answer) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let mut words = request.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let seen = Seen { host, method, path, headers: headers.collect() };
    let answer = reply(&seen);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    head += &format!("Content-Length: {}\r\n", answer.body.len());
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body: &[u8] = if seen.method == "HEAD" { b"" } else { &answer.body[..answer.sent] };
    let mut stream = stream;
    // A client that has heard enough may hang up.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(b"\r\n").and_then(|()| stream.write_all(body));
}

/// What a caller heard. It lets no time pass.
#[derive(Default)]
pub(crate) struct Ear {
    pub(crate) heard: Vec<(String, u64, u64)>,
    pub(crate) waits: Vec<(Wait, Duration)>,
    /// Cancels after so many bytes of a file.
    pub(crate) enough: Option<u64>,
    /// What happens while it waits, which is told how often it waited; `Break` cancels.
    pub(crate) meanwhile: Option<Box<dyn FnMut(usize) -> ControlFlow<()>>>,
}

impl Progress for Ear {
    fn advance(&mut self, file: &str, done: u64, total: u64) -> ControlFlow<()> {
        self.heard.push((file.to_owned(), done, total));
        match self.enough.is_some_and(|enough| done >= enough) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn wait(&mut self, why: &Wait, delay: Duration) -> ControlFlow<()> {
        self.waits.push((why.clone(), delay));
        let n_waits = self.waits.len();
        self.meanwhile.as_mut().map_or(ControlFlow::Continue(()), |meanwhile| meanwhile(n_waits))
    }
}

/// Every file, folder and link below a folder, a line each, sorted.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
            if meta.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                lines.push(format!("{name} -> {}", target.display()));
            } else if meta.is_dir() {
                folders.push(path.clone());
            } else {
                lines.push(format!("{name} {}", meta.len()));
            }
        }
    }
    lines.sort();
    lines
}
