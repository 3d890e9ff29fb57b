//! JSON lines: `{"gold": …, "pred": …}` in, `{"score": …, "why": …}` out.

use serde::{Deserialize, Serialize};

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

    pub fn score(&self, verifier: &dyn Verifier) -> Score {
        let task = Task { prompt: self.prompt.clone(), ..Task::with_answer(&self.gold) };
        verifier.score(&task, &self.pred)
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
        let line = to_line(&Verdict::from(pair.score(&ExactMatch)));
        assert_eq!(line, r#"{"score":1.0,"why":"equal"}"#);
        assert_eq!(Verdict::parse(&line).unwrap().score, 1.0);
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
