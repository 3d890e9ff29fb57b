//! ruminate-train: supervised training and reinforcement learning on the engine that serves.
//!
//! What it's *not*: it knows no flags and no terminal, and computes no gradient of a layer; those
//! are `cli`'s and `model`'s.

#![forbid(unsafe_code)]

pub mod advantage;
pub mod checkpoint;
pub mod config;
pub mod data;
mod gguf;
pub mod judge;
pub mod log;
pub mod loss;
pub mod optimizer;
pub mod output;
pub mod pack;
pub mod picker;
pub mod prompts;
pub mod report;
pub mod reward;
pub mod rollout;
pub mod scorer;
pub mod start;
