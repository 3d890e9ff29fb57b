//! ruminate-tasks: questions that a small model can be taught, with their answers worked out.
//!
//! ```text
//! chain      7+4*3-8                    from left to right, 1 to 12 operators, every value 0 to 99
//! compare    Which is larger, 3+9 or 4*2?
//! story      Tom has 5 apples. He gets 3 more. How many apples has Tom?
//! countdown  Make 24 from 2, 4 and 3.
//! talk       你好                       greetings, thanks, who are you, and what is asked in vain
//! signs      Write in signs: seven plus four
//! ```
//!
//! In symbols and in words, English and Chinese. Everything follows from the seed, and whether a
//! question is held out follows from the question itself: no seed and no number of questions ever
//! puts a held-out one among those to learn from.
//!
//! What it's *not*: it knows no model, no tokens and no files.
//!
//! Start at [`make`].

#![forbid(unsafe_code)]

mod chain;
mod compare;
mod countdown;
mod draw;
mod expression;
mod signs;
mod story;
mod talk;
mod words;

use serde::Serialize;

use draw::Draw;
use expression::Expression;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    Chain,
    Compare,
    Story,
    Countdown,
    Talk,
    Signs,
}

/// What a question is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Language {
    #[serde(rename = "en")]
    English,
    #[serde(rename = "zh")]
    Chinese,
}

/// Which questions may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those to learn from.
    Training,
    /// The others: about an eighth of all.
    HeldOut,
}

/// A question with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub question: String,
    /// What a verifier holds an answer against.
    pub answer: String,
    /// The verifier's name.
    pub verifier: &'static str,
    pub difficulty: u32,
    pub task: Task,
    pub language: Language,
    /// The numbers of a countdown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i64>,
    /// The answer as a model is to write it.
    #[serde(skip)]
    pub said: String,
    /// The way to it, line by line; none where there is nothing to think about.
    #[serde(skip)]
    pub thought: Option<String>,
}

impl Problem {
    /// A question after the value of an expression, thought of line by line.
    fn of_sum(task: Task, sum: &Expression, question: String, language: Language) -> Problem {
        let answer = sum.value().to_string();
        Problem {
            question,
            said: answer.clone(),
            answer,
            verifier: "number",
            difficulty: sum.steps.len() as u32,
            task,
            language,
            numbers: Vec::new(),
            thought: Some(sum.way()),
        }
    }

    /// What a model is to write: with its thought if it `thinks` and there is one, or else with an
    /// empty think block.
    pub fn written(&self, thinks: bool) -> String {
        match &self.thought {
            Some(thought) if thinks => format!("<think>\n{thought}\n</think>\n\n{}", self.said),
            _ => format!("<think>\n\n</think>\n\n{}", self.said),
        }
    }
}

impl Task {
    pub const ALL: [Task; 6] =
        [Task::Chain, Task::Compare, Task::Story, Task::Countdown, Task::Talk, Task::Signs];

    pub fn name(self) -> &'static str {
        match self {
            Task::Chain => "chain",
            Task::Compare => "compare",
            Task::Story => "story",
            Task::Countdown => "countdown",
            Task::Talk => "talk",
            Task::Signs => "signs",
        }
    }

    /// The task of that name.
    pub fn of_name(name: &str) -> Option<Task> {
        Task::ALL.into_iter().find(|task| task.name() == name)
    }

    /// The least and the greatest difficulty: operators of chains, comparisons, stories and
    /// signs, numbers of a countdown; talk is 0.
    pub fn difficulties(self) -> (u32, u32) {
        match self {
            Task::Chain => (1, 12),
            Task::Compare => (0, 4),
            Task::Story => (1, 4),
            Task::Countdown => (2, 3),
            Task::Talk => (0, 0),
            Task::Signs => (1, 12),
        }
    }
}

/// Tries to find a question of the wanted part: of 64, one in eight is held out, so that all fail
/// once in 5,000. Then another of the same task is drawn.
const TRIES: usize = 64;

/// Questions of `task`, `n` of them, with difficulties drawn evenly from `least` to `greatest` as
/// far as the task has them.
///
/// The same arguments give the same questions. They may come twice where there are few.
pub fn make(
    task: Task,
    (least, greatest): (u32, u32),
    part: Part,
    seed: u64,
    n: usize,
) -> Vec<Problem> {
    let (first, last) = task.difficulties();
    let (least, greatest) = (least.clamp(first, last), greatest.clamp(first, last));
    let mut draw = Draw::new(seed, task as u64);
    let mut problems = Vec::with_capacity(n);
    while problems.len() < n {
        let difficulty = least + draw.below(greatest.max(least) - least + 1);
        let found = (0..TRIES).find_map(|_| {
            let (problem, key) = one(task, difficulty, &mut draw);
            (draw::is_held_out(&key) == (part == Part::HeldOut)).then_some(problem)
        });
        problems.extend(found);
    }
    problems
}

/// A question, and what it is about whatever the words.
fn one(task: Task, difficulty: u32, draw: &mut Draw) -> (Problem, String) {
    match task {
        Task::Chain => chain::make(difficulty, draw),
        Task::Compare => compare::make(difficulty, draw),
        Task::Story => story::make(difficulty, draw),
        Task::Countdown => countdown::make(difficulty, draw),
        Task::Talk => talk::make(draw),
        Task::Signs => signs::make(difficulty, draw),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all(part: Part, seed: u64) -> Vec<Problem> {
        Task::ALL.into_iter().flat_map(|task| make(task, (0, 12), part, seed, 400)).collect()
    }

    #[test]
    fn what_is_said_is_right() {
        for problem in all(Part::Training, 1).into_iter().chain(all(Part::HeldOut, 2)) {
            let verifier = verifiers::from_name(problem.verifier).unwrap();
            let task = verifiers::Task {
                numbers: problem.numbers.clone(),
                ..verifiers::Task::with_answer(&problem.answer)
            };
            let thought = problem.thought.as_deref().unwrap_or("");
            let written = format!("<think>\n{thought}\n</think>\n\n{}", problem.said);
            let score = verifier.score(&task, &written);
            assert!(score.value >= 1.0, "{problem:?}: {}", score.why);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_questions_and_another_others() {
        assert_eq!(all(Part::Training, 7), all(Part::Training, 7));
        assert_ne!(all(Part::Training, 7), all(Part::Training, 8));
    }

    #[test]
    fn held_out_questions_are_never_learned_from() {
        let learned: HashSet<String> =
            (0..8).flat_map(|seed| all(Part::Training, seed)).map(|one| one.question).collect();
        for problem in all(Part::HeldOut, 1) {
            assert!(!learned.contains(&problem.question), "{}", problem.question);
        }
    }

    #[test]
    fn difficulties_are_those_asked_for() {
        for task in Task::ALL {
            let (least, greatest) = task.difficulties();
            let found: HashSet<u32> = make(task, (least, greatest), Part::Training, 3, 300)
                .iter()
                .map(|problem| problem.difficulty)
                .collect();
            assert_eq!(found, (least..=greatest).collect(), "{}", task.name());
        }
        let hard = make(Task::Chain, (9, 9), Part::HeldOut, 3, 50);
        assert!(hard.iter().all(|problem| problem.difficulty == 9));
    }

    #[test]
    fn talk_needs_no_thought_and_all_else_has_one() {
        for problem in all(Part::Training, 5) {
            assert_eq!(problem.thought.is_none(), problem.task == Task::Talk, "{problem:?}");
        }
    }
}
