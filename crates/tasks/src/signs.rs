//! A sum in words, to be written in signs: what comes before it can be worked out.

use crate::draw::Draw;
use crate::expression::Expression;
use crate::{Language, Problem, Task};

pub(crate) fn make(difficulty: u32, draw: &mut Draw) -> (Problem, String) {
    let expression = Expression::draw(difficulty, draw);
    let language = if draw.below(2) == 0 { Language::English } else { Language::Chinese };
    let words = match draw.below(4) {
        0 => expression.spaced(draw.below(2) == 0),
        _ => expression.words(language, draw.below(2) == 0),
    };
    let form = match language {
        Language::English => draw.one_of(&["Write in signs: {}", "{} in signs", "Copy {}."]),
        Language::Chinese => draw.one_of(&["写成算式：{}", "{}怎么写？", "抄写{}。"]),
    };
    let written = expression.to_string();
    let problem = Problem {
        question: form.replace("{}", &words),
        said: written.clone(),
        answer: written.clone(),
        verifier: "exact",
        difficulty,
        task: Task::Signs,
        language,
        numbers: Vec::new(),
        thought: Some(written.clone()),
    };
    // What a chain is known by: the sum of a held-out chain is held out here too.
    (problem, written)
}
