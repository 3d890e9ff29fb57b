//! Models from the Hugging Face hub, by name, into the cache that Python's `huggingface_hub` uses.
//!
//! It fetches only what a model needs (weights, configuration, tokenizer, template) and never code
//! or pickles. It prints nothing and knows no flag: progress is a callback, settings are `Options`.
//! It does not read model files: `formats` does.
//!
//! Start at `pull.rs`: the listing, the choice of files, the transfers, the ref.
//!
//! Invariants:
//! - A blob is in the cache under its name only after its size and its hash were right, and it was
//!   on disk before it got the name.
//! - A ref points to a commit only after every file chosen from it is there: an interrupted pull
//!   leaves the older model usable.
//! - The token is sent to the endpoint's own scheme, host and port, and nowhere else.
//! - Every name that a server sends is checked before it becomes a path.
#![forbid(unsafe_code)]

mod cache;
mod digest;
mod error;
mod http;
mod name;
mod options;
mod partial;
mod progress;
mod pull;
mod remote;
mod select;
mod snapshot;
mod transfer;

pub use error::Error;
pub use name::{Name, Source};
pub use options::{Options, Token};
pub use progress::{Progress, Wait};
pub use pull::Hub;
pub use snapshot::Snapshot;
