//! Traffic from files: a law in TOML, or a log in JSON lines.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use plan::{Length, Prefixes, Request, Thinking, Workload};
use serde::Deserialize;

use super::machine::{text_of, toml_of};

/// Bytes of the largest law and log.
const LAW_BYTES_MAX: u64 = 1 << 20;
const LOG_BYTES_MAX: u64 = 1 << 30;

/// Traffic as a file has it.
pub(super) enum Traffic {
    Law {
        workload: Workload,
        /// Seconds to simulate, from midnight on.
        duration_s: Option<f64>,
    },
    Log(Vec<Request>),
}

/// A file of a law, as `docs/planning.md` describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Law {
    #[serde(default)]
    seed: u64,
    requests_per_s: f64,
    #[serde(default)]
    shape: Option<Vec<f64>>,
    #[serde(default)]
    duration_s: Option<f64>,
    prompt: Tokens,
    answer: Tokens,
    #[serde(default)]
    thinking: Option<Part>,
    #[serde(default)]
    prefixes: Option<Prefix>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of tokens, [from, to] or { median, sigma, max }")]
enum Tokens {
    Fixed(u64),
    Uniform([u64; 2]),
    LogNormal { median: f64, sigma: f64, max: u64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    share: f64,
    tokens: Tokens,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefix {
    share: f64,
    count: u64,
    tokens: Tokens,
}

impl From<Tokens> for Length {
    fn from(tokens: Tokens) -> Length {
        match tokens {
            Tokens::Fixed(n) => Length::Fixed(n),
            Tokens::Uniform([from, to]) => Length::Uniform(from, to),
            Tokens::LogNormal { median, sigma, max } => Length::LogNormal { median, sigma, max },
        }
    }
}

impl Law {
    fn workload(self) -> Workload {
        let none = || (0.0, Length::Fixed(0));
        let (share, tokens) =
            self.thinking.map_or_else(none, |part| (part.share, part.tokens.into()));
        let prefixes = self.prefixes.map(|prefix| Prefixes {
            share: prefix.share,
            count: prefix.count,
            tokens: prefix.tokens.into(),
        });
        Workload {
            seed: self.seed,
            requests_per_s: self.requests_per_s,
            shape: self.shape.unwrap_or_else(|| vec![1.0]),
            prompt: self.prompt.into(),
            answer: self.answer.into(),
            thinking: Thinking { share, tokens },
            prefixes: prefixes.unwrap_or(Prefixes {
                share: 0.0,
                count: 0,
                tokens: Length::Fixed(0),
            }),
        }
    }
}

/// A request of a log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    at_s: f64,
    prompt: u64,
    answer: u64,
    #[serde(default)]
    thinking: u64,
    /// Requests with the same number begin with the same text.
    #[serde(default)]
    prefix: Option<u64>,
    #[serde(default)]
    prefix_len: u64,
}

/// Reads a law, or a log if the file's name says so.
pub(super) fn read(path: &Path) -> anyhow::Result<Traffic> {
    if path.extension().is_some_and(|extension| extension == "jsonl") {
        let text = text_of(path, LOG_BYTES_MAX)?;
        return log(&text).map(Traffic::Log).with_context(|| path.display().to_string());
    }
    let law: Law = toml_of(path, &text_of(path, LAW_BYTES_MAX)?)?;
    let duration_s = law.duration_s;
    let workload = law.workload().check().with_context(|| path.display().to_string())?;
    Ok(Traffic::Law { workload, duration_s })
}

fn log(text: &str) -> anyhow::Result<Vec<Request>> {
    let mut requests: Vec<Request> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let entry: Entry =
            serde_json::from_str(line).map_err(|error| anyhow!("line {}: {error}", i + 1))?;
        let before = requests.last().map_or(0.0, |request| request.at_s);
        if !(entry.at_s.is_finite() && entry.at_s >= before) {
            bail!("line {}: at_s is {}, the line before has {before}", i + 1, entry.at_s);
        }
        if entry.prompt == 0 {
            bail!("line {}: a prompt of no tokens", i + 1);
        }
        requests.push(Request {
            at_s: entry.at_s,
            prompt: entry.prompt,
            answer: entry.answer,
            thinking: entry.thinking,
            prefix: entry.prefix.map(|id| (id, entry.prefix_len.min(entry.prompt))),
        });
    }
    if requests.is_empty() {
        bail!("no request is in the log");
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(text: &str) -> anyhow::Result<Workload> {
        Ok(toml_of::<Law>(Path::new("day.toml"), text)?.workload())
    }

    #[test]
    fn lengths_are_read_in_every_form() {
        let text = "requests_per_s = 2.0\nprompt = { median = 800, sigma = 1.0, max = 16000 }\n\
                    answer = [10, 500]\n[thinking]\nshare = 0.5\ntokens = 2000\n\
                    [prefixes]\nshare = 0.6\ncount = 20\ntokens = 1500\n";
        let workload = law(text).unwrap();
        assert_eq!(workload.prompt, Length::LogNormal { median: 800.0, sigma: 1.0, max: 16_000 });
        assert_eq!(workload.answer, Length::Uniform(10, 500));
        assert_eq!(workload.thinking, Thinking { share: 0.5, tokens: Length::Fixed(2000) });
        assert_eq!(workload.prefixes.count, 20);
        assert_eq!(workload.shape, [1.0]);
    }

    #[test]
    fn a_fault_of_a_law_is_one_line() {
        let message = |text: &str| law(text).unwrap_err().to_string();
        let missing = message("prompt = 3\nanswer = 3\n");
        assert_eq!(missing, "day.toml:1: missing field `requests_per_s`");
        let wrong = message("requests_per_s = 1\nprompt = \"long\"\nanswer = 3\n");
        let expected = "expected a number of tokens, [from, to] or { median, sigma, max }";
        assert_eq!(wrong, format!("day.toml:2: {expected}"));
    }

    #[test]
    fn a_log_is_read_in_order() {
        let requests = log("{\"at_s\": 0, \"prompt\": 9, \"answer\": 4}\n\
                            {\"at_s\": 1.5, \"prompt\": 9, \"answer\": 4, \"thinking\": 7, \
                            \"prefix\": 1, \"prefix_len\": 50}\n")
        .unwrap();
        assert_eq!((requests[1].output(), requests[1].prefix), (11, Some((1, 9))));
        let message = |text: &str| log(text).unwrap_err().to_string();
        assert_eq!(message(""), "no request is in the log");
        let unordered = "{\"at_s\": 2, \"prompt\": 9, \"answer\": 4}\n\
                         {\"at_s\": 1, \"prompt\": 9, \"answer\": 4}";
        assert_eq!(message(unordered), "line 2: at_s is 1, the line before has 2");
        assert!(
            message("{\"at_s\": 2, \"answer\": 4}").starts_with("line 1: missing field `prompt`")
        );
    }
}
