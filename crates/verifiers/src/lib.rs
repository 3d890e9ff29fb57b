//! ruminate-verifiers: a completion to a score.
//!
//! A [`Verifier`] looks at a [`Task`] and at what the model wrote, and gives a [`Score`] between 0
//! and 1 with the reason. Those in [`VERIFIERS`] are pure, total and bounded: any text gives a
//! score, never a panic, the same on every machine, and what could take long is charged against
//! [`Fuel`] instead of a clock. A wrong answer accepted is worse than a right one refused, so
//! whatever can't be decided scores 0.
//!
//! Three verifiers need something from outside and are built by the caller: [`code::Code`] takes a
//! [`sandbox::Sandbox`], [`command::Command`] a program of the user's own, [`judge::Judge`] a
//! closure that asks a model.
//!
//! What it's *not*: it reads no data set, prints nothing and speaks no HTTP.
//!
//! Start at [`exact`], the smallest. `math` is the largest: [`math::Math`] says how it decides.

#![forbid(unsafe_code)]

pub mod choice;
pub mod code;
pub mod command;
pub mod countdown;
pub mod exact;
mod extract;
pub mod format;
mod fuel;
pub mod judge;
pub mod lines;
pub mod math;
pub mod number;
pub mod sandbox;
pub mod schema;

use std::borrow::Cow;

pub use fuel::{Fuel, Spent};

/// What was asked, as far as a verifier needs to know. Each verifier names the fields it reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// The right answer, as the data set writes it.
    pub answer: String,
    /// What the model was asked, for a judge.
    pub prompt: String,
    /// The numbers that a countdown may use, each at most once.
    pub numbers: Vec<i64>,
    /// What the answer must satisfy, for [`schema::JsonSchema`].
    pub schema: Option<serde_json::Value>,
    /// What the program must do, for [`code::Code`].
    pub tests: Vec<code::Test>,
}

impl Task {
    /// A task with a right answer and nothing else.
    pub fn with_answer(answer: impl Into<String>) -> Task {
        Task { answer: answer.into(), ..Task::default() }
    }
}

/// What a completion is worth, in [0, 1], and why in a few words.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub value: f32,
    pub why: Cow<'static, str>,
}

impl Score {
    pub fn right(why: impl Into<Cow<'static, str>>) -> Score {
        Score { value: 1.0, why: why.into() }
    }

    pub fn wrong(why: impl Into<Cow<'static, str>>) -> Score {
        Score { value: 0.0, why: why.into() }
    }

    pub fn from_bool(is_right: bool) -> Score {
        if is_right { Score::right("equal") } else { Score::wrong("different") }
    }
}

/// A way to score what a model wrote.
pub trait Verifier: Send + Sync {
    /// Its name on the command line and in logs.
    fn name(&self) -> &'static str;

    /// Scores `completion`, of which only what follows the last `</think>` counts.
    fn score(&self, task: &Task, completion: &str) -> Score;
}

/// Every verifier that needs nothing from outside.
pub const VERIFIERS: &[&dyn Verifier] = &[
    &choice::Choice,
    &countdown::Countdown,
    &exact::ExactMatch,
    &format::ThinkTags,
    &math::Math::DEFAULT,
    &number::Number::EXACT,
    &schema::JsonSchema,
];

/// The verifier of that name in [`VERIFIERS`].
pub fn from_name(name: &str) -> Option<&'static dyn Verifier> {
    VERIFIERS.iter().copied().find(|verifier| verifier.name() == name)
}

/// What a completion says once the model has finished thinking.
pub fn after_thinking(completion: &str) -> &str {
    completion.rfind(format::CLOSE).map_or(completion, |at| &completion[at + format::CLOSE.len()..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(answer: &str) -> Task {
        Task {
            numbers: vec![3, 7, 25],
            schema: Some(serde_json::json!({"type": "object", "required": ["a"]})),
            ..Task::with_answer(answer)
        }
    }

    #[test]
    fn every_verifier_is_found_by_its_own_name() {
        for verifier in VERIFIERS {
            assert_eq!(from_name(verifier.name()).unwrap().name(), verifier.name());
        }
        assert!(from_name("exact").is_some() && from_name("oracle").is_none());
    }

    #[test]
    fn only_what_follows_the_last_thought_counts() {
        let cases = [("a", "a"), ("<think>a</think>b", "b"), ("a</think>b</think>", "")];
        for (completion, said) in cases {
            assert_eq!(after_thinking(completion), said);
        }
        let task = task("7");
        for name in ["exact", "number", "math"] {
            let verifier = from_name(name).unwrap();
            assert_eq!(verifier.score(&task, "<think>8</think>7").value, 1.0, "{name}");
            assert_eq!(verifier.score(&task, "<think>7</think>8").value, 0.0, "{name}");
        }
    }

    /// What texts are put together from.
    const PARTS: &[&str] = &[
        "\\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\boxed{",
        "$",
        "1",
        "2.5",
        "10",
        "999999999",
        "x",
        "y",
        "^",
        "_",
        "+",
        "-",
        "/",
        "\\sqrt",
        "\\pi",
        ",",
        "=",
        "<",
        "\\le",
        "\\cup",
        "\\infty",
        "\\pm",
        "!",
        "|",
        "\\sin",
        "\\log",
        "i",
        "e",
        "%",
        "^\\circ",
        "\\text{cm}",
        "\\begin{pmatrix}",
        "&",
        "\\\\",
        "\\end{pmatrix}",
        "\\{",
        "\\}",
        "\\left",
        "\\right",
        "\\overline",
        " ",
        "answer is",
        "</think>",
        "<think>",
        "\"",
        ":",
        "```",
        "\n",
        "\u{221e}",
        "\\cdot",
        "\\binom",
        "\\lfloor",
        "\\rfloor",
        "\\in",
        "\\tan",
        "\\arcsin",
        "0",
        "**",
    ];

    /// Text in the dialects that the parsers know, so that they get beyond its first letter.
    fn any_text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            8 => prop::sample::select(PARTS).prop_map(str::to_string),
            1 => any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 3000,
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn any_text_gives_the_same_score_twice(answer in any_text(), completion in any_text()) {
            let task = task(&answer);
            for verifier in VERIFIERS {
                let score = verifier.score(&task, &completion);
                prop_assert!((0.0..=1.0).contains(&score.value));
                prop_assert_eq!(&score, &verifier.score(&task, &completion));
            }
        }
    }
}
