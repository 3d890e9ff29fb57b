//! The dialects: which paths are whose, and how each tells an error.

use axum::http::StatusCode;
use serde_json::Value;

use crate::error::Error;
use crate::requests::RequestId;
use crate::{anthropic, ollama, openai};

/// One way of speaking to us.
pub(crate) struct Dialect {
    /// Its paths begin so.
    pub(crate) paths: &'static [&'static str],
    pub(crate) lift_error: fn(&Error, &RequestId) -> (StatusCode, Value),
    /// Where it looks for a request's id, besides our own place.
    pub(crate) id_header: Option<&'static str>,
}

/// The first whose path it is speaks; the last one speaks everywhere else.
const DIALECTS: &[&Dialect] = &[&anthropic::DIALECT, &ollama::DIALECT, &openai::DIALECT];

/// Who speaks at a path.
pub(crate) fn of(path: &str) -> &'static Dialect {
    let own = |dialect: &&&Dialect| dialect.paths.iter().any(|own| path.starts_with(own));
    DIALECTS.iter().find(own).copied().unwrap_or(&openai::DIALECT)
}
