//! What ends a run before its end.

use std::path::PathBuf;

use crate::{checkpoint, config, data, need, optimizer, output, rollout, scorer, start};

/// One line for whoever started it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Start(#[from] start::Error),
    #[error(transparent)]
    Data(#[from] data::Error),
    #[error(transparent)]
    Scorer(#[from] scorer::Error),
    #[error(transparent)]
    Memory(#[from] need::Shortage),
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Rollout(#[from] rollout::Error),
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error(transparent)]
    Gradient(#[from] optimizer::NotFinite),
    #[error("{path}: {source}")]
    Model { path: PathBuf, source: Box<model::Error> },
    #[error("the model failed in training: {source}")]
    Forward { source: Box<model::Error> },
    #[error("{path}: adapters can't be merged into weights in FP8: start from another copy of it")]
    Adapters { path: PathBuf },
    #[error("train.tokens_max is {asked}, and the model was made for at most {max}")]
    Context { asked: usize, max: usize },
    #[error(
        "train.tokens_max is {tokens_max}, which leaves no room for a prompt beside an answer of \
         rollout.tokens_max = {answer}"
    )]
    NoRoom { tokens_max: usize, answer: usize },
    #[error("no row fits into train.tokens_max = {tokens_max}: {n} are longer")]
    NothingFits { tokens_max: usize, n: usize },
    #[error(
        "row {row}: the verifier {verifier} scores a known-good answer {score} ({why}): \
         {answer:?}. Training would reward nothing; see reward.known_good and data.answer"
    )]
    KnownGood { row: usize, verifier: &'static str, score: f32, why: String, answer: String },
    #[error("step {step}: {what} is not finite; the checkpoint of step {kept} stays the last")]
    NotFinite { step: u64, what: String, kept: u64 },
    #[error("the checkpoint says nothing that can be gone on from: {0}")]
    State(#[from] serde_json::Error),
}
