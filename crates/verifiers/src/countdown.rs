//! Countdown: an expression over the given numbers, each used at most once, that makes the target.
//!
//! ```text
//! expression = product { ("+" | "-") product }
//! product    = atom { ("*" | "/") atom }
//! atom       = integer | "(" expression ")"
//! ```

use std::str::FromStr;

use dashu_ratio::RBig;

use crate::{Fuel, Score, Task, Verifier, extract, number};

/// Reads `numbers` and `answer`, the target. Values are exact rationals. `… = target` after the
/// expression is allowed if it tells the truth.
pub struct Countdown;

/// A unit a token. It bounds the depth as well, since each bracket is a token.
const FUEL: u64 = 200;

impl Verifier for Countdown {
    fn name(&self) -> &'static str {
        "countdown"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let Some(target) = number::parse(&task.answer) else {
            return Score::wrong("the target is no number");
        };
        let text = match extract::answer(completion) {
            Ok(found) => plain(found.text()),
            Err(fault) => return Score::wrong(fault),
        };
        let (left, right) = match text.split_once('=') {
            Some((left, right)) => (left, number::parse(right)),
            None => (text.as_str(), Some(target.clone())),
        };
        if right.as_ref() != Some(&target) {
            return Score::wrong("not the target");
        }
        let mut parser = Parser { rest: left, unused: task.numbers.clone(), fuel: Fuel::new(FUEL) };
        match parser.whole() {
            Ok(value) if value == target => Score::right("equal"),
            Ok(_) => Score::wrong("not the target"),
            Err(fault) => Score::wrong(fault),
        }
    }
}

/// The signs of LaTeX and of print as the four of a keyboard.
fn plain(text: &str) -> String {
    let signs = [
        ("\\times", "*"),
        ("\\cdot", "*"),
        ("\\div", "/"),
        ("\\left", ""),
        ("\\right", ""),
        ("\u{d7}", "*"),
        ("\u{b7}", "*"),
        ("\u{f7}", "/"),
        ("\u{2212}", "-"),
        ("$", ""),
    ];
    signs.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

struct Parser<'a> {
    rest: &'a str,
    unused: Vec<i64>,
    fuel: Fuel,
}

type Parsed = Result<RBig, &'static str>;

impl Parser<'_> {
    fn whole(&mut self) -> Parsed {
        let value = self.expression()?;
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() { Ok(value) } else { Err("not an expression") }
    }

    fn expression(&mut self) -> Parsed {
        let mut sum = self.product()?;
        loop {
            if self.eat('+')? {
                sum += self.product()?;
            } else if self.eat('-')? {
                sum -= self.product()?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self) -> Parsed {
        let mut product = self.atom()?;
        loop {
            if self.eat('*')? {
                product *= self.atom()?;
            } else if self.eat('/')? {
                let divisor = self.atom()?;
                if divisor.is_zero() {
                    return Err("divides by zero");
                }
                product /= divisor;
            } else {
                return Ok(product);
            }
        }
    }

    fn atom(&mut self) -> Parsed {
        if self.eat('(')? {
            let value = self.expression()?;
            return if self.eat(')')? { Ok(value) } else { Err("not an expression") };
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = i64::from_str(digits).map_err(|_| "not an expression")?;
        let at =
            self.unused.iter().position(|&n| n == number).ok_or("a number that is not given")?;
        self.unused.swap_remove(at);
        Ok(RBig::from(number))
    }

    /// Whether the next token is `sign`, which it then takes.
    fn eat(&mut self, sign: char) -> Result<bool, &'static str> {
        self.fuel.spend(1).map_err(|_| "fuel")?;
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        Ok(rest.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_makes_the_target_from_the_numbers() {
        let cases = [
            ("<answer>(25 - 3) * 4</answer>", "equal"),
            (r"\boxed{(25-3)\times 4}", "equal"),
            (r"\boxed{4 \cdot \left(25-3\right) = 88}", "equal"),
            ("4 \u{d7} (25 \u{2212} 3) = 88", "equal"),
            ("(25 - 3) / (1 / 4)", "a number that is not given"),
            ("(25 - 3) * 4 = 89", "not the target"),
            ("25 + 3", "not the target"),
            ("88", "a number that is not given"),
            ("25 * 4 - 4 * 3", "a number that is not given"),
            ("(25 - 3 * 4", "not an expression"),
            ("25 ** 4", "not an expression"),
            ("-25 + 3", "not an expression"),
            ("25 / (3 - 3)", "a number that is not given"),
            ("", "nothing was said"),
            ("2 5 * 4", "a number that is not given"),
        ];
        let task = Task { numbers: vec![25, 3, 4], ..Task::with_answer("88") };
        for (completion, why) in cases {
            let score = Countdown.score(&task, completion);
            assert_eq!(score.why, why, "{completion:?}");
            assert_eq!(score.value == 1.0, why == "equal");
        }
    }

    #[test]
    fn values_are_exact() {
        let task = Task { numbers: vec![1, 3, 3, 7], ..Task::with_answer("7") };
        assert_eq!(Countdown.score(&task, "1 / 3 * 3 * 7").why, "equal");
        let task = Task { numbers: vec![3, 3, 1], ..Task::with_answer("1") };
        assert_eq!(Countdown.score(&task, "1 / (3 - 3)").why, "divides by zero");
    }

    #[test]
    fn deep_brackets_run_out_of_fuel() {
        let task = Task { numbers: vec![1], ..Task::with_answer("1") };
        let deep = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(Countdown.score(&task, &deep).why, "fuel");
    }
}
