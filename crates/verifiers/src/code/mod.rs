//! Code: a program from the completion, run in the sandbox against tests whose answers it never
//! sees.
//!
//! Each test is a run of its own. What the program printed, or the value that a call returned, is
//! compared here, in the parent, with what is expected: there is no verdict in the child to forge,
//! no test for it to read, and no state that one run leaves to the next.

mod literal;

use crate::sandbox::{End, Entry, Outcome, Sandbox};
use crate::{Score, Task, Verifier, after_thinking};

pub use literal::Literal;

/// What a program must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Given this input, print this output. Space at the ends of lines doesn't count.
    Output { stdin: String, stdout: String },
    /// This call must have this value.
    Value { call: String, expected: Literal },
}

/// An assertion that can't be split into a call and a value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a test must read `assert call(…) == literal`, not `{0}`")]
pub struct NoTest(String);

impl Test {
    /// The test that `assert f(1, [2]) == 3` is. The program gets to see the call only.
    ///
    /// # Errors
    ///
    /// If the left side is not one call, or the right side is not a literal.
    pub fn from_assert(line: &str) -> Result<Test, NoTest> {
        let test = || {
            let body = line.trim().strip_prefix("assert")?;
            let body = body.starts_with([' ', '(']).then(|| body.trim())?;
            let body = if literal::is_bracketed(body) { &body[1..body.len() - 1] } else { body };
            // An == in a string is not the one: what follows it is no literal.
            body.match_indices("==").find_map(|(at, _)| {
                let call = body[..at].trim();
                let expected = Literal::parse(&body[at + 2..])?;
                literal::is_call(call).then(|| Test::Value { call: call.to_string(), expected })
            })
        };
        test().ok_or_else(|| NoTest(line.trim().chars().take(200).collect()))
    }
}

/// Reads `tests`. Right only if all pass.
pub struct Code {
    pub sandbox: Sandbox,
}

impl Verifier for Code {
    fn name(&self) -> &'static str {
        "code"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let Some(source) = program(after_thinking(completion)) else {
            return Score::wrong("no program");
        };
        if task.tests.is_empty() {
            return Score::wrong("the task has no tests");
        }
        for (i, test) in task.tests.iter().enumerate() {
            let entry = match test {
                Test::Output { stdin, .. } => Entry::Main { stdin },
                Test::Value { call, .. } => Entry::Value { expression: call },
            };
            let fault = match self.sandbox.run(source, entry) {
                Ok(outcome) => fault(test, &outcome),
                Err(error) => return Score::wrong(error.to_string()),
            };
            if let Some(fault) = fault {
                return Score::wrong(format!("test {}: {fault}", i + 1));
            }
        }
        Score::right(format!("{} tests passed", task.tests.len()))
    }
}

/// What is wrong with an outcome, if anything.
fn fault(test: &Test, outcome: &Outcome) -> Option<String> {
    match outcome.end {
        End::Exited(0) => {}
        End::TimedOut => return Some("out of time".into()),
        End::OutputTooLong => return Some("too much output".into()),
        End::Exited(status) => {
            let stderr = String::from_utf8_lossy(&outcome.stderr);
            let last = stderr.lines().last().unwrap_or_default();
            let last: String = last.chars().take(200).collect();
            return Some(format!("status {status} {last}").trim_end().to_string());
        }
    }
    let Ok(stdout) = std::str::from_utf8(&outcome.stdout) else {
        return Some("output is not UTF-8".into());
    };
    let is_right = match test {
        Test::Output { stdout: expected, .. } => lines(stdout).eq(lines(expected)),
        Test::Value { expected, .. } => Literal::parse(stdout).is_some_and(|v| v == *expected),
    };
    (!is_right).then(|| "different".to_string())
}

/// Lines without the space at their ends, and without empty ones at the end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_end().lines().map(str::trim_end)
}

/// The last fenced block in Python or in no language, or all of a text without fences.
fn program(text: &str) -> Option<&str> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```") {
        let (language, body) = after.split_once('\n')?;
        let (body, after) = body.split_once("```")?;
        if matches!(language.trim(), "" | "python" | "py" | "python3") {
            blocks.push(body);
        }
        rest = after;
    }
    let program = if text.contains("```") { blocks.pop()? } else { text };
    (!program.trim().is_empty()).then_some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_last_fenced_block() {
        let cases = [
            ("a\n```python\nx = 1\n```\nb", Some("x = 1\n")),
            ("```\nx\n```\n```py\ny\n```", Some("y\n")),
            ("```python\nx\n```\n```text\ny\n```", Some("x\n")),
            ("x = 1", Some("x = 1")),
            ("```text\nx\n```", None),
            ("```python\nx", None),
            ("```", None),
            ("", None),
        ];
        for (text, found) in cases {
            assert_eq!(program(text), found, "{text:?}");
        }
    }

    #[test]
    fn an_assertion_is_split_into_a_call_and_a_value() {
        let right = [
            ("assert f(1) == 2", "f(1)", "2"),
            ("  assert f(1, [2, 3]) == [1, 'a']  ", "f(1, [2, 3])", "[1, 'a']"),
            ("assert (f(1) == 2)", "f(1)", "2"),
            ("assert f('a == b') == 'c == d'", "f('a == b')", "'c == d'"),
            ("assert a.b.f(x=(1, 2)) == (1,)", "a.b.f(x=(1, 2))", "(1,)"),
            ("assert f(\")\") == -1.5", "f(\")\")", "-1.5"),
        ];
        for (line, call, expected) in right {
            let expected = Literal::parse(expected).unwrap();
            assert_eq!(Test::from_assert(line), Ok(Test::Value { call: call.into(), expected }));
        }
    }

    #[test]
    fn an_assertion_of_another_form_is_refused() {
        let wrong = [
            "assert f(1)",
            "assert not f(1) == 2",
            "assert f(1) == g(2)",
            "assert f(1) == 2 or True",
            "assert f(1) + 1 == 2",
            "assert f(1) == 2, 'why'",
            "assert abs(f(1) - 2) < 1e-6",
            "assert f(1) or g(2) == 2",
            "assert 2 == f(1)",
            "assertf(1) == 2",
            "f(1) == 2",
            "",
        ];
        for line in wrong {
            assert!(Test::from_assert(line).is_err(), "{line}");
        }
    }
}
