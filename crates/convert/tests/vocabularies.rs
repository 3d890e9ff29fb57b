//! The fixtures' tokenizers through GGUF keys.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod shared;

#[test]
fn keys_give_the_tokens_that_the_json_gives() {
    for family in ["llama", "deepseek_v3"] {
        shared::check(&format!("fixtures/golden/{family}"));
    }
}
