//! What can be wrong with a model file, each in one line that names the file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use quant::QuantType;

/// A model file that cannot be read or written, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{path}: cannot {doing}: {source}")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("{path}: {what}")]
    NotAModel { path: PathBuf, what: String },
    #[error(
        "{path}: pickled weights are refused, since loading them can run code; convert the model \
         to safetensors or GGUF"
    )]
    Pickle { path: PathBuf },
    #[error("{path}: not a GGUF file: it begins with {found}, not with \"GGUF\"")]
    Magic { path: PathBuf, found: Shown },
    #[error("{path}: {found} is not supported (GGUF 2 and 3, little-endian, are)")]
    Version { path: PathBuf, found: String },
    #[error("{path}: truncated: {what} at byte {at} needs {needed} bytes and {left} are left")]
    Truncated { path: PathBuf, what: &'static str, at: usize, needed: u64, left: usize },
    #[error("{path}: {what} is {found}; the limit is {limit}")]
    Limit { path: PathBuf, what: &'static str, found: u64, limit: u64 },
    #[error("{path}: {what}")]
    Malformed { path: PathBuf, what: String },
    #[error("{path}: bad JSON: {what}")]
    Json { path: PathBuf, what: String },
    #[error("{path}: {what} {name} is there twice")]
    Duplicate { path: PathBuf, what: &'static str, name: Shown },
    #[error("{path}: key {key} is {found}; expected {expected}")]
    Metadata { path: PathBuf, key: Shown, found: String, expected: &'static str },
    #[error("{path}: tensor {tensor} has type {found}, which is not supported")]
    UnsupportedType { path: PathBuf, tensor: Shown, found: String },
    #[error("{path}: tensor {tensor} has the shape {shape:?}: {fault}")]
    Shape { path: PathBuf, tensor: Shown, shape: Vec<u64>, fault: String },
    #[error("{path}: tensor {tensor} ends at byte {end}, past the end of the file at {len}")]
    PastEnd { path: PathBuf, tensor: Shown, end: u64, len: usize },
    #[error("{path}: tensors {first} and {second} overlap")]
    Overlap { path: PathBuf, first: Shown, second: Shown },
    #[error("{path}: part {part} of {count} of the model is missing")]
    MissingPart { path: PathBuf, part: usize, count: usize },
    #[error("{path}: no tensor {tensor}")]
    MissingTensor { path: PathBuf, tensor: Shown },
    #[error("{path}: tensor {tensor} has the shape {found:?}; the model needs {expected:?}")]
    Misshapen { path: PathBuf, tensor: Shown, found: Vec<usize>, expected: Vec<usize> },
    #[error("{path}: the file was changed while it was in use")]
    Changed { path: PathBuf },
    #[error("{path}: tensor {tensor}: {found} bytes were written; {expected} were promised")]
    Unfilled { path: PathBuf, tensor: Shown, found: u64, expected: u64 },
    #[error("{path}: tensor {tensor} cannot be {} in this kind of file", ty.name())]
    Unwritable { path: PathBuf, tensor: Shown, ty: QuantType },
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Error::Io { path: path.into(), doing, source }
    }

    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Error::Malformed { path: path.into(), what: what.into() }
    }

    pub(crate) fn twice(path: &Path, what: &'static str, name: &str) -> Self {
        Error::Duplicate { path: path.into(), what, name: Shown::new(name) }
    }

    pub(crate) fn json(path: &Path, error: &serde_json::Error) -> Self {
        Error::Json { path: path.into(), what: Shown::plain(&error.to_string()) }
    }
}

/// A text from a file as an error shows it: quoted, on one line, of bounded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    const CHARS_MAX: usize = 80;

    pub fn new(text: &str) -> Self {
        let cut: String = text.chars().take(Self::CHARS_MAX).collect();
        let more = if cut.len() < text.len() { "…" } else { "" };
        Shown(format!("{cut:?}{more}"))
    }

    /// Without the quotes, for sentences of other libraries.
    pub(crate) fn plain(text: &str) -> String {
        let cut = text.chars().take(3 * Self::CHARS_MAX);
        cut.map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
