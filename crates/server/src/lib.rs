//! The engine over HTTP: OpenAI's API and those beside it, under limits and in the open.
//!
//! Beside it, `training` is the page of a training run, which needs no engine.
//! Not here: flags, loading, printing. A dialect is a folder of `types`, `lower` (its words to an
//! [`ask::Ask`]) and `lift` ([`part::Part`]s to its words); all that is between is shared and knows
//! no dialect. Start at `routes.rs`, then `openai/mod.rs`, then `answering/mod.rs`.
//!
//! ```text
//! body ─ incoming ─ lower ─► Ask ─ answering::begin ─► engine
//!                                                        │ events
//! bytes ◄─ telling / whole ◄─ lift ◄─ Part ◄─ answering::next
//! ```
//!
//! Invariants: every path needs a key but the public ones; everything that a client sends or waits
//! for has a bound in [`Limits`]; an answer nobody reads any more ends within a step; a stream ends
//! with its dialect's end or with an error, never just so; the reactor's threads wait for no
//! template, tokenizer or step.

#![forbid(unsafe_code)]

mod admission;
mod answering;
mod anthropic;
pub mod ask;
mod auth;
mod dialect;
mod drain;
mod error;
mod figures;
mod incoming;
mod limits;
mod listen;
mod live;
mod metrics;
mod ollama;
mod openai;
mod openapi;
mod page;
pub mod part;
mod requests;
mod responses;
mod routes;
mod start;
mod state;
mod status;
mod supervisor;
mod telling;
#[cfg(test)]
mod testing;
mod tokens;
mod traces;
mod training;
mod turns;

pub use anthropic::{Settings as MessagesSettings, SignatureKey};
pub use auth::{Keys, Origins};
pub use error::Error;
pub use figures::{Bill, Money};
pub use limits::Limits;
pub use listen::listen;
pub use start::{Error as StartError, Handle, Options, Service};
pub use state::{Defaults, ReasoningField};
pub use supervisor::Supervisor;
pub use traces::{Error as TraceError, Traces};
pub use training::RunPage;
