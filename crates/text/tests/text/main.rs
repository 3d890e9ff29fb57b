//! The crate from outside: tokens, templates and thinking against what others compute.

mod conversations;
#[path = "../shared/mod.rs"]
mod shared;
mod templates;
mod thinking;
mod tokenizer;
