//! Real tokenizers, read from `models/`, through GGUF keys.
//!
//! `cargo xtask fetch` brings them; a test without its file fails and says so.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod shared;

#[test]
fn qwen3s_keys_give_the_tokens_that_its_json_gives() {
    shared::check("models/qwen3");
}

#[test]
fn deepseek_v3s_keys_give_the_tokens_that_its_json_gives() {
    shared::check("models/deepseek-v3");
}
