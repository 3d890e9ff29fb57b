//! Requests in, events out: continuous batching, sampling, thinking under control.
//!
//! Start at `step/mod.rs`: a step is a sentence. [`Loaded::open`] makes a model from a path,
//! [`Engine::start`] gives it a thread. Not here: HTTP, JSON on the wire, printing.
//!
//! Invariants: a request's tokens depend on its prompt, params and seed alone, not on who else is
//! there; every queue has a bound; a request that fails takes nobody along.

#![forbid(unsafe_code)]

mod answer;
mod auto;
mod chooser;
mod contain;
mod error;
mod expert_loads;
pub mod grammar;
mod handle;
mod loader;
pub mod memory;
mod meter;
mod outlet;
mod plan;
mod request;
pub mod sampler;
mod score;
mod speculate;
mod step;
mod vocabulary;

pub use answer::choice_seed;
pub use auto::{
    Auto, SHORT_TOKENS_MAX, ShortAnswer, TRIAL_EVERY_MIN, TRIAL_TOKENS, TRIALS_MAX, ThinkReport,
    Thresholds, TrialAnswer, Why,
};
pub use error::Error;
pub use handle::{Engine, RequestId};
pub use loader::{CacheSize, Loaded, Options};
pub use meter::{Guesses, Part, STEP_TOKENS, Spent};
pub use model::{ExpertMemory, ExpertStatistics, KvType, Numerics, PAGE};
pub use plan::{Model, Plan, open};
pub use request::{Event, Finish, PromptToken, Refusal, Request, Sink, ThinkStart, Token, Usage};
pub use score::{Scored, score};
pub use speculate::{DRAFTS_MAX, Speculate};
pub use step::{Core, Progress, Statistics};
pub use vocabulary::{Think, Vocabulary, as_hugging_face};
