//! A model behind an OpenAI-compatible address, asked for a verdict.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

/// Where the judge is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The address up to and with `/v1`.
    pub url: String,
    pub model: String,
    /// The environment variable that holds a key, if the server wants one.
    #[serde(default)]
    pub key_variable: Option<String>,
    #[serde(default)]
    pub timeout_s: Option<f64>,
    /// Tokens of a reply at most, its thinking included.
    #[serde(default)]
    pub max_tokens: Option<u32>,
}

/// A judge may think.
const TIMEOUT_S: f64 = 300.0;
const MAX_TOKENS: u32 = 4096;
const REPLY_BYTES_MAX: u64 = 4 << 20;
/// Of a reply that is no verdict, what an error quotes.
const QUOTED_MAX: usize = 200;

/// A judge that can't be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the judge's timeout of {0} s is not above zero")]
    Timeout(f64),
    #[error("the judge's key is to be in {0}, which is not set")]
    NoKey(String),
    #[error("the judge's address is {0}, which is no http:// or https:// one")]
    Address(String),
}

/// A judge that is asked.
pub struct Connection {
    agent: Agent,
    url: String,
    key: Option<String>,
    model: String,
    max_tokens: u32,
}

impl Server {
    /// # Errors
    ///
    /// If the address is none, or its key is missing. Nobody is asked yet.
    pub fn connect(&self) -> Result<Connection, Error> {
        if !["http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme)) {
            return Err(Error::Address(self.url.clone()));
        }
        let seconds = self.timeout_s.unwrap_or(TIMEOUT_S);
        let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
        let timeout = timeout.ok_or(Error::Timeout(seconds))?;
        let key = match &self.key_variable {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| Error::NoKey(name.clone()))?),
        };
        // A key must not follow a redirect to somebody else.
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .http_status_as_error(false);
        Ok(Connection {
            agent: config.build().new_agent(),
            url: format!("{}/chat/completions", self.url.trim_end_matches('/')),
            key,
            model: self.model.clone(),
            max_tokens: self.max_tokens.unwrap_or(MAX_TOKENS),
        })
    }
}

impl Connection {
    /// What the judge replies to `prompt`, or why it doesn't.
    pub fn ask(&self, prompt: &str) -> Result<String, String> {
        let body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt }],
            "temperature": 0,
            "seed": 0,
            "max_tokens": self.max_tokens,
        });
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string()).map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string();
        let body = body.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("status {}: {}", status.as_u16(), quoted(&body)));
        }
        let reply: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let content = reply.pointer("/choices/0/message/content").and_then(Value::as_str);
        content.map(str::to_string).ok_or_else(|| format!("no message in {}", quoted(&body)))
    }
}

fn quoted(body: &str) -> String {
    body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that gives one answer, and what it was sent.
    fn serve_once(status: &str, body: &str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let heard = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(reply.as_bytes()).unwrap();
            head + &String::from_utf8(body).unwrap()
        });
        (url, heard)
    }

    fn server(url: &str) -> Server {
        let (url, model) = (url.into(), "judge-1".into());
        Server { url, model, key_variable: None, timeout_s: Some(60.0), max_tokens: None }
    }

    #[test]
    fn a_judge_is_asked_as_a_chat_and_its_message_is_the_reply() {
        let body = r#"{"choices": [{"message": {"content": "Same.\nVERDICT: RIGHT"}}]}"#;
        let (url, heard) = serve_once("200 OK", body);
        let reply = server(&url).connect().unwrap().ask("is it?").unwrap();
        assert_eq!(reply, "Same.\nVERDICT: RIGHT");
        let heard = heard.join().unwrap();
        assert!(heard.starts_with("POST /v1/chat/completions "), "{heard}");
        assert!(heard.contains(r#""content":"is it?""#) && heard.contains("judge-1"), "{heard}");
    }

    #[test]
    fn a_judge_that_fails_says_how() {
        let (url, _) = serve_once("429 Too Many Requests", "slow\ndown");
        let why = server(&url).connect().unwrap().ask("?").unwrap_err();
        assert_eq!(why, "status 429: slow down");
        let (url, _) = serve_once("200 OK", "{}");
        assert_eq!(server(&url).connect().unwrap().ask("?").unwrap_err(), "no message in {}");
        assert!(server("http://127.0.0.1:9/v1").connect().unwrap().ask("?").is_err());
        let missing = Server { key_variable: Some("NO_SUCH_KEY".into()), ..server("http://a") };
        assert!(missing.connect().err().unwrap().to_string().contains("NO_SUCH_KEY"));
        assert!(server("ftp://a").connect().is_err());
    }
}
