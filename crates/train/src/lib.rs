//! ruminate-train: supervised training and reinforcement learning on the engine that serves.
//!
//! What it's *not*: it knows no flags and no terminal, and computes no gradient of a layer; those
//! are `cli`'s and `model`'s.

#![forbid(unsafe_code)]

pub mod advantage;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod judge;
pub mod loss;
pub mod optimizer;
pub mod picker;
pub mod reward;
pub mod scorer;
