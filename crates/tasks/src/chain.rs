//! Arithmetic from left to right.

use crate::draw::Draw;
use crate::expression::Expression;
use crate::{Language, Problem, Task};

pub(crate) fn make(difficulty: u32, draw: &mut Draw) -> (Problem, String) {
    let expression = Expression::draw(difficulty, draw);
    let (question, language) = put(&expression, draw);
    let problem = Problem::of_sum(Task::Chain, &expression, question, language);
    (problem, expression.to_string())
}

fn put(expression: &Expression, draw: &mut Draw) -> (String, Language) {
    let language = if draw.below(2) == 0 { Language::English } else { Language::Chinese };
    let question = match draw.below(5) {
        0 => expression.to_string(),
        1 => format!("{expression}="),
        2 => expression.spaced(draw.below(2) == 0),
        _ => {
            let spelled = draw.below(2) == 0;
            let words = expression.words(language, spelled);
            match language {
                Language::English => draw
                    .one_of(&["What is {}?", "what is {}", "Work out {}.", "Calculate {}.", "{}?"])
                    .replace("{}", &words),
                Language::Chinese => draw
                    .one_of(&["{}等于几？", "{}是多少？", "计算{}。", "{}等于多少", "{}"])
                    .replace("{}", &words),
            }
        }
    };
    let asked = match (draw.below(4), language) {
        (0, Language::English) if question.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("What is {question}?").replace("=?", "?").replace("??", "?")
        }
        (0, Language::Chinese) if question.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("计算：{question}")
        }
        _ => question,
    };
    (asked, language)
}
