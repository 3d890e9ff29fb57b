//! Given numbers make a target, each used once: found by trying.

use crate::draw::Draw;
use crate::expression::{Operator, VALUE_MAX};
use crate::{Language, Problem, Task};

const NUMBER_MAX: i64 = 12;
/// Ways that are tried in a thought at most, the right one included.
const TRIES_MAX: usize = 8;

/// Numbers in an order, with an operation before each but the first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    numbers: Vec<i64>,
    operators: Vec<Operator>,
}

impl Way {
    /// The value, if none on the way is below 0 or too large.
    fn value(&self) -> Option<i64> {
        let mut rest = self.operators.iter().zip(&self.numbers[1..]);
        rest.try_fold(self.numbers[0], |value, (operator, &number)| {
            Some(operator.of(value, number)).filter(|value| (0..=VALUE_MAX).contains(value))
        })
    }

    /// `4+8=12,12*2=24`
    fn steps(&self) -> String {
        let mut value = self.numbers[0];
        let mut steps = Vec::new();
        for (operator, &number) in self.operators.iter().zip(&self.numbers[1..]) {
            let next = operator.of(value, number);
            steps.push(format!("{value}{}{number}={next}", operator.sign()));
            value = next;
        }
        steps.join(",")
    }

    /// `(4+8)*2`
    fn written(&self) -> String {
        let mut text = self.numbers[0].to_string();
        let mut is_sum = false;
        for (operator, number) in self.operators.iter().zip(&self.numbers[1..]) {
            let is_product = *operator == Operator::Times;
            if is_product && is_sum {
                text = format!("({text})");
            }
            text += &format!("{}{number}", operator.sign());
            is_sum = !is_product;
        }
        text
    }
}

pub(crate) fn make(difficulty: u32, draw: &mut Draw) -> (Problem, String) {
    let n = difficulty as usize;
    let (way, target) = loop {
        let numbers = (0..n).map(|_| draw.within(1, NUMBER_MAX)).collect();
        let way = random(numbers, draw);
        match way.value() {
            Some(target) if target > 0 => break (way, target),
            _ => {}
        }
    };
    let mut numbers = way.numbers.clone();
    draw.shuffle(&mut numbers);
    let mut tried: Vec<Way> = Vec::new();
    let mut found = way;
    let n_tries = draw.below(TRIES_MAX as u32) as usize;
    for _ in 0..n_tries {
        let mut order = numbers.clone();
        draw.shuffle(&mut order);
        let try_ = random(order, draw);
        match try_.value() {
            Some(value) if value == target => {
                found = try_;
                break;
            }
            Some(_) if !tried.contains(&try_) => tried.push(try_),
            _ => {}
        }
    }
    tried.push(found.clone());
    let thought: Vec<String> = tried.iter().map(Way::steps).collect();
    let language = if draw.below(2) == 0 { Language::English } else { Language::Chinese };
    let listed: Vec<String> = numbers.iter().map(i64::to_string).collect();
    let question = match language {
        Language::English => {
            let (last, first) = listed.split_last().expect("there are at least two");
            format!("Make {target} from {} and {last}.", first.join(", "))
        }
        Language::Chinese => format!("用{}算出{target}。", listed.join("、")),
    };
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    let problem = Problem {
        question,
        said: found.written(),
        answer: target.to_string(),
        verifier: "countdown",
        difficulty,
        task: Task::Countdown,
        language,
        numbers,
        thought: Some(thought.join("\n")),
    };
    (problem, format!("{sorted:?} {target}"))
}

fn random(numbers: Vec<i64>, draw: &mut Draw) -> Way {
    let operators = numbers[1..].iter().map(|_| Operator::ALL[draw.below(3) as usize]).collect();
    Way { numbers, operators }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_written_with_the_brackets_that_it_needs() {
        let way = Way { numbers: vec![4, 8, 2], operators: vec![Operator::Plus, Operator::Times] };
        assert_eq!(way.value(), Some(24));
        assert_eq!(way.steps(), "4+8=12,12*2=24");
        assert_eq!(way.written(), "(4+8)*2");
        let way = Way { numbers: vec![4, 8, 2], operators: vec![Operator::Times, Operator::Minus] };
        assert_eq!(way.written(), "4*8-2");
    }
}
