//! Mathematics: an answer as people write it in LaTeX, equal to the gold one.
//!
//! The answer is found (in a box, after "the answer is", in the last line), read into a tree, and
//! compared by what it is: a number, a set, an interval, an equation, a matrix. Two expressions are
//! equal if they are the same rational; or agree in two large prime fields at random points; or,
//! with radicals, π, e, i and functions, agree to hundreds of bits at random points. Numbers
//! written as decimals are exact, except that one of six digits or more equals a constant that
//! rounds to it. What can't be read, or not be decided, is refused, unless both are the same text.
//!
//! Read `lex`, `parse` and `expression` for what is understood, `compare` for what counts as the
//! same, `equal` for how that is decided.

mod compare;
mod equal;
mod evaluate;
mod exact;
mod expression;
mod float;
mod lex;
mod parse;
mod tree;

use self::lex::Token;
use self::tree::{Relation, Value};
use crate::extract::{self, Found};
use crate::{Fuel, Score, Spent, Task, Verifier, number};

/// Why a comparison stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Not an answer that we read.
    Syntax,
    /// Too much to compute.
    Fuel,
    /// Neither equal nor different, as far as we can see.
    Undecided,
}

impl From<Spent> for Stop {
    fn from(_: Spent) -> Stop {
        Stop::Fuel
    }
}

/// Reads `answer`, with or without dollars or a box around it.
pub struct Math {
    /// Units of fuel for one comparison.
    pub fuel: u64,
}

impl Math {
    /// Fuel for the longest answers that people write.
    pub const DEFAULT: Math = Math { fuel: 200_000 };

    /// Whether the answer `pred` is the answer `gold`; neither is searched for in prose.
    pub fn compare(&self, gold: &str, pred: &str) -> Score {
        let mut fuel = Fuel::new(self.fuel);
        match self.decide(gold, pred, &mut fuel) {
            Ok(is_same) => Score::from_bool(is_same),
            Err(_) if is_same_text(gold, pred) => Score::right("same text"),
            Err(Stop::Syntax) => Score::wrong("not understood"),
            Err(Stop::Fuel) => Score::wrong("fuel"),
            Err(Stop::Undecided) => Score::wrong("undecided"),
        }
    }

    fn decide(&self, gold: &str, pred: &str, fuel: &mut Fuel) -> Result<bool, Stop> {
        let gold = expanded(parse::parse(gold, fuel)?);
        let pred = expanded(parse::parse(pred, fuel)?);
        compare::same(&gold, &pred, fuel)
    }
}

impl Verifier for Math {
    fn name(&self) -> &'static str {
        "math"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let gold = match extract::boxed(&task.answer) {
            Ok(boxed) => boxed.unwrap_or(&task.answer),
            Err(_) => return Score::wrong("the answer is no answer"),
        };
        let gold = gold.rsplit("####").next().unwrap_or(gold).trim();
        let found = match extract::answer(completion) {
            Ok(found) => found,
            Err(fault) => return Score::wrong(fault),
        };
        let score = self.compare(gold, found.text());
        match found {
            // A sentence is no formula, but may hold the one number that was asked for.
            Found::Stated(text) | Found::Ending(text) if score.why == "not understood" => {
                match number::only(text).filter(|_| !denies(text)) {
                    found @ Some(_) if number::parse(gold) == found => Score::right("equal"),
                    _ => score,
                }
            }
            _ => score,
        }
    }
}

fn denies(text: &str) -> bool {
    text.split_whitespace().any(|word| word == "not" || word.ends_with("n't"))
}

/// Whether both are the same but for space, braces around one token, and what only says how to
/// print.
fn is_same_text(gold: &str, pred: &str) -> bool {
    let mut fuel = Fuel::new(10_000);
    match (lex::lex(gold, &mut fuel), lex::lex(pred, &mut fuel)) {
        (Ok(gold), Ok(pred)) => !gold.is_empty() && unbraced(&gold) == unbraced(&pred),
        _ => false,
    }
}

fn unbraced(tokens: &[Token]) -> Vec<&Token> {
    let brace = |at: usize, sign| tokens.get(at) == Some(&Token::Sign(sign));
    let opens = |at: usize| brace(at, '{') && brace(at + 2, '}');
    let closes = |at: usize| at >= 2 && opens(at - 2);
    (0..tokens.len()).filter(|&at| !opens(at) && !closes(at)).map(|at| &tokens[at]).collect()
}

/// With each ± written as the two values that it stands for.
fn expanded(value: Value) -> Value {
    let is_sign = |expr: &tree::Expr| expr.any(&|part| matches!(part, tree::Expr::Sign(_)));
    match value {
        Value::Scalar(scalar) if is_sign(&scalar.expr) => {
            let reading = |upper| {
                let expr = scalar.expr.with_sign(upper);
                Value::Scalar(tree::Scalar { expr, ..scalar.clone() })
            };
            Value::List(vec![reading(true), reading(false)])
        }
        Value::List(items) => Value::List(flattened(items)),
        Value::Set(items) => Value::Set(flattened(items)),
        Value::Relation { first, rest } => match rest.as_slice() {
            [(Relation::Equal, side)] if is_sign(side) => {
                let scalar = tree::Scalar { expr: side.clone(), is_percent: false, unit: None };
                expanded(Value::Assign { to: first, value: Box::new(Value::Scalar(scalar)) })
            }
            _ => Value::Relation { first, rest },
        },
        Value::Assign { to, value } => match expanded(*value) {
            Value::List(items) => {
                let assign = |value| Value::Assign { to: to.clone(), value: Box::new(value) };
                Value::List(items.into_iter().map(assign).collect())
            }
            value => Value::Assign { to, value: Box::new(value) },
        },
        other => other,
    }
}

fn flattened(items: Vec<Value>) -> Vec<Value> {
    items
        .into_iter()
        .flat_map(|item| match expanded(item) {
            Value::List(items) => items,
            item => vec![item],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    /// The rows of the table that fixtures/verifiers/make_math.py makes.
    fn rows() -> Vec<Json> {
        let table = include_str!("../../../../fixtures/verifiers/math.jsonl");
        table.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_pair_of_the_table_is_decided_as_a_careful_grader_would() {
        let mut failures = Vec::new();
        for row in rows() {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
            let is_refused = text("note").starts_with("refused:");
            let expected = row["right"].as_bool().unwrap() && !is_refused;
            let boxed = format!("So it is \\boxed{{{}}}.", text("pred"));
            let score = Math::DEFAULT.score(&Task::with_answer(text("gold")), &boxed);
            if (score.value == 1.0) != expected {
                failures.push(format!("{} | {} : {}", text("gold"), text("pred"), score.why));
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }
}
