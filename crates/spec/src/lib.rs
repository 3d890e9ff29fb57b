//! What a model is, as data: its shape, its parts, what its weights are called, what it costs.
//!
//! Start at [`ModelSpec`], then [`family`]. Not here: weights, files, kernels, threads.
//! Invariant: everything is a pure function of a [`Config`]; a missing or impossible key is an
//! [`Error`] that names it.

#![forbid(unsafe_code)]

mod attention;
pub mod builtin;
mod config;
mod cost;
mod error;
pub mod family;
mod ffn;
mod model;
mod slot;
mod traffic;

pub use attention::{AttentionSpec, GqaSpec, MlaSpec, Pairing, RopeScaling, RopeSpec};
pub use config::{Config, Dialect, Value};
pub use cost::{Cost, Parameters, Parts, Rates, RowShape, Work};
pub use error::Error;
pub use family::{FAMILIES, Family};
pub use ffn::{FfnSpec, GroupScore, Groups, MoeSpec, RouterSpec, Scoring};
pub use model::{LayerSpec, ModelSpec, NextTokenSpec};
pub use slot::{Place, Reading, Slot, SlotName};
pub use traffic::{ExpertBytes, Traffic};
