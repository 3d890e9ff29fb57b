//! What can be wrong with a model's config.

/// A config that does not describe a model that ruminate knows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the config has no {key}")]
    Missing { key: String },
    #[error("{key} is {found}; expected {expected}")]
    Unexpected { key: String, found: String, expected: &'static str },
    #[error("model family {name} is not supported (supported: {known})")]
    UnknownFamily { name: String, known: String },
    #[error("{what} is not supported")]
    Unsupported { what: String },
    #[error("impossible shape: {what}")]
    Impossible { what: String },
}
