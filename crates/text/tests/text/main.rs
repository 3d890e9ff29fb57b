//! The crate from outside: tokens, templates and thinking against what others compute.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod conversations;
#[path = "../shared/mod.rs"]
mod shared;
mod templates;
mod thinking;
mod tokenizer;
mod tools;
