//! What is printed once the server listens: what it serves, what that takes, and how to reach it.

use std::io::{self, Write};
use std::net::SocketAddr;

use engine::memory::{Need, bytes};
use plan::Peaks;
use server::Limits;

use super::is_watched;
use crate::terminal::Style;

pub(super) struct Greeting<'a> {
    pub(super) names: &'a [String],
    pub(super) address: SocketAddr,
    pub(super) has_keys: bool,
    pub(super) context: usize,
    pub(super) streams: usize,
    pub(super) tokens_per_step: usize,
    pub(super) need: Need,
    pub(super) limits: &'a Limits,
    pub(super) peaks: Option<Peaks>,
}

pub(super) fn print(greeting: &Greeting<'_>) -> io::Result<()> {
    let style = if is_watched() { Style::of_terminal() } else { Style::Plain };
    let mut out = io::stdout().lock();
    for (name, text) in greeting.lines() {
        writeln!(out, "{} {text}", style.dim(&format!("{name:14}")))?;
    }
    out.flush()
}

impl Greeting<'_> {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let Greeting { names, address, has_keys, context, streams, need, limits, .. } = self;
        let name = names.first().map_or("model", String::as_str);
        let url = format!("http://{address}");
        let key = if *has_keys { "$RUMINATE_API_KEY" } else { "none" };
        let experts = match need.experts {
            0 => String::new(),
            n => format!("experts {}, ", bytes(n)),
        };
        let memory = format!(
            "{} (weights {}, {experts}cache {}, buffers {})",
            bytes(need.total()),
            bytes(need.weights),
            bytes(need.kv),
            bytes(need.scratch)
        );
        let mut lines = vec![
            ("serving", format!("{} at {url}", names.join(", "))),
            ("memory", memory),
            (
                "limits",
                format!(
                    "{context} tokens of context, {streams} streams at once, {} tokens a step, {} \
                     requests and {} tokens in line, bodies of {}",
                    self.tokens_per_step,
                    limits.queue_requests_max,
                    limits.queue_tokens_max,
                    bytes(limits.body_bytes_max as u64)
                ),
            ),
        ];
        if let Some(peaks) = self.peaks {
            let (read, flops) = (peaks.bytes_per_s / 1e9, peaks.linear_flops / 1e9);
            lines.push(("peak", format!("{read:.1} GB/s read, {flops:.0} GOP/s")));
        }
        let who = match (has_keys, address.ip().is_loopback()) {
            (true, _) => "whoever has a key",
            (false, true) => "this machine",
            (false, false) => "anybody: --insecure was given",
        };
        lines.push(("open to", who.into()));
        lines.extend([
            ("OpenAI SDK", format!("OpenAI(base_url=\"{url}/v1\", api_key=\"{key}\")")),
            ("Anthropic SDK", format!("Anthropic(base_url=\"{url}\", api_key=\"{key}\")")),
            (
                "Claude Code",
                format!(
                    "ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={key} ANTHROPIC_MODEL={name} \
                     ANTHROPIC_SMALL_FAST_MODEL={name} claude"
                ),
            ),
            (
                "Codex",
                format!(
                    "RUMINATE_API_KEY={key} codex -m {name} -c model_provider=ruminate \
                     -c 'model_providers.ruminate={{name=\"ruminate\", base_url=\"{url}/v1\", \
                     env_key=\"RUMINATE_API_KEY\", wire_api=\"responses\"}}'"
                ),
            ),
            (
                "curl",
                format!(
                    "curl {url}/v1/chat/completions -H 'content-type: application/json' \
                     {}-d '{{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \
                     \"content\": \"Hello\"}}]}}'",
                    if *has_keys { "-H \"authorization: Bearer $RUMINATE_API_KEY\" " } else { "" }
                ),
            ),
        ]);
        lines
    }
}
