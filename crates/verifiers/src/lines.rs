//! JSON lines: `{"gold": …, "pred": …}` in, `{"score": …, "why": …}` out.

use serde::{Deserialize, Serialize};

use crate::code::{NoTest, Test};
use crate::{Score, Task, Verifier};

/// Longer lines are refused, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A line in. Other keys are let pass: data sets have their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub gold: String,
    pub pred: String,
    /// What was asked, if the verifier should know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    #[serde(flatten)]
    pub details: Details,
}

/// What some verifiers read besides the right answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The numbers of a countdown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i64>,
    /// A JSON schema; the right answer is taken for it if it is an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// What a program must do; the right answer is read for assertions if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestLine>,
}

/// A test of a program, as data sets write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TestLine {
    /// `assert f(1) == 2`
    Assertion(String),
    Output {
        #[serde(alias = "input")]
        stdin: String,
        #[serde(alias = "output")]
        stdout: String,
    },
}

/// A line out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub score: f32,
    #[serde(default)]
    pub why: String,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("not a line like {{\"gold\": \"1\", \"pred\": \"2\"}}: {0}")]
    NoPair(#[source] serde_json::Error),
    #[error("not a line like {{\"score\": 1.0, \"why\": \"equal\"}}: {0}")]
    NoVerdict(#[source] serde_json::Error),
    #[error("a score is in [0, 1], not {0}")]
    OutOfRange(f32),
    #[error(transparent)]
    NoTest(#[from] NoTest),
}

impl TestLine {
    fn test(&self) -> Result<Test, NoTest> {
        match self {
            TestLine::Assertion(line) => Test::from_assert(line),
            TestLine::Output { stdin, stdout } => {
                Ok(Test::Output { stdin: stdin.clone(), stdout: stdout.clone() })
            }
        }
    }
}

impl Details {
    /// The task that has `answer` as its right answer.
    ///
    /// # Errors
    ///
    /// If a test can't be read.
    pub fn task(&self, prompt: &str, answer: &str) -> Result<Task, Error> {
        let mut tests = self.tests.iter().map(TestLine::test).collect::<Result<Vec<_>, _>>()?;
        if tests.is_empty() && answer.trim_start().starts_with("assert") {
            let lines = answer.lines().filter(|line| !line.trim().is_empty());
            tests = lines.map(Test::from_assert).collect::<Result<_, _>>()?;
        }
        let in_answer = || serde_json::from_str(answer).ok().filter(serde_json::Value::is_object);
        Ok(Task {
            answer: answer.into(),
            prompt: prompt.into(),
            numbers: self.numbers.clone(),
            schema: self.schema.clone().or_else(in_answer),
            tests,
        })
    }
}

impl Pair {
    /// # Errors
    ///
    /// If the line is too long or no such object.
    pub fn parse(line: &str) -> Result<Pair, Error> {
        if line.len() > LINE_BYTES_MAX {
            return Err(Error::TooLong);
        }
        serde_json::from_str(line).map_err(Error::NoPair)
    }

    /// # Errors
    ///
    /// If a test can't be read.
    pub fn score(&self, verifier: &dyn Verifier) -> Result<Score, Error> {
        Ok(verifier.score(&self.details.task(&self.prompt, &self.gold)?, &self.pred))
    }
}

impl Verdict {
    /// # Errors
    ///
    /// If the line is too long, no such object, or its score is out of range.
    pub fn parse(line: &str) -> Result<Verdict, Error> {
        if line.len() > LINE_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let verdict: Verdict = serde_json::from_str(line).map_err(Error::NoVerdict)?;
        let is_in_range = (0.0..=1.0).contains(&verdict.score);
        if is_in_range { Ok(verdict) } else { Err(Error::OutOfRange(verdict.score)) }
    }
}

impl From<Score> for Verdict {
    fn from(score: Score) -> Verdict {
        Verdict { score: score.value, why: score.why.into_owned() }
    }
}

/// A pair or a verdict as a line, without its end.
pub fn to_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and finite numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::ExactMatch;

    #[test]
    fn a_line_is_scored_to_a_line() {
        let pair = Pair::parse(r#"{"gold": "a", "pred": "a", "id": 7}"#).unwrap();
        let line = to_line(&Verdict::from(pair.score(&ExactMatch).unwrap()));
        assert_eq!(line, r#"{"score":1.0,"why":"equal"}"#);
        assert_eq!(Verdict::parse(&line).unwrap().score, 1.0);
    }

    #[test]
    fn a_line_brings_what_its_verifier_reads() {
        let line = r#"{"gold": "10", "pred": "3 + 7", "numbers": [3, 7]}"#;
        let score = Pair::parse(line).unwrap().score(&crate::countdown::Countdown).unwrap();
        assert_eq!(score.value, 1.0, "{}", score.why);
        let line = r#"{"gold": "{\"type\": \"array\"}", "pred": "[1]"}"#;
        let score = Pair::parse(line).unwrap().score(&crate::schema::JsonSchema).unwrap();
        assert_eq!(score.value, 1.0, "{}", score.why);

        let tests = r#"["assert f(1) == 2", {"input": "1", "output": "2"}]"#;
        let line = format!(r#"{{"gold": "", "pred": "", "tests": {tests}}}"#);
        let task = Pair::parse(&line).unwrap().details.task("", "").unwrap();
        assert_eq!(task.tests.len(), 2);
        let asserts =
            Details::default().task("", "assert f(1) == 2\n\nassert f(2) == 3\n").unwrap();
        assert_eq!(asserts.tests.len(), 2);
        let fault = Details::default().task("", "assert f(1)").unwrap_err().to_string();
        assert!(fault.contains("`assert f(1)`"), "{fault}");
    }

    #[test]
    fn a_broken_line_says_what_is_expected() {
        for line in ["", "[]", r#"{"gold": "a"}"#, r#"{"gold": 1, "pred": "a"}"#] {
            assert!(Pair::parse(line).unwrap_err().to_string().contains("pred"), "{line}");
        }
        for line in [r#"{"score": 1.5}"#, r#"{"score": -1}"#] {
            assert!(matches!(Verdict::parse(line), Err(Error::OutOfRange(_))), "{line}");
        }
        assert!(matches!(Verdict::parse(r#"{"score": null}"#), Err(Error::NoVerdict(_))));
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert!(matches!(Pair::parse(&long), Err(Error::TooLong)));
    }
}
