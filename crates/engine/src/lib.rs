//! ruminate-engine.

pub mod sampler;
