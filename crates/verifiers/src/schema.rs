//! JSON schema: what was said is one JSON value that satisfies the task's schema.

use serde_json::Value;

use crate::{Score, Task, Verifier, after_thinking};

/// Longer answers are not read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Reads `schema`, in any draft. References are resolved within the schema only, and patterns are
/// matched in linear time, so that no text takes long.
pub struct JsonSchema;

impl Verifier for JsonSchema {
    fn name(&self) -> &'static str {
        "schema"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let Some(schema) = &task.schema else {
            return Score::wrong("the task has no schema");
        };
        let patterns = jsonschema::PatternOptions::regex();
        let validator = match jsonschema::options().with_pattern_options(patterns).build(schema) {
            Ok(validator) => validator,
            Err(_) => return Score::wrong("the schema is not valid"),
        };
        let text = unfenced(after_thinking(completion));
        if text.len() > ANSWER_BYTES_MAX {
            return Score::wrong("too long");
        }
        match serde_json::from_str::<Value>(text) {
            Err(_) => Score::wrong("not JSON"),
            Ok(value) if validator.is_valid(&value) => Score::right("valid"),
            Ok(_) => Score::wrong("not as the schema says"),
        }
    }
}

/// The inside of the one code fence that is all of the text, or the text.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = || {
        let rest = text.strip_prefix("```")?.strip_suffix("```")?;
        let (language, body) = rest.split_once('\n')?;
        let is_one = matches!(language.trim(), "" | "json") && !body.contains("```");
        is_one.then_some(body)
    };
    inside().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn score(schema: Value, completion: &str) -> Score {
        JsonSchema.score(&Task { schema: Some(schema), ..Task::default() }, completion)
    }

    #[test]
    fn an_answer_is_json_that_satisfies_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 1}, "s": {"pattern": "^a+$"}},
            "required": ["n"],
            "additionalProperties": false,
        });
        let cases = [
            (r#"{"n": 3}"#, "valid"),
            ("<think>{}</think>\n```json\n{\"n\": 3, \"s\": \"aa\"}\n```\n", "valid"),
            ("```\n{\"n\": 3}\n```", "valid"),
            (r#"{"n": 0}"#, "not as the schema says"),
            (r#"{"n": "3"}"#, "not as the schema says"),
            (r#"{"n": 3, "s": "ab"}"#, "not as the schema says"),
            (r#"{"n": 3, "x": 1}"#, "not as the schema says"),
            ("{}", "not as the schema says"),
            (r#"{"n": 3} {"n": 3}"#, "not JSON"),
            (r#"Here: {"n": 3}"#, "not JSON"),
            (r#"{"n": 3"#, "not JSON"),
            ("", "not JSON"),
        ];
        for (completion, why) in cases {
            let score = score(schema.clone(), completion);
            assert_eq!(score.why, why, "{completion}");
            assert_eq!(score.value == 1.0, why == "valid");
        }
    }

    #[test]
    fn a_schema_that_points_elsewhere_or_is_none_scores_nothing() {
        let elsewhere = json!({"$ref": "https://example.com/schema.json"});
        assert_eq!(score(elsewhere, "1").why, "the schema is not valid");
        assert_eq!(
            score(json!({"$ref": "file:///etc/passwd"}), "1").why,
            "the schema is not valid"
        );
        assert_eq!(score(json!({"type": 5}), "1").why, "the schema is not valid");
        assert_eq!(JsonSchema.score(&Task::default(), "1").why, "the task has no schema");
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        let deep = "[".repeat(100_000);
        assert_eq!(score(json!({}), &deep).why, "not JSON");
    }

    #[test]
    fn a_pattern_that_would_backtrack_takes_linear_time() {
        let schema = json!({"pattern": "^(a+)+$"});
        let hostile = format!("\"{}b\"", "a".repeat(50_000));
        assert_eq!(score(schema, &hostile).why, "not as the schema says");
    }
}
