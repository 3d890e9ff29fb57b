//! One number: an integer, a decimal or a plain fraction, equal within stated tolerances.

use std::str::FromStr;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::extract::{self, Found};
use crate::{Score, Task, Verifier};

/// Reads `answer`. A prediction is right if |prediction − answer| ≤ absolute + relative·|answer|.
pub struct Number {
    pub absolute: f64,
    pub relative: f64,
}

impl Number {
    /// No tolerance: 0.50 is 1/2, 0.333 is not 1/3.
    pub const EXACT: Number = Number { absolute: 0.0, relative: 0.0 };
}

impl Verifier for Number {
    fn name(&self) -> &'static str {
        "number"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        let gold = extract::answer(&task.answer).ok().and_then(|found| only(found.text()));
        let Some(gold) = gold else { return Score::wrong("the answer is no number") };
        let found = match extract::answer(completion) {
            Ok(Found::Ending(line)) => last(line),
            Ok(found) => only(found.text()),
            Err(fault) => return Score::wrong(fault),
        };
        let Some(found) = found else { return Score::wrong("no number") };
        if found == gold {
            return Score::right("equal");
        }
        let error = (&found - &gold).to_f64().value().abs();
        let allowed = self.absolute + self.relative * gold.to_f64().value().abs();
        if error <= allowed { Score::right("within tolerance") } else { Score::wrong("different") }
    }
}

/// Numbers with more digits, or exponents beyond this, are refused.
const DIGITS_MAX: usize = 400;

/// The number that `text` is: sign, digits with or without thousands, decimals, exponent, or one
/// integer over another.
pub(crate) fn parse(text: &str) -> Option<RBig> {
    match text.split_once('/') {
        None => decimal(text.trim()),
        Some((above, below)) => {
            let (above, below) = (decimal(above.trim())?, decimal(below.trim())?);
            (!below.is_zero()).then(|| above / below)
        }
    }
}

fn decimal(text: &str) -> Option<RBig> {
    let (is_negative, text) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i32::from_str(exponent).ok()?),
        None => (text, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = without_thousands(whole)?;
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let digits = format!("{whole}{decimals}");
    let shift = exponent.checked_sub(i32::try_from(decimals.len()).ok()?)?;
    let is_short = digits.len() <= DIGITS_MAX && shift.unsigned_abs() as usize <= DIGITS_MAX;
    if digits.is_empty() || !is_digits(&digits) || !is_short {
        return None;
    }
    let magnitude = UBig::from_str(&digits).ok()?;
    let power = UBig::from(10u8).pow(shift.unsigned_abs() as usize);
    let (above, below) =
        if shift < 0 { (magnitude, power) } else { (magnitude * power, UBig::ONE) };
    let value = RBig::from_parts(IBig::from(above), below);
    Some(if is_negative { -value } else { value })
}

/// `1,234,567` without its commas, if they stand where thousands end.
fn without_thousands(whole: &str) -> Option<String> {
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let mut digits = first.to_string();
    for group in groups {
        if group.len() != 3 || first.is_empty() || first.len() > 3 {
            return None;
        }
        digits.push_str(group);
    }
    Some(digits)
}

/// The number in `text`, if there is exactly one.
pub(crate) fn only(text: &str) -> Option<RBig> {
    let numbers = numbers(text);
    if numbers.len() == 1 { parse(numbers[0]) } else { None }
}

fn last(text: &str) -> Option<RBig> {
    parse(numbers(text).last()?)
}

/// The runs of `text` that look like numbers.
fn numbers(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_digit() || ".,/+-eE\u{2212}".contains(c);
    let runs = text.split(|c: char| !(is_part(c) || c.is_alphabetic()));
    let trimmed = runs.map(|run| run.trim_matches(['.', ',', '/']).trim_end_matches(['-', '+']));
    trimmed
        .filter(|run| {
            run.contains(|c: char| c.is_ascii_digit())
                && run
                    .trim_start_matches(['+', '-', '\u{2212}', '.'])
                    .starts_with(|c: char| c.is_ascii_digit())
        })
        .map(|run| run.trim_end_matches(|c: char| c.is_alphabetic()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_by_value() {
        let cases = [
            ("42", "The answer is 42.", 1.0),
            ("42", r"\boxed{42}", 1.0),
            ("42", "#### 42", 1.0),
            ("1234", r"\boxed{1,234}", 1.0),
            ("0.5", r"\boxed{1/2}", 1.0),
            ("-3", r"\boxed{-3}", 1.0),
            ("-3", "it is \u{2212}3", 1.0),
            ("1200", r"\boxed{1.2e3}", 1.0),
            ("18", "so she has 18 dollars", 1.0),
            ("18", "from 20 she keeps 18", 1.0),
            ("5", r"\boxed{5 cm}", 1.0),
            ("18", r"\boxed{17 or 18}", 0.0),
            ("0.333", "1/3", 0.0),
            ("42", "43", 0.0),
            ("12", r"\boxed{1,2}", 0.0),
            ("1234", r"\boxed{12,34}", 0.0),
            ("5", "five", 0.0),
            ("5", r"\boxed{5/0}", 0.0),
            ("5", "x5", 0.0),
            ("1", r"\boxed{1e999999}", 0.0),
        ];
        for (answer, completion, value) in cases {
            let score = Number::EXACT.score(&Task::with_answer(answer), completion);
            assert_eq!(score.value, value, "{completion:?}: {}", score.why);
        }
    }

    #[test]
    fn a_tolerance_is_what_it_says() {
        let verifier = Number { absolute: 0.01, relative: 0.001 };
        let cases = [("100", "100.1", 1.0), ("100", "100.12", 0.0), ("0", "0.01", 1.0)];
        for (answer, completion, value) in cases {
            let score = verifier.score(&Task::with_answer(answer), completion);
            assert_eq!(score.value, value, "{completion}");
        }
    }
}
