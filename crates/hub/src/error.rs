//! Everything that can go wrong between a name and a model on disk.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "{text:?} is not the name of a model: {reason}. \
         Write org/repo or org/repo:Q4_K_M, with @revision if you like"
    )]
    Name { text: String, reason: &'static str },
    #[error("{}: there is no such file or folder", path.display())]
    NoSuchPath { path: PathBuf },
    #[error("{key} {reason}")]
    Setting { key: &'static str, reason: &'static str },

    #[error(
        "{repo}: {endpoint} has no such model (or it is private, and HF_TOKEN may not read it)"
    )]
    NoSuchModel { repo: String, endpoint: String },
    #[error("{repo}: it has no revision {revision:?}")]
    NoSuchRevision { repo: String, revision: String },
    #[error(
        "{repo}: it needs a token, or the token is wrong. Set HF_TOKEN to one that may read it"
    )]
    Unauthorized { repo: String },
    #[error("{repo}: its owner asks for consent. Give it at {endpoint}/{repo}, then set HF_TOKEN")]
    Gated { repo: String, endpoint: String },
    #[error("{repo}: the server refuses (HTTP {status}) {what}")]
    Refused { repo: String, what: String, status: u16 },
    #[error("{repo}: no connection for {what}: {cause}. Check the network, or HF_ENDPOINT")]
    Unreachable { repo: String, what: String, cause: String },
    #[error(
        "{repo}: no complete copy in {}, and HF_HUB_OFFLINE forbids to download it. \
         Unset it and try again", cache.display()
    )]
    Offline { repo: String, cache: PathBuf },

    #[error("{repo}: the server's answer to {what} makes no sense: {reason}")]
    Answer { repo: String, what: String, reason: String },
    #[error("{repo}: the server names a file {file:?}, which is not a plain relative path")]
    HostileFile { repo: String, file: String },
    #[error("{name}: {reason}")]
    Choice { name: String, reason: String },

    #[error("{file}: {found} bytes came, {expected} were promised. Try again to go on from there")]
    Truncated { file: String, found: u64, expected: u64 },
    #[error("{file}: its hash is {found}, the hub says {expected}. Nothing of it was kept")]
    Hash { file: String, found: String, expected: String },
    #[error("{}: damaged ({reason}). Delete it and pull the model again", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{}: the disk is full: {needed} bytes are needed, {free} are free", path.display())]
    DiskFull { path: PathBuf, needed: u64, free: u64 },
    #[error("can't {doing} {}: {cause}", path.display())]
    Io { doing: &'static str, path: PathBuf, cause: io::Error },
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether a copy in the cache is a fair answer to it: the hub couldn't be asked.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// Names the path in an I/O error.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { doing, path: path.to_owned(), cause }
    }
}
