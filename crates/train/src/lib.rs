//! ruminate-train: supervised training and reinforcement learning on the engine that serves.
//!
//! ```text
//! rollout → verify → advantage → pack → forward → loss → backward → optimizer → publish
//! ```
//!
//! Start at [`rl::Rl::step`], where that is a sentence. The rollout is written by the engine that
//! serves, and training runs the same decoder on the same weights: on the first update the
//! log-probabilities of both are equal, bit for bit, and every step says so.
//!
//! What it's *not*: it knows no flags and no terminal, and computes no gradient of a layer; those
//! are `cli`'s and `model`'s.
//!
//! Invariants: what is trained depends on the config and the data alone, not on threads, on how
//! sequences are packed, or on interruptions; a checkpoint is whole or not there.

#![forbid(unsafe_code)]

pub mod advantage;
pub mod batch;
pub mod checkpoint;
pub mod config;
mod course;
pub mod data;
mod error;
pub mod experts;
mod gguf;
pub mod groups;
pub mod judge;
pub mod log;
pub mod loss;
pub mod need;
pub mod optimizer;
pub mod output;
pub mod pack;
pub mod picker;
pub mod prompts;
pub mod report;
pub mod reward;
pub mod rl;
pub mod rollout;
mod roof;
pub mod scorer;
pub mod screen;
pub mod sft;
pub mod start;
pub mod trainee;
pub mod watch;

pub use error::Error;
pub use watch::Watch;
