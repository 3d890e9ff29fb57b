//! What can go wrong with a request: one enum, which every dialect lifts to its own shape.
//!
//! Messages are fixed sentences with numbers in them. What a client wrote is not repeated but for
//! the names of fields, and what a model's template says.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{Finish, Refusal};

use crate::drain;

/// Why a request gets no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The body says something that cannot be.
    #[error("{message}")]
    Invalid { param: Option<String>, message: String },
    #[error("the prompt has {n} tokens, and with an answer at most {max} fit the context")]
    TooLong { n: usize, max: usize },
    #[error("a key is needed: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")]
    Unauthorized,
    /// Another site, or another host name, than those that may ask.
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is nothing at this path")]
    NotFound,
    #[error("this model is not served here; see /v1/models")]
    NoSuchModel,
    #[error("this path does not take this method")]
    MethodNotAllowed,
    #[error("the body is larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("the body must be JSON: send `content-type: application/json`")]
    NotJson,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    Slow,
    /// The queue is full.
    #[error("the queue is full; try again in {} s", retry_after.as_secs_f64().ceil())]
    Overloaded { retry_after: Duration },
    #[error("the server is about to stop")]
    Draining { retry_after: Duration },
    #[error("the engine has failed, and this server is about to end; try its successor")]
    EngineGone,
    #[error("there was no room for the request in time")]
    QueueTimeout,
    #[error("the request took longer than it may")]
    Timeout,
    #[error("the server failed to answer this request")]
    Internal,
}

impl Error {
    pub fn invalid(param: &str, message: impl Into<String>) -> Error {
        Error::Invalid { param: Some(param.into()), message: message.into() }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Error::Invalid { .. } | Error::TooLong { .. } => StatusCode::BAD_REQUEST,
            Error::Unauthorized => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound | Error::NoSuchModel => StatusCode::NOT_FOUND,
            Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Error::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::Slow => StatusCode::REQUEST_TIMEOUT,
            Error::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Draining { .. } | Error::EngineGone => StatusCode::SERVICE_UNAVAILABLE,
            Error::QueueTimeout | Error::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Error::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to come back, if that may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Overloaded { retry_after } | Error::Draining { retry_after } => {
                Some(*retry_after)
            }
            Error::EngineGone => Some(drain::RETRY_AFTER),
            _ => None,
        }
    }

    /// What an answer's end means if it isn't one.
    pub(crate) fn of_finish(finish: &Finish, retry_after: impl Fn() -> Duration) -> Option<Error> {
        match finish {
            Finish::Stop | Finish::StopString(_) | Finish::Length | Finish::Loop => None,
            Finish::Cancelled => Some(Error::Internal),
            Finish::Expired => Some(Error::QueueTimeout),
            Finish::Failed(_) => Some(Error::Internal),
            Finish::Refused(refusal) => Some(match refusal {
                Refusal::TooLong { n, max } => Error::TooLong { n: *n, max: *max },
                Refusal::Schedule(
                    schedule::Error::QueueFull { .. } | schedule::Error::QueueTokensFull { .. },
                ) => Error::Overloaded { retry_after: retry_after() },
                Refusal::Stopped => Error::EngineGone,
                other => Error::Invalid { param: None, message: other.to_string() },
            }),
        }
    }
}

/// A fault on the way from a conversation to tokens.
impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Error {
        /// Of what a template says, this much is passed on.
        const CHARS_MAX: usize = 300;
        match error {
            engine::Error::TooLong { n, max } => Error::TooLong { n, max },
            engine::Error::Prompt(error) => {
                let message = error.to_string().replace(char::is_control, " ");
                let message = message.chars().take(CHARS_MAX).collect();
                Error::Invalid { param: None, message }
            }
            _ => Error::Internal,
        }
    }
}

impl From<engine::sampler::Error> for Error {
    fn from(error: engine::sampler::Error) -> Error {
        let param = match &error {
            engine::sampler::Error::OutOfRange { field, .. } => Some((*field).to_string()),
            _ => None,
        };
        Error::Invalid { param, message: error.to_string() }
    }
}

/// A status that carries the error: the outermost layer lifts it to the path's dialect.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
