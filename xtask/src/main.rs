//! The build system of ruminate: house rules, fixtures and model downloads.
fn main() {}
