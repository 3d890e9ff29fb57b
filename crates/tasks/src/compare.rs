//! Which of two is larger.

use crate::draw::Draw;
use crate::expression::Expression;
use crate::{Language, Problem, Task};

pub(crate) fn make(difficulty: u32, draw: &mut Draw) -> (Problem, String) {
    let n_left = draw.below(2) * (difficulty % 2) + difficulty / 2;
    let (left, right) = loop {
        let [left, right] = [n_left, difficulty - n_left].map(|n_steps| side(n_steps, draw));
        if left.value() != right.value() {
            break (left, right);
        }
    };
    let (larger, sign) = match left.value() > right.value() {
        true => (&left, '>'),
        false => (&right, '<'),
    };
    let way =
        |side: &Expression| if side.steps.is_empty() { String::new() } else { side.way() + "\n" };
    let thought = format!("{}{}{}{sign}{}", way(&left), way(&right), left.value(), right.value());
    let language = if draw.below(2) == 0 { Language::English } else { Language::Chinese };
    let form = match language {
        Language::English => draw.one_of(&[
            "Which is larger, {a} or {b}?",
            "Which is greater: {a} or {b}?",
            "What is more, {a} or {b}?",
        ]),
        Language::Chinese => {
            draw.one_of(&["{a}和{b}哪个大？", "哪个更大：{a}还是{b}？", "比较{a}和{b}，哪个大？"])
        }
    };
    let question = form.replace("{a}", &left.to_string()).replace("{b}", &right.to_string());
    let answer = larger.to_string();
    let key = format!("{left}?{right}");
    let problem = Problem {
        question,
        said: answer.clone(),
        answer,
        verifier: "exact",
        difficulty,
        task: Task::Compare,
        language,
        numbers: Vec::new(),
        thought: Some(thought),
    };
    (problem, key)
}

/// A number of two digits where there is nothing to work out.
fn side(n_steps: u32, draw: &mut Draw) -> Expression {
    match n_steps {
        0 => Expression { first: draw.within(1, 99), steps: Vec::new() },
        _ => Expression::draw(n_steps, draw),
    }
}
