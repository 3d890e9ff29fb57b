//! A body on its way in: bounded in size, time and depth, and read into a type.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::admission::Bytes;
use crate::auth::Who;
use crate::error::Error;
use crate::limits::Limits;
use crate::requests::Record;
use crate::state::{Server, Shared};

/// A request with its whole body.
pub(crate) struct Incoming {
    pub(crate) who: Who,
    pub(crate) record: Arc<Record>,
    body: Vec<u8>,
    depth_max: usize,
    /// The room that its body takes.
    pub(crate) room: Bytes,
}

impl FromRequest<Shared> for Incoming {
    type Rejection = Error;

    async fn from_request(request: Request, server: &Shared) -> Result<Incoming, Error> {
        let (mut parts, body) = request.into_parts();
        check_type(&parts.headers)?;
        let who = parts.extensions.remove::<Who>().unwrap_or_default();
        let record = parts.extensions.remove::<Arc<Record>>().ok_or(Error::Internal)?;
        let (body, room) = read(server, body).await?;
        let depth_max = server.limits.json_depth_max;
        Ok(Incoming { who, record, body, depth_max, room })
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    let is_json = kind.eq_ignore_ascii_case("application/json");
    // What a few bytes unpack to has no bound.
    let is_plain = text(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    if is_json && is_plain { Ok(()) } else { Err(Error::NotJson) }
}

/// The whole body, if it comes in time and there is room for it.
async fn read(server: &Server, mut body: Body) -> Result<(Vec<u8>, Bytes), Error> {
    let Limits { body_bytes_max: max, body_timeout, .. } = server.limits;
    let deadline = Instant::now() + body_timeout;
    let mut room = server.admission.make_room(0)?;
    let mut bytes = Vec::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| Error::Slow)?;
        let Some(frame) = frame else { return Ok((bytes, room)) };
        let frame = frame
            .map_err(|_| Error::Invalid { param: None, message: "the body broke off".into() })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max {
            return Err(Error::TooLarge { max });
        }
        room.grow(data.len())?;
        bytes.extend_from_slice(&data);
    }
}

impl Incoming {
    /// The body as a `T`. Large ones take a while: not for the reactor's threads.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        parse(&self.body, self.depth_max)
    }
}

/// JSON as a `T`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8], depth_max: usize) -> Result<T, Error> {
    if depth(body) > depth_max {
        let message = format!("the body nests deeper than {depth_max} levels");
        return Err(Error::Invalid { param: None, message });
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        fault(&path, error.inner())
    })?;
    reader.end().map_err(|error| fault(".", &error))?;
    Ok(parsed)
}

/// A fault in words of ours: what the client wrote is not repeated.
fn fault(path: &str, error: &serde_json::Error) -> Error {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "_.[]-".contains(*c);
    let path: String = path.chars().filter(plain).take(64).collect();
    let param = (!path.is_empty() && path != ".").then_some(path);
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or("");
    let message = match error.classify() {
        serde_json::error::Category::Data => {
            // What is expected is said last, and by our own types.
            let expected = words.rfind("expected ").map(|at| &words[at..]);
            let missing = words.strip_prefix("missing field").map(|_| words);
            missing.or(expected).unwrap_or("this value is not allowed here").to_string()
        }
        _ => format!("the body is not JSON (line {}, column {})", error.line(), error.column()),
    };
    Error::Invalid { param, message }
}

/// How deep brackets nest, outside of strings.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only types are looked at")]
    struct Wire {
        n: u32,
        #[serde(default)]
        list: Vec<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        A,
    }

    fn message(json: &str) -> (Option<String>, String) {
        match parse::<Wire>(json.as_bytes(), 8) {
            Err(Error::Invalid { param, message }) => (param, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fault_names_the_field_and_repeats_nothing() {
        let secret = "sk-expected";
        let at = |param: &str, message: &str| (Some(param.to_string()), message.to_string());
        assert_eq!(message(&format!("{{\"n\": \"{secret}\"}}")), at("n", "expected u32"));
        assert_eq!(message("{}"), (None, "missing field `n`".into()));
        assert_eq!(message("{\"n\": 1, \"list\": [\"b\"]}"), at("list[0]", "expected `a`"));
        assert_eq!(message("{\"n\": -1}"), at("n", "expected u32"));
        let (param, words) = message("{\"n\": 1,, }");
        assert_eq!((param, words.starts_with("the body is not JSON (line 1")), (None, true));
        assert!(message("{\"n\": 1} x").1.contains("not JSON"));
        assert!(parse::<Wire>(b"{\"n\": 1, \"list\": [\"a\"], \"other\": 3}", 8).is_ok());
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(depth(b"{\"a\": \"[[[\\\"[\", \"b\": [[1]]}"), 3);
        let deep = "[".repeat(9);
        assert_eq!(message(&deep).1, "the body nests deeper than 8 levels");
    }
}
