//! Questions with their answers, one a line.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use verifiers::lines::{Details, LINE_BYTES_MAX};
use verifiers::{Score, Task, Verifier};

use crate::args::Usage;

/// More than these are answered by nobody in a day.
const QUESTIONS_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A question, and what tells a right answer.
pub(crate) struct Question {
    pub(crate) text: String,
    /// Where it stands in its file, from 1 on.
    pub(crate) line: usize,
    /// How hard it is, in the file's own words.
    pub(crate) difficulty: Option<String>,
    task: Task,
    verifier: &'static dyn Verifier,
}

impl Question {
    /// What `answer` is worth, and why.
    pub(crate) fn score(&self, answer: &str) -> Score {
        self.verifier.score(&self.task, answer)
    }

    /// Whether `answer` is right.
    pub(crate) fn is_right(&self, answer: &str) -> bool {
        is_right(&self.score(answer))
    }

    /// The right answer.
    pub(crate) fn answer(&self) -> &str {
        &self.task.answer
    }

    /// What scores it.
    pub(crate) fn verifier(&self) -> &'static str {
        self.verifier.name()
    }
}

/// Whether an answer of this score is right: half right is wrong.
pub(crate) fn is_right(score: &Score) -> bool {
    score.value >= 1.0
}

#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
    verifier: Option<String>,
    difficulty: Option<Value>,
    #[serde(flatten)]
    details: Details,
}

/// Whether `--verifier` names one that needs nothing from outside.
///
/// # Errors
/// [`Usage`] lists those that there are.
pub(crate) fn check_verifier(name: &str) -> Result<(), Usage> {
    if verifiers::from_name(name).is_some() {
        return Ok(());
    }
    let names: Vec<_> = verifiers::VERIFIERS.iter().map(|verifier| verifier.name()).collect();
    Err(Usage(format!("no verifier {name:?}; there are {}", names.join(", "))))
}

/// The questions of a file; `verifier` scores those that name none.
pub(crate) fn read(path: &Path, verifier: &str) -> anyhow::Result<Vec<Question>> {
    let name = path.display();
    let bytes = fs::metadata(path).with_context(|| format!("{name}: cannot open"))?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{name}: it is larger than {FILE_BYTES_MAX} bytes");
    }
    let text = fs::read(path).with_context(|| format!("{name}: cannot read"))?;
    let mut questions = Vec::new();
    let lines = (1..).zip(text.split(|&byte| byte == b'\n'));
    for (number, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        if questions.len() == QUESTIONS_MAX {
            bail!("{name}: there are more than {QUESTIONS_MAX} questions");
        }
        let question = parse(line, number, verifier);
        questions.push(question.with_context(|| format!("{name}, line {number}"))?);
    }
    if questions.is_empty() {
        bail!("{name}: there is no question");
    }
    Ok(questions)
}

fn parse(line: &[u8], number: usize, verifier: &str) -> anyhow::Result<Question> {
    if line.len() > LINE_BYTES_MAX {
        bail!("it is longer than {LINE_BYTES_MAX} bytes");
    }
    let line = std::str::from_utf8(line).context("it is not UTF-8")?;
    let line: Line = serde_json::from_str(line)
        .context("it is not like {\"question\": \"…\", \"answer\": \"…\"}")?;
    let name = line.verifier.as_deref().unwrap_or(verifier);
    let Some(verifier) = verifiers::from_name(name) else { bail!("no verifier {name:?}") };
    let difficulty = match line.difficulty {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => bail!("its difficulty is neither a number nor a word"),
    };
    let task = line.details.task(&line.question, &line.answer)?;
    Ok(Question { text: line.question, line: number, difficulty, task, verifier })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<Question> {
        parse(line.as_bytes(), 1, "number")
    }

    #[test]
    fn a_line_is_a_question_with_its_own_verifier_or_the_common_one() {
        let question = parsed(r#"{"question": "2+2?", "answer": "4"}"#).unwrap();
        assert!(question.is_right("It is 4.") && !question.is_right("It is 5."));
        assert_eq!((question.verifier(), question.answer()), ("number", "4"));
        let line = r#"{"question": "Capital of France?", "answer": "Paris", "verifier": "exact"}"#;
        assert!(parsed(line).unwrap().is_right("Paris"));
        let line = r#"{"question": "10?", "answer": "10", "verifier": "countdown",
            "numbers": [3, 7]}"#;
        assert!(parsed(line).unwrap().is_right("3 + 7"), "what a verifier reads comes with it");
    }

    #[test]
    fn a_difficulty_is_a_number_or_a_word() {
        for (difficulty, expected) in
            [("3", Some("3")), ("2.5", Some("2.5")), ("\"easy\"", Some("easy")), ("null", None)]
        {
            let line = format!(r#"{{"question": "?", "answer": "4", "difficulty": {difficulty}}}"#);
            assert_eq!(parsed(&line).unwrap().difficulty.as_deref(), expected);
        }
        assert!(parsed(r#"{"question": "?", "answer": "4", "difficulty": [1]}"#).is_err());
    }

    #[test]
    fn a_broken_line_says_what_is_wrong_with_it() {
        let long = format!(r#"{{"question": "{}", "answer": "4"}}"#, "?".repeat(LINE_BYTES_MAX));
        for (line, why) in [
            ("{}", "question"),
            ("what?", "it is not like"),
            (r#"{"question": "?"}"#, "answer"),
            (r#"{"question": "?", "answer": "4", "verifier": "oracle"}"#, "oracle"),
            (long.as_str(), "longer than 1048576 bytes"),
        ] {
            let error = parsed(line).err().unwrap();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        assert!(parse(b"\"\xff\"", 1, "number").is_err());
    }
}
