//! Rows in the conventions of TRL and verl.
//!
//! ```text
//! question   prompt, messages, question, problem, query, instruction    text, or turns
//! to learn   completion, response, answer, output, or the last turn     text, or turns
//! right      reward_model.ground_truth, ground_truth, answer, solution, target, gold
//! ```
//!
//! TRL has `prompt` with `completion` or other columns, and `messages`; verl has `prompt` as turns
//! with `reward_model` and `extra_info`. A dot in a column's name goes into a section.

use serde_json::Value;
use text::{Conversation, Message, Role};
use verifiers::Task;
use verifiers::lines::{Details, TestLine};

use super::Row;
use crate::config::DataSection;

const QUESTIONS: &[&str] = &["prompt", "messages", "question", "problem", "query", "instruction"];
const COMPLETIONS: &[&str] = &["completion", "response", "answer", "output", "solution"];
const RIGHT: &[&str] = &[
    "reward_model.ground_truth",
    "ground_truth",
    "answer",
    "solution",
    "target",
    "gold",
    "final_answer",
];
const DIFFICULTIES: &[&str] = &["difficulty", "level", "extra_info.difficulty", "extra_info.level"];
/// Of a row's columns, those that an error lists.
const LISTED_MAX: usize = 12;

/// Which columns mean what.
#[derive(Clone, Debug)]
pub struct Columns {
    question: Option<String>,
    answer: Option<String>,
    difficulty: Option<String>,
    verifier: Option<String>,
    system: Option<String>,
    suffix: String,
}

/// A question whose answer can be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub conversation: Conversation,
    pub task: Task,
    pub difficulty: Option<i64>,
    /// The verifier that this row names, if rows do.
    pub verifier: Option<&'static str>,
}

/// A question with the answer to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub conversation: Conversation,
    pub completion: String,
}

impl Columns {
    pub fn of(section: &DataSection) -> Columns {
        Columns {
            question: section.prompt.clone(),
            answer: section.answer.clone(),
            difficulty: section.difficulty.clone(),
            verifier: section.verifier.clone(),
            system: section.system.clone(),
            suffix: section.suffix.clone(),
        }
    }

    /// # Errors
    ///
    /// What is missing or misshapen.
    pub fn problem(&self, row: &Row) -> Result<Problem, String> {
        let mut turns = self.turns(row)?;
        // A conversation that ends with its answer asks for it.
        let answered = turns.last().is_some_and(|turn| turn.role == Role::Assistant);
        let written = if answered { turns.pop().map(|turn| turn.content) } else { None };
        let right =
            match self.find(row, self.answer.as_deref(), RIGHT) {
                Some(value) => value.clone(),
                None => Value::from(written.ok_or_else(|| {
                    missing(row, "the right answer", self.answer.as_deref(), RIGHT)
                })?),
            };
        let question = turns.last().map_or("", |turn| &turn.content).to_string();
        let (answer, details) = right_answer(row, &right)?;
        let task = details.task(&question, &answer).map_err(|error| error.to_string())?;
        let difficulty = self.find(row, self.difficulty.as_deref(), DIFFICULTIES);
        if let (None, Some(name)) = (difficulty, &self.difficulty) {
            return Err(missing(row, "the difficulty", Some(name), &[]));
        }
        Ok(Problem {
            conversation: self.conversation(turns)?,
            task,
            difficulty: difficulty.and_then(number),
            verifier: self.verifier.as_deref().map(|name| verifier(row, name)).transpose()?,
        })
    }

    /// # Errors
    ///
    /// What is missing or misshapen.
    pub fn example(&self, row: &Row) -> Result<Example, String> {
        let mut turns = self.turns(row)?;
        if let Some(value) = self.find(row, self.answer.as_deref(), COMPLETIONS) {
            match value {
                Value::String(text) => {
                    turns.push(Message::new(Role::Assistant, text.clone()));
                }
                _ => turns.extend(messages(value)?),
            }
        } else if turns.last().is_none_or(|turn| turn.role != Role::Assistant) {
            let what = "the answer to learn";
            return Err(missing(row, what, self.answer.as_deref(), COMPLETIONS));
        }
        let last = turns.pop().filter(|turn| turn.role == Role::Assistant);
        let last = last.ok_or("the last turn is not the assistant's")?;
        let completion = match &last.reasoning {
            Some(thought) if !thought.is_empty() => {
                format!("<think>\n{}\n</think>\n\n{}", thought.trim(), last.content)
            }
            _ => last.content,
        };
        Ok(Example { conversation: self.conversation(turns)?, completion })
    }

    /// The turns that ask.
    fn turns(&self, row: &Row) -> Result<Vec<Message>, String> {
        let value = self.find(row, self.question.as_deref(), QUESTIONS);
        let value = value
            .ok_or_else(|| missing(row, "the question", self.question.as_deref(), QUESTIONS))?;
        match value {
            Value::String(text) => Ok(vec![Message::new(Role::User, text.clone())]),
            _ => messages(value),
        }
    }

    fn conversation(&self, mut turns: Vec<Message>) -> Result<Conversation, String> {
        let Some(last) = turns.last_mut() else {
            return Err("the question has no turn".into());
        };
        last.content += &self.suffix;
        if let Some(system) = &self.system {
            turns.retain(|turn| turn.role != Role::System);
            turns.insert(0, Message::new(Role::System, system.clone()));
        }
        Ok(Conversation { messages: turns, tools: Vec::new() })
    }

    /// The value of the named column, or of the first usual one that is there.
    fn find<'r>(&self, row: &'r Row, named: Option<&str>, usual: &[&str]) -> Option<&'r Value> {
        match named {
            Some(name) => at(row, name),
            None => usual.iter().find_map(|name| at(row, name)),
        }
    }
}

/// The verifier that a row names.
fn verifier(row: &Row, column: &str) -> Result<&'static str, String> {
    let name = at(row, column).and_then(Value::as_str);
    let name = name.ok_or_else(|| missing(row, "the verifier", Some(column), &[]))?;
    let found = verifiers::from_name(name).ok_or_else(|| {
        let known: Vec<_> = verifiers::VERIFIERS.iter().map(|one| one.name()).collect();
        format!("no verifier of rows is called {name} (known: {})", known.join(", "))
    })?;
    Ok(found.name())
}

/// What is at a column or, by dots, within one; null is nothing.
fn at<'r>(row: &'r Row, name: &str) -> Option<&'r Value> {
    let mut names = name.split('.');
    let first = row.get(name).or_else(|| row.get(names.next()?));
    let found = match row.contains_key(name) {
        true => first,
        false => names.try_fold(first?, |value, name| value.get(name)),
    };
    found.filter(|value| !value.is_null())
}

fn missing(row: &Row, what: &str, named: Option<&str>, usual: &[&str]) -> String {
    let wanted = named.map_or_else(|| usual.join(", "), str::to_string);
    let mut there: Vec<&str> = row.keys().map(String::as_str).take(LISTED_MAX).collect();
    if row.len() > LISTED_MAX {
        there.push("…");
    }
    format!("no column for {what} ({wanted}); its columns are {}", there.join(", "))
}

/// Turns as a list of `{"role", "content"}`.
fn messages(value: &Value) -> Result<Vec<Message>, String> {
    // Parquet files of some writers have turns as text.
    let parsed;
    let value = match value {
        Value::String(text) => {
            parsed = serde_json::from_str(text).map_err(|error| format!("turns: {error}"))?;
            &parsed
        }
        value => value,
    };
    let turns = value.as_array().ok_or("turns are not a list")?;
    turns.iter().map(message).collect()
}

fn message(turn: &Value) -> Result<Message, String> {
    let text = |key: &str| turn.get(key).and_then(Value::as_str);
    let role = match text("role").ok_or("a turn has no role")? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        role => return Err(format!("a turn's role is {role:?}")),
    };
    let content = text("content").ok_or("a turn has no content")?;
    let thought = text("reasoning_content").or(text("reasoning")).or(text("thinking"));
    Ok(Message { reasoning: thought.map(str::to_string), ..Message::new(role, content) })
}

/// The right answer as text, and what else its verifier may read.
fn right_answer(row: &Row, right: &Value) -> Result<(String, Details), String> {
    let mut details = Details::default();
    let mut take = |value: &Value| -> Result<(), String> {
        if let Some(numbers) = value.get("numbers").or_else(|| value.get("nums")) {
            details.numbers = list(numbers, "numbers")?;
        }
        if let Some(tests) = value.get("tests").or_else(|| value.get("test_list")) {
            details.tests = list(tests, "tests")?;
        }
        if let (Some(inputs), Some(outputs)) = (value.get("inputs"), value.get("outputs")) {
            let inputs: Vec<String> = list(inputs, "inputs")?;
            let outputs: Vec<String> = list(outputs, "outputs")?;
            if inputs.len() != outputs.len() {
                return Err("as many inputs as outputs are needed".into());
            }
            let test = |(stdin, stdout)| TestLine::Output { stdin, stdout };
            details.tests = inputs.into_iter().zip(outputs).map(test).collect();
        }
        details.schema = value.get("schema").cloned().or_else(|| details.schema.take());
        Ok(())
    };
    take(&Value::Object(row.clone()))?;
    let inner;
    let right = match right {
        Value::String(text) if text.trim_start().starts_with('{') => {
            inner = serde_json::from_str::<Value>(text).unwrap_or_else(|_| right.clone());
            &inner
        }
        right => right,
    };
    if right.is_object() {
        take(right)?;
    }
    let within = ["target", "answer", "value"].iter().find_map(|key| right.get(key));
    let answer = match within.unwrap_or(right) {
        Value::String(text) => last_of_gsm8k(text).to_string(),
        Value::Array(values) if values.len() == 1 && values[0].is_string() => {
            values[0].as_str().unwrap_or_default().to_string()
        }
        value => value.to_string(),
    };
    Ok((answer, details))
}

fn list<T: serde::de::DeserializeOwned>(value: &Value, name: &str) -> Result<Vec<T>, String> {
    let list = serde_json::from_value(value.clone());
    list.map_err(|error| format!("{name}: {error}"))
}

/// GSM8K writes its answers after four hashes, below the working.
fn last_of_gsm8k(text: &str) -> &str {
    text.rsplit_once("\n#### ").map_or(text, |(_, answer)| answer.trim())
}

/// A whole number, or the first one in a text such as `Level 3`.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits[..end].parse().ok()
        }
        value => value.as_i64().or_else(|| value.as_f64().map(|x| x as i64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn columns() -> Columns {
        Columns {
            question: None,
            answer: None,
            difficulty: None,
            verifier: None,
            system: None,
            suffix: String::new(),
        }
    }

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn problems_are_read_as_trl_and_verl_write_them() {
        let verl = json!({
            "data_source": "gsm8k",
            "prompt": [{"role": "user", "content": "6 * 7?"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "42"},
            "extra_info": {"split": "train", "index": 0, "level": "Level 3"},
        });
        let trl = json!({"prompt": "6 * 7?", "solution": "42", "difficulty": 3});
        let gsm8k = json!({"question": "6 * 7?", "answer": "6 * 7 is\n#### 42", "level": 3.0});
        let turns = json!({"messages": [
            {"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "42"},
        ], "level": "3"});
        for value in [verl, trl, gsm8k, turns] {
            let problem = columns().problem(&row(value)).unwrap();
            assert_eq!(problem.conversation.messages.len(), 1);
            assert_eq!(problem.conversation.messages[0].content, "6 * 7?");
            assert_eq!(problem.task.answer, "42");
            assert_eq!(problem.task.prompt, "6 * 7?");
            assert_eq!(problem.difficulty, Some(3));
        }
    }

    #[test]
    fn what_verifiers_read_besides_comes_along() {
        let countdown = json!({"prompt": "24?", "reward_model": {"ground_truth":
            {"target": 24, "numbers": [3, 8]}}});
        let problem = columns().problem(&row(countdown)).unwrap();
        assert_eq!((problem.task.answer.as_str(), problem.task.numbers), ("24", vec![3, 8]));
        let code = json!({"prompt": "p", "reward_model": {"ground_truth":
            "{\"inputs\": [\"1\"], \"outputs\": [\"2\"]}"}});
        assert_eq!(columns().problem(&row(code)).unwrap().task.tests.len(), 1);
        let mbpp = json!({"prompt": "p", "answer": "", "test_list": ["assert f(1) == 2"]});
        assert_eq!(columns().problem(&row(mbpp)).unwrap().task.tests.len(), 1);
        let bad = json!({"prompt": "p", "answer": "", "test_list": ["f(1)"]});
        assert!(columns().problem(&row(bad)).unwrap_err().contains("`f(1)`"));
    }

    #[test]
    fn rows_may_name_their_verifiers() {
        let named = Columns { verifier: Some("how".into()), ..columns() };
        let of = |how: &str| named.problem(&row(json!({"prompt": "q", "answer": "7", "how": how})));
        assert_eq!(of("number").unwrap().verifier, Some("number"));
        assert!(of("oracle").unwrap_err().starts_with("no verifier of rows is called oracle"));
        let none = named.problem(&row(json!({"prompt": "q", "answer": "7"}))).unwrap_err();
        assert!(none.starts_with("no column for the verifier (how)"), "{none}");
    }

    #[test]
    fn examples_are_read_as_trl_writes_them() {
        let thought = json!({"messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        ]});
        let pair = json!({"prompt": "q", "completion": "<think>\nhm\n</think>\n\na"});
        let turns = json!({
            "prompt": [{"role": "user", "content": "q"}],
            "completion": [{"role": "assistant", "content": "<think>\nhm\n</think>\n\na"}],
        });
        for value in [thought, pair, turns] {
            let example = columns().example(&row(value)).unwrap();
            assert_eq!(example.completion, "<think>\nhm\n</think>\n\na");
            assert_eq!(example.conversation.messages[0].content, "q");
        }
    }

    #[test]
    fn a_system_turn_and_a_suffix_are_put_where_they_belong() {
        let columns = Columns { system: Some("s".into()), suffix: " Box it.".into(), ..columns() };
        let problem = columns.problem(&row(json!({"prompt": "q", "answer": 7}))).unwrap();
        let said: Vec<_> =
            problem.conversation.messages.iter().map(|turn| turn.content.as_str()).collect();
        assert_eq!(said, ["s", "q Box it."]);
        assert_eq!(problem.task.answer, "7");
    }

    #[test]
    fn what_is_missing_or_misshapen_is_named() {
        let fault = |value| columns().problem(&row(value)).unwrap_err();
        let there = fault(json!({"text": "q", "label": 1}));
        assert!(there.starts_with("no column for the question (prompt, messages"), "{there}");
        assert!(there.ends_with("its columns are text, label"), "{there}");
        assert!(fault(json!({"prompt": "q"})).starts_with("no column for the right answer"));
        assert_eq!(fault(json!({"prompt": 7, "answer": 1})), "turns are not a list");
        let turn = json!({"prompt": [{"role": "robot", "content": ""}], "answer": 1});
        assert_eq!(fault(turn), "a turn's role is \"robot\"");
        let named = Columns { question: Some("extra.q".into()), ..columns() };
        let fault = named.problem(&row(json!({"prompt": "q", "extra": {}}))).unwrap_err();
        assert!(fault.starts_with("no column for the question (extra.q)"), "{fault}");
        assert!(columns().example(&row(json!({"prompt": "q"}))).is_err());
    }
}
