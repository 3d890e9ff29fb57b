//! A number and what is done with it, from left to right.

use std::fmt;

use crate::Language;
use crate::draw::Draw;
use crate::words::number;

/// The greatest value on the way.
pub(crate) const VALUE_MAX: i64 = 99;
const OPERAND_MAX: i64 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Plus,
    Minus,
    Times,
}

/// `first`, then one operation after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) first: i64,
    pub(crate) steps: Vec<(Operator, i64)>,
}

impl Operator {
    pub(crate) const ALL: [Operator; 3] = [Operator::Plus, Operator::Minus, Operator::Times];

    pub(crate) fn sign(self) -> char {
        match self {
            Operator::Plus => '+',
            Operator::Minus => '-',
            Operator::Times => '*',
        }
    }

    fn word(self, language: Language) -> &'static str {
        match (self, language) {
            (Operator::Plus, Language::English) => " plus ",
            (Operator::Minus, Language::English) => " minus ",
            (Operator::Times, Language::English) => " times ",
            (Operator::Plus, Language::Chinese) => "加",
            (Operator::Minus, Language::Chinese) => "减",
            (Operator::Times, Language::Chinese) => "乘",
        }
    }

    pub(crate) fn of(self, a: i64, b: i64) -> i64 {
        match self {
            Operator::Plus => a + b,
            Operator::Minus => a - b,
            Operator::Times => a * b,
        }
    }
}

impl Expression {
    /// So many operations, every value on the way within 0 to 99.
    pub(crate) fn draw(n_steps: u32, draw: &mut Draw) -> Expression {
        let first = draw.within(1, OPERAND_MAX);
        let mut value = first;
        let mut steps = Vec::new();
        for _ in 0..n_steps {
            let (operator, least, greatest) = loop {
                let operator = Operator::ALL[draw.below(3) as usize];
                let (least, greatest) = match operator {
                    Operator::Plus => (1, VALUE_MAX - value),
                    Operator::Minus => (1, value),
                    // Nothing comes of nothing, and once is no times at all.
                    Operator::Times => (2, if value == 0 { 0 } else { VALUE_MAX / value }),
                };
                if greatest >= least {
                    break (operator, least, greatest.min(OPERAND_MAX));
                }
            };
            let operand = draw.within(least, greatest);
            value = operator.of(value, operand);
            steps.push((operator, operand));
        }
        Expression { first, steps }
    }

    pub(crate) fn value(&self) -> i64 {
        self.steps
            .iter()
            .fold(self.first, |value, (operator, operand)| operator.of(value, *operand))
    }

    /// The way to its value: the expression, then what is left after each operation.
    ///
    /// Each line has all that the next one needs, so that no step depends on how long the way is.
    pub(crate) fn way(&self) -> String {
        let mut lines = vec![self.to_string()];
        let mut rest = self.clone();
        while !rest.steps.is_empty() {
            let (operator, operand) = rest.steps.remove(0);
            rest.first = operator.of(rest.first, operand);
            lines.push(format!("={rest}"));
        }
        lines.join("\n")
    }

    /// With blanks, and with a sign for times as people print it if `prints`.
    pub(crate) fn spaced(&self, prints: bool) -> String {
        let one = |(operator, operand): &(Operator, i64)| {
            let sign = if prints && *operator == Operator::Times { '×' } else { operator.sign() };
            format!(" {sign} {operand}")
        };
        let steps: String = self.steps.iter().map(one).collect();
        format!("{}{steps}", self.first)
    }

    /// In words; numbers in digits unless `spelled`.
    pub(crate) fn words(&self, language: Language, spelled: bool) -> String {
        let shown = |n: i64| if spelled { number(n, language) } else { n.to_string() };
        let one = |(operator, operand): &(Operator, i64)| {
            format!("{}{}", operator.word(language), shown(*operand))
        };
        let steps: String = self.steps.iter().map(one).collect();
        format!("{}{steps}", shown(self.first))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.steps
            .iter()
            .try_for_each(|(operator, operand)| write!(f, "{}{operand}", operator.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Expression {
        let steps = vec![(Operator::Plus, 4), (Operator::Times, 3), (Operator::Minus, 8)];
        Expression { first: 7, steps }
    }

    #[test]
    fn the_way_goes_from_left_to_right() {
        assert_eq!(example().value(), 25);
        assert_eq!(example().way(), "7+4*3-8\n=11*3-8\n=33-8\n=25");
    }

    #[test]
    fn it_is_put_in_signs_and_in_words() {
        assert_eq!(example().spaced(true), "7 + 4 × 3 - 8");
        let english = "seven plus four times three minus eight";
        assert_eq!(example().words(Language::English, true), english);
        assert_eq!(example().words(Language::Chinese, true), "七加四乘三减八");
        assert_eq!(example().words(Language::Chinese, false), "7加4乘3减8");
    }

    #[test]
    fn values_on_the_way_stay_small() {
        let mut draw = Draw::new(1, 0);
        for _ in 0..2000 {
            let expression = Expression::draw(12, &mut draw);
            let mut value = expression.first;
            for (operator, operand) in expression.steps {
                value = operator.of(value, operand);
                assert!((0..=VALUE_MAX).contains(&value));
                assert!((1..=OPERAND_MAX).contains(&operand));
            }
        }
    }
}
