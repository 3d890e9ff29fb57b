//! What a model will do on given machines, and what it will earn there: before anyone buys them.
//!
//! Not here: clocks, threads, files, flags, kernels, JSON. Hardware, traffic and loads come in as
//! plain data, and plain data goes out. Formulas of work are `spec::cost`'s; here they meet the
//! roofs of a machine:
//!
//! ```text
//! Model ──┐                       ┌─► decode, prefill, knee, fit      roofline
//! Hardware┼─► Deployment ─► step ─┼─► costs a million tokens          margin
//! Layout ─┘                       └─► queueing, percentiles, nodes    simulate
//! ```
//!
//! Start at [`Deployment`]. Invariants: every figure is a pure function of its arguments; the
//! simulator has no scheduler of its own, it runs `schedule` as it is.

#![forbid(unsafe_code)]

mod answer;
pub mod balance;
mod compare;
pub mod day6;
pub mod eplb;
mod error;
mod figure;
mod fleet;
mod hardware;
mod layout;
mod margin;
mod model;
mod random;
mod roofline;
mod simulate;
mod workload;

pub use answer::{Answer, Choice, Question, answer};
pub use compare::{Comparison, Crossing, Point, compare};
pub use error::Error;
pub use figure::{Figure, Input};
pub use fleet::{Demand, Fleet, Pool, apart, together};
pub use hardware::{BUILT_IN, Hardware, Link, Overhead, Precision, Reached, built_in};
pub use layout::Layout;
pub use margin::{Costs, Prices, Tokens, margin};
pub use model::{Model, QUANTS, Quant, quant};
pub use roofline::{Decode, Deployment, Fit, Peaks, Phase, Prefill, Roof, StepTime};
pub use simulate::{
    Percentiles, Simulated, Simulation, TOKENS_MAX, nodes_over_the_day, simulate, sustained_rate,
};
pub use workload::{Length, Prefixes, REQUESTS_MAX, Request, Thinking, Workload};
