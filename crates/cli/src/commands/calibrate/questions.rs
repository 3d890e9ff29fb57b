//! Questions with their answers, one a line.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use verifiers::{Task, Verifier};

/// Each is answered twice: more than these take too long, and a fit needs no more.
const QUESTIONS_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A question, and what tells a right answer.
pub(super) struct Question {
    pub(super) text: String,
    task: Task,
    verifier: &'static dyn Verifier,
}

impl Question {
    /// Whether `answer` is right.
    pub(super) fn is_right(&self, answer: &str) -> bool {
        self.verifier.score(&self.task, answer).value >= 1.0
    }
}

#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
    verifier: Option<String>,
}

/// The questions of a file; `verifier` scores those that name none.
pub(super) fn read(path: &Path, verifier: &str) -> anyhow::Result<Vec<Question>> {
    let name = path.display();
    let bytes = fs::metadata(path).with_context(|| format!("{name}: cannot open"))?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{name}: it is larger than {FILE_BYTES_MAX} bytes");
    }
    let text = fs::read_to_string(path).with_context(|| format!("{name}: cannot read"))?;
    let mut questions = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        if questions.len() == QUESTIONS_MAX {
            bail!("{name}: there are more than {QUESTIONS_MAX} questions");
        }
        questions.push(parse(line, verifier).with_context(|| format!("{name}, line {number}"))?);
    }
    if questions.is_empty() {
        bail!("{name}: there is no question");
    }
    Ok(questions)
}

fn parse(line: &str, verifier: &str) -> anyhow::Result<Question> {
    let line: Line = serde_json::from_str(line)?;
    let name = line.verifier.as_deref().unwrap_or(verifier);
    let Some(verifier) = verifiers::from_name(name) else { bail!("no verifier {name:?}") };
    let task = Task { prompt: line.question.clone(), ..Task::with_answer(line.answer) };
    Ok(Question { text: line.question, task, verifier })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_question_with_its_own_verifier_or_the_common_one() {
        let question = parse(r#"{"question": "2+2?", "answer": "4"}"#, "number").unwrap();
        assert!(question.is_right("It is 4.") && !question.is_right("It is 5."));
        let line = r#"{"question": "Capital of France?", "answer": "Paris", "verifier": "exact"}"#;
        assert!(parse(line, "number").unwrap().is_right("Paris"));
        for (line, why) in [
            ("{}", "question"),
            (r#"{"question": "?", "answer": "4", "verifier": "oracle"}"#, "oracle"),
        ] {
            let error = parse(line, "number").err().unwrap();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }
}
