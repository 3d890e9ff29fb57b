//! The server over real sockets, with a tiny model of random weights behind it.

#![expect(clippy::unwrap_used, reason = "a test stops where its server does")]

mod answers;
mod clients;
mod crowds;
mod faults;
mod figures;
mod keys;
mod messages;
mod ollama;
mod page;
mod panics;
mod recorded;
mod responses;
mod server;
mod traces;
