//! Small word problems.

use crate::draw::Draw;
use crate::expression::{Expression, Operator};
use crate::{Language, Problem, Task};

const NAMES: [&[&str]; 2] = [
    &["Tom", "Anna", "Ben", "Mary", "Sam", "Lucy"],
    &["小明", "小红", "小华", "小丽", "小刚", "小芳"],
];
const THINGS: [&[&str]; 2] = [
    &["apples", "books", "coins", "pens", "eggs", "cards"],
    &["苹果", "鸡蛋", "橘子", "玩具", "球", "杯子"],
];

pub(crate) fn make(difficulty: u32, draw: &mut Draw) -> (Problem, String) {
    let expression = Expression::draw(difficulty, draw);
    let language = if draw.below(2) == 0 { Language::English } else { Language::Chinese };
    let at = language as usize;
    let (name, thing) = (draw.one_of(NAMES[at]), draw.one_of(THINGS[at]));
    let question = match language {
        Language::English => english(&expression, (name, thing), draw),
        Language::Chinese => chinese(&expression, (name, thing), draw),
    };
    let problem = Problem::of_sum(Task::Story, &expression, question, language);
    (problem, format!("story {expression}"))
}

fn english(expression: &Expression, (name, thing): (&str, &str), draw: &mut Draw) -> String {
    let mut text = format!("{name} has {} {thing}.", expression.first);
    for (operator, n) in &expression.steps {
        let form = match operator {
            Operator::Plus => draw.one_of(&[" {name} gets {n} more.", " {name} buys {n} more."]),
            Operator::Minus => draw.one_of(&[" {name} gives away {n}.", " {name} loses {n}."]),
            Operator::Times => " Now there are {n} times as many.",
        };
        text += &form.replace("{name}", name).replace("{n}", &n.to_string());
    }
    text + &format!(" How many {thing} has {name}?")
}

fn chinese(expression: &Expression, (name, thing): (&str, &str), draw: &mut Draw) -> String {
    let mut text = format!("{name}有{}个{thing}", expression.first);
    for (operator, n) in &expression.steps {
        let form = match operator {
            Operator::Plus => draw.one_of(&["，又得到{n}个", "，又买了{n}个"]),
            Operator::Minus => draw.one_of(&["，送出{n}个", "，丢了{n}个"]),
            Operator::Times => "，后来变成{n}倍",
        };
        text += &form.replace("{n}", &n.to_string());
    }
    text + &format!("。{name}有几个{thing}？")
}
