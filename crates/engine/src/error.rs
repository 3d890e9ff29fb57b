//! What can go wrong between a path and an answer.

use std::path::{Path, PathBuf};

use crate::{memory, sampler};

/// A model that cannot be served, or a request that cannot be met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Formats(#[from] formats::Error),
    #[error("{path}: {source}")]
    Spec { path: PathBuf, source: spec::Error },
    #[error("{path}: {source}")]
    Model { path: PathBuf, source: Box<model::Error> },
    #[error("{path}: {source}")]
    Text { path: PathBuf, source: text::Error },
    #[error("{path}: {source}")]
    Sampling { path: PathBuf, source: sampler::Error },
    #[error("{path} has no {what}")]
    NoText { path: PathBuf, what: &'static str },
    #[error("{path}: cannot be written: {source}")]
    Record { path: PathBuf, source: std::io::Error },
    #[error("{path} has no layer that predicts tokens ahead: speculate by n-grams, or not at all")]
    NoNextToken { path: PathBuf },
    #[error("{0}")]
    Memory(memory::Shortage),
    #[error("the context is {asked} tokens; {path} was made for at most {max}")]
    Context { path: PathBuf, asked: usize, max: usize },
    #[error("{n} tokens do not fit the context of {max}")]
    TooLong { n: usize, max: usize },
    #[error("token {id} is not in the vocabulary of {vocab}")]
    NoSuchToken { id: u32, vocab: usize },
    #[error("the model gave numbers that are not finite")]
    NotFinite,
    #[error("{0}")]
    Prompt(#[from] text::Error),
    #[error("{0}")]
    Forward(#[from] model::Error),
    #[error("{0}")]
    Limits(#[from] schedule::Error),
}

impl Error {
    /// A fault of the model at `path`. What a file's own error says names the file already.
    pub(crate) fn of_model(path: &Path) -> impl Fn(model::Error) -> Error + use<> {
        let path = path.to_path_buf();
        move |source| match source {
            model::Error::Weights(source) => Error::Formats(source),
            source => Error::Model { path: path.clone(), source: Box::new(source) },
        }
    }
}
