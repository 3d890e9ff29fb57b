//! Answers of a server, by OpenAI's chat completions.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::Response;

use super::Mode;
use super::answers::{Answers, Ask, Said, Told};
use super::local::How;
use crate::args::Usage;
use crate::questions::Question;

/// What a server of ours lets a request take at most.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes of one reply.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// Times that a request is sent again to a server that has no room for it, and the wait between
/// them at most, in seconds.
const RETRIES_MAX: usize = 8;
const RETRY_AFTER_MAX_S: u64 = 60;
/// Characters of a reply that a fault quotes.
const QUOTED_MAX: usize = 200;

/// Where a server is, as the flags say.
pub(super) struct Address<'a> {
    pub(super) url: &'a str,
    pub(super) key: Option<&'a str>,
    /// The first of its models if none.
    pub(super) model: Option<&'a str>,
}

/// A server that is there.
pub(super) struct Remote {
    connection: Arc<Connection>,
    model: String,
    thinks: Option<bool>,
    how: How,
}

struct Connection {
    agent: Agent,
    /// Up to and with `/v1`.
    url: String,
    key: Option<String>,
}

impl Remote {
    /// Asks the server whether it is there and what its models are.
    pub(super) fn connect(address: &Address<'_>, how: How) -> anyhow::Result<Remote> {
        let url = address.url.trim_end_matches('/');
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Usage(format!("--url {url}: expected http://… or https://…")).into());
        }
        // A key must not follow a redirect to somebody else.
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false);
        let connection = Connection {
            agent: config.build().new_agent(),
            url: if url.ends_with("/v1") { url.into() } else { format!("{url}/v1") },
            key: address.key.map(Into::into),
        };
        let models = connection.models();
        let (model, thinks) = match (address.model, models) {
            (Some(name), Ok(models)) => (name.to_string(), thinks(&models, name)),
            // Some servers list nothing; one that is not there is found out at the first question.
            (Some(_), Err(fault)) if fault.is::<ureq::Error>() => return Err(fault),
            (Some(name), Err(_)) => (name.to_string(), None),
            (None, models) => {
                let models = models?;
                let Some(name) = models[0]["id"].as_str() else {
                    bail!("{url}: it lists no model: --model-name says which to ask")
                };
                (name.to_string(), thinks(&models, name))
            }
        };
        Ok(Remote { connection: Arc::new(connection), model, thinks, how })
    }

    /// The body of a request.
    fn body(&self, question: &str, ask: Ask) -> Value {
        let system =
            self.how.system.as_ref().map(|text| json!({"role": "system", "content": text}));
        let question = json!({ "role": "user", "content": question });
        let mut body = json!({
            "model": self.model,
            "messages": system.into_iter().chain([question]).collect::<Value>(),
            "max_tokens": self.how.max_tokens,
            "seed": ask.seed,
            "stream": false,
        });
        let params = &self.how.params;
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[key] = value;
            }
        };
        set("temperature", params.temperature.map(exact));
        set("top_p", params.top_p.map(exact));
        set("min_p", params.min_p.map(exact));
        set("top_k", params.top_k.map(Into::into));
        let thinking = |kind: &str| Some(json!({ "type": kind }));
        // What other servers read; ours goes by `thinking`.
        let switches = |on: bool| Some(json!({ "enable_thinking": on, "thinking": on }));
        match ask.mode {
            Mode::Fast => {
                set("thinking", thinking("disabled"));
                set("chat_template_kwargs", switches(false));
            }
            Mode::Slow => {
                set("thinking", thinking("enabled"));
                set("chat_template_kwargs", switches(true));
            }
            Mode::Auto => set("thinking", thinking("auto")),
        }
        body
    }
}

/// A number in as many digits as were typed: 0.6, not 0.6000000238.
fn exact(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Into::into)
}

/// What a list of models says of one of them.
fn thinks(models: &Value, name: &str) -> Option<bool> {
    let found = models.as_array()?.iter().find(|model| model["id"] == name)?;
    found["thinks"].as_bool()
}

impl Answers for Remote {
    fn model(&self) -> &str {
        &self.model
    }

    fn thinks(&self) -> Option<bool> {
        self.thinks
    }

    fn begin(&self, question: &Question, ask: Ask, told: Told) {
        let (connection, body) = (self.connection.clone(), self.body(&question.text, ask));
        thread::spawn(move || told(connection.ask(&body)));
    }
}

impl Connection {
    fn with_key<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// The list of models.
    fn models(&self) -> anyhow::Result<Value> {
        let url = format!("{}/models", self.url);
        let request = self.with_key(self.agent.get(&url));
        let mut response = request.call().with_context(|| format!("cannot ask {url}"))?;
        let (status, text) = read(&mut response).with_context(|| format!("cannot ask {url}"))?;
        if !(200..300).contains(&status) {
            bail!("{url}: status {status}: {}", message(&text));
        }
        let reply: Value = serde_json::from_str(&text).unwrap_or_default();
        match &reply["data"] {
            data @ Value::Array(_) => Ok(data.clone()),
            _ => bail!("{url}: no list of models: {}", quoted(&text)),
        }
    }

    fn ask(&self, body: &Value) -> Result<Said, String> {
        let url = format!("{}/chat/completions", self.url);
        for _ in 0..RETRIES_MAX {
            let request = self.with_key(self.agent.post(&url));
            let mut response = request.send_json(body).map_err(|error| error.to_string())?;
            let wait = retry_after(&response);
            let (status, text) = read(&mut response).map_err(|error| error.to_string())?;
            match (status, wait) {
                (200..300, _) => return said(&text),
                (429 | 503, Some(wait)) => thread::sleep(wait),
                _ => return Err(format!("status {status}: {}", message(&text))),
            }
        }
        Err(format!("the server had no room for it {RETRIES_MAX} times"))
    }
}

/// When the server says to come again, if it does.
fn retry_after(response: &Response<ureq::Body>) -> Option<Duration> {
    let seconds: u64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)))
}

fn read(response: &mut Response<ureq::Body>) -> Result<(u16, String), ureq::Error> {
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string()?;
    Ok((status, text))
}

/// What an error says in OpenAI's shape, else its text.
fn message(text: &str) -> String {
    let reply: Value = serde_json::from_str(text).unwrap_or_default();
    quoted(reply["error"]["message"].as_str().unwrap_or(text))
}

fn quoted(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED_MAX).collect()
}

/// What a reply says.
fn said(text: &str) -> Result<Said, String> {
    let malformed = |what: &str| format!("the reply has {what}: {}", quoted(text));
    let reply: Value = serde_json::from_str(text).map_err(|_| malformed("no JSON"))?;
    let choice = &reply["choices"][0];
    let empty = Map::new();
    let message = choice["message"].as_object().ok_or_else(|| malformed("no message"))?;
    let answer = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        // An answer that was cut while it was thought over.
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err(malformed("a content that is no text")),
    };
    let ended_by = choice["finish_reason"].as_str().ok_or_else(|| malformed("no finish_reason"))?;
    let usage = reply["usage"].as_object().unwrap_or(&empty);
    let count =
        |value: Option<&Value>| Some(usize::try_from(value?.as_u64()?).unwrap_or(usize::MAX));
    let tokens = count(usage.get("completion_tokens"));
    let tokens = tokens.ok_or_else(|| malformed("no usage.completion_tokens"))?;
    let details = usage.get("completion_tokens_details");
    let thinking_tokens = count(details.and_then(|details| details.get("reasoning_tokens")));
    let ours = usage.get("ruminate").map_or(&Value::Null, |ours| &ours["thinking"]);
    let written = ["reasoning_content", "reasoning"].iter().any(|key| {
        message.get(*key).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
    });
    let thought = ours["thought"].as_bool().unwrap_or_else(|| {
        written || thinking_tokens.is_some_and(|n| n > 0) || answer.contains("</think>")
    });
    Ok(Said {
        text: answer,
        tokens,
        thinking_tokens,
        decision_tokens: count(ours.get("decision_tokens")).unwrap_or(0),
        thought,
        ended_by: ended_by.into(),
        thinking_ended_by: ours["ended_by"].as_str().map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_ours_tells_everything() {
        let found = said(
            r#"{"choices": [{"message": {"content": "4", "reasoning": "hm"},
            "finish_reason": "length"}], "usage": {"completion_tokens": 30,
            "completion_tokens_details": {"reasoning_tokens": 20}, "ruminate": {"thinking":
            {"thought": true, "ended_by": "agreed", "decision_tokens": 7}}}}"#,
        );
        let expected = Said {
            text: "4".into(),
            tokens: 30,
            thinking_tokens: Some(20),
            decision_tokens: 7,
            thought: true,
            ended_by: "length".into(),
            thinking_ended_by: Some("agreed".into()),
        };
        assert_eq!(found.as_ref(), Ok(&expected));
        assert!(expected.is_cut() && expected.spent() == 37);
    }

    #[test]
    fn what_another_server_leaves_out_is_not_made_up() {
        let of = |message: &str| {
            said(&format!(
                "{{\"choices\": [{{\"message\": {message}, \"finish_reason\": \"stop\"}}], \
                 \"usage\": {{\"completion_tokens\": 3}}}}"
            ))
            .unwrap()
        };
        let plain = of(r#"{"content": "4"}"#);
        assert_eq!((plain.thinking_tokens, plain.thought), (None, false));
        assert!(of(r#"{"content": null, "reasoning_content": "hm"}"#).thought);
        assert!(of(r#"{"content": "<think>hm</think>4"}"#).thought);
    }

    #[test]
    fn a_malformed_reply_says_what_is_missing() {
        for (text, why) in [
            ("<html>", "no JSON: <html>"),
            ("[]", "no message"),
            (r#"{"choices": []}"#, "no message"),
            (r#"{"choices": [{"message": {"content": 4}}]}"#, "no text"),
            (r#"{"choices": [{"message": {"content": "4"}}]}"#, "no finish_reason"),
            (
                r#"{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}"#,
                "no usage.completion_tokens",
            ),
        ] {
            assert!(said(text).unwrap_err().contains(why), "{text}: {:?}", said(text));
        }
        assert_eq!(message(r#"{"error": {"message": "too long"}}"#), "too long");
        assert_eq!(message("a\n  b"), "a b");
    }

    #[test]
    fn a_number_goes_as_it_was_typed() {
        assert_eq!(exact(0.6).to_string(), "0.6");
        assert_eq!(exact(0.0).to_string(), "0.0");
    }
}
