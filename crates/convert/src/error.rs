//! What can keep a model from being converted.

use std::io;
use std::path::PathBuf;

/// A model that cannot be converted, or an output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Formats(#[from] formats::Error),
    #[error("{path}: {source}")]
    Spec { path: PathBuf, source: spec::Error },
    #[error("{path}: {source}")]
    Text { path: PathBuf, source: text::Error },
    #[error("{path}: GGUF cannot say that the model has {what}")]
    Unsayable { path: PathBuf, what: String },
    #[error("{path}: {what} is {found}; expected {expected}")]
    Misshapen { path: PathBuf, what: String, found: String, expected: String },
    #[error("no shape is called {name} (known: {known})")]
    UnknownShape { name: String, known: String },
    #[error("{path} exists already: choose another name, or replace it with --force")]
    Exists { path: PathBuf },
    #[error("{path}: the file will take {needed} bytes and {free} are free on its disk")]
    DiskFull { path: PathBuf, needed: u64, free: u64 },
    #[error("{path}: cannot {doing}: {source}")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
}
