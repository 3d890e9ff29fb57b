//! The `ruminate` command.
fn main() {}
