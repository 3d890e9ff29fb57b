//! One client of the server: a streamed completion under a clock, and what the server counts.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

/// How long a server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Bytes of one line of a stream, at most.
const LINE_MAX: u64 = 1 << 20;
/// What prompts are drawn from, token by token.
const TEXT: &str = "The sea was calm that morning, and the old man counted his seven nets twice \
    before he rowed out. Nobody had asked how far the island lay; each of them knew that wind, \
    hunger and patience would decide it. By noon the gulls were gone, a grey line of rain stood in \
    the west, and he thought of numbers, of bread, and of the letter which he had never answered.";

/// How to reach a server.
pub(super) struct Client {
    agent: Agent,
    url: String,
    key: Option<String>,
    tokens: Vec<u32>,
}

/// What came of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// From asking to the first text and to the end.
    pub(super) first_s: f64,
    pub(super) whole_s: f64,
    /// Between pieces of text, which hold a token, or now and then more.
    pub(super) gaps_s: Vec<f32>,
    pub(super) input: u64,
    pub(super) output: u64,
    /// Why nothing came, or not all.
    pub(super) fault: Option<String>,
}

impl Asked {
    pub(super) fn failed(why: impl Into<String>) -> Asked {
        Asked { fault: Some(why.into()), ..Asked::default() }
    }
}

/// Seconds that the server's steps took, and the least they could have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    busy_s: f64,
    least_s: f64,
}

impl Work {
    /// The share of the roof in between; none if the server measures none.
    pub(super) fn share_since(&self, before: &Work) -> Option<f64> {
        let (busy, least) = (self.busy_s - before.busy_s, self.least_s - before.least_s);
        (busy > 0.0 && least > 0.0).then(|| least / busy)
    }

    /// Of a page of metrics.
    fn of(metrics: &str) -> Work {
        let sum = |name: &str| -> f64 {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Work {
            busy_s: sum("ruminate_busy_seconds_total"),
            least_s: sum("ruminate_least_seconds_total"),
        }
    }
}

impl Client {
    /// Asks the server whether it is there and what its tokens are.
    pub(super) fn new(url: &str, key: Option<&str>) -> anyhow::Result<Client> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_recv_response(Some(SILENCE_MAX))
            .max_idle_connections(0)
            .proxy(None)
            .build();
        let mut client = Client {
            agent: config.into(),
            url: url.trim_end_matches('/').into(),
            key: key.map(Into::into),
            tokens: Vec::new(),
        };
        let asked = json!({ "prompt": TEXT, "add_special_tokens": false });
        let mut response = client.post("/tokenize", &asked)?;
        let said: Value = response.body_mut().read_json().unwrap_or_default();
        if !response.status().is_success() {
            bail!("{url}: /tokenize: {}: {}", response.status(), said["error"]["message"]);
        }
        let tokens = said["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let id = |token: &Value| token.as_u64().and_then(|id| u32::try_from(id).ok());
        client.tokens = tokens.iter().filter_map(id).collect();
        if client.tokens.is_empty() {
            bail!("{url}: /tokenize gives no tokens: is this a server of ruminate?");
        }
        Ok(client)
    }

    /// The tokens of some text.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Response<ureq::Body>> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.post(&url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        request.send_json(body).with_context(|| format!("cannot ask {url}"))
    }

    /// What the server's steps took so far.
    pub(super) fn work(&self) -> anyhow::Result<Work> {
        let url = format!("{}/metrics", self.url);
        let mut request = self.agent.get(&url);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.call().with_context(|| format!("cannot ask {url}"))?;
        Ok(Work::of(&response.body_mut().read_to_string()?))
    }

    /// Asks for an answer of `n` tokens.
    pub(super) fn ask(&self, prompt: &[u32], n: usize) -> Asked {
        let body = json!({
            "prompt": prompt,
            "max_tokens": n,
            "ignore_eos": true,
            "temperature": 1.0,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let start = Instant::now();
        match self.post("/v1/completions", &body) {
            Ok(response) if response.status().is_success() => {
                hear(BufReader::new(response.into_body().into_reader()), start)
            }
            Ok(response) => Asked::failed(format!("status {}", response.status().as_u16())),
            Err(error) => Asked::failed(format!("{error:#}")),
        }
    }
}

/// Reads a stream to its end.
fn hear(mut stream: impl BufRead, start: Instant) -> Asked {
    let mut asked = Asked::default();
    let mut last = None;
    let mut line = String::new();
    loop {
        line.clear();
        match std::io::Read::take(&mut stream, LINE_MAX).read_line(&mut line) {
            Ok(0) => return Asked { fault: Some("the stream broke off".into()), ..asked },
            Ok(_) => {}
            Err(error) => return Asked { fault: Some(error.to_string()), ..asked },
        }
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        let now = start.elapsed().as_secs_f64();
        if data == "[DONE]" {
            asked.whole_s = now;
            return asked;
        }
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            return Asked { fault: Some("a chunk is no JSON".into()), ..asked };
        };
        if let Some(message) = chunk["error"]["message"].as_str() {
            return Asked { fault: Some(message.into()), ..asked };
        }
        let usage = &chunk["usage"];
        if usage.is_object() {
            asked.input = usage["prompt_tokens"].as_u64().unwrap_or(0);
            asked.output = usage["completion_tokens"].as_u64().unwrap_or(0);
        }
        if chunk["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()) {
            match last.replace(now) {
                None => asked.first_s = now,
                Some(before) => asked.gaps_s.push((now - before) as f32),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\
: keep-alive

data: {\"choices\":[{\"text\":\"a\"}]}

data: {\"choices\":[{\"text\":\"b\"}]}

data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}

data: [DONE]
";

    #[test]
    fn a_stream_is_heard_to_its_end() {
        let asked = hear(STREAM.as_bytes(), Instant::now());
        assert_eq!((asked.input, asked.output, asked.gaps_s.len(), asked.fault), (7, 2, 1, None));
    }

    #[test]
    fn a_stream_that_breaks_off_is_a_fault() {
        let broken = STREAM.split("data: [DONE]").next().unwrap();
        assert_eq!(hear(broken.as_bytes(), Instant::now()).fault.unwrap(), "the stream broke off");
        let failed = "data: {\"error\":{\"message\":\"it fell\"}}\n";
        assert_eq!(hear(failed.as_bytes(), Instant::now()).fault.unwrap(), "it fell");
    }

    #[test]
    fn work_is_read_off_the_metrics() {
        let metrics = "# HELP ruminate_busy_seconds Time.\n\
                       ruminate_busy_seconds_total{part=\"prompts\"} 1.5\n\
                       ruminate_busy_seconds_total{part=\"answers\"} 2.5\n\
                       ruminate_least_seconds_total{part=\"prompts\"} 1.0\n";
        let work = Work::of(metrics);
        assert_eq!(work, Work { busy_s: 4.0, least_s: 1.0 });
        assert_eq!(work.share_since(&Work::default()), Some(0.25));
        assert_eq!(work.share_since(&work), None);
    }
}
