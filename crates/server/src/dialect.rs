//! The dialects: which paths are whose, and how each tells an error.

use axum::http::StatusCode;
use serde_json::Value;

use crate::error::Error;
use crate::openai;
use crate::requests::RequestId;

/// One way of speaking to us.
pub(crate) struct Dialect {
    /// Its paths begin so.
    pub(crate) paths: &'static [&'static str],
    pub(crate) lift_error: fn(&Error, &RequestId) -> (StatusCode, Value),
}

/// The first whose path it is speaks; the last one speaks everywhere else.
const DIALECTS: &[&Dialect] = &[&openai::DIALECT];

/// Who speaks at a path.
pub(crate) fn of(path: &str) -> &'static Dialect {
    let own = |dialect: &&&Dialect| dialect.paths.iter().any(|own| path.starts_with(own));
    DIALECTS.iter().find(own).copied().unwrap_or(&openai::DIALECT)
}
