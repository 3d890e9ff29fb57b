//! What the answers of one mode come to.

use serde_json::{Value, json};

use super::Mode;
use super::answers::{Record, Said};
use super::estimate::{self, Share};
use crate::questions::Question;

/// One mode's answers in numbers.
pub(super) struct Summary {
    pub(super) mode: Mode,
    /// None if nothing was answered.
    pub(super) right: Option<Share>,
    pub(super) by_difficulty: Vec<Part>,
    /// For each k that has a question with so many answers.
    pub(super) pass_at: Vec<(usize, Share)>,
    pub(super) answered: usize,
    pub(super) failed: usize,
    /// All that were computed.
    pub(super) tokens: usize,
    /// Those told; none of thinking if whoever answered does not count it.
    pub(super) thinking_tokens: Option<usize>,
    pub(super) decision_tokens: usize,
    pub(super) thought: usize,
    pub(super) cut: usize,
    /// The share of the tokens of `slow` that it does without, on questions that both answered.
    pub(super) saved: Option<f64>,
}

/// The questions of one difficulty.
pub(super) struct Part {
    pub(super) difficulty: String,
    /// Those that were answered.
    pub(super) questions: usize,
    pub(super) right: Option<Share>,
}

/// The answers to one question in one mode.
#[derive(Clone, Default)]
struct Tally {
    answered: usize,
    right: usize,
    tokens: usize,
}

impl Tally {
    fn share_right(&self) -> f64 {
        self.right as f64 / self.answered as f64
    }

    fn tokens_each(&self) -> f64 {
        self.tokens as f64 / self.answered as f64
    }
}

/// Sums up every mode.
pub(super) fn all(questions: &[Question], records: &[Record], modes: &[Mode]) -> Vec<Summary> {
    let samples = records.iter().map(|record| record.ask.sample + 1).max().unwrap_or(1);
    let slow = tallies(questions, records, Mode::Slow);
    modes
        .iter()
        .map(|&mode| {
            let tallies = tallies(questions, records, mode);
            let of_mode = || records.iter().filter(|record| record.ask.mode == mode);
            let said: Vec<&Said> = of_mode().filter_map(|it| it.said.as_ref().ok()).collect();
            let sum = |of: fn(&Said) -> usize| said.iter().map(|said| of(said)).sum::<usize>();
            Summary {
                mode,
                right: share_right(&tallies),
                by_difficulty: by_difficulty(questions, &tallies),
                pass_at: pass_at(&tallies, samples),
                answered: said.len(),
                failed: of_mode().count() - said.len(),
                tokens: sum(Said::spent),
                thinking_tokens: said.iter().map(|said| said.thinking_tokens).sum(),
                decision_tokens: sum(|said| said.decision_tokens),
                thought: sum(|said| usize::from(said.thought)),
                cut: sum(|said| usize::from(said.is_cut())),
                saved: (mode != Mode::Slow).then(|| saved(&tallies, &slow)).flatten(),
            }
        })
        .collect()
}

/// One a question.
fn tallies(questions: &[Question], records: &[Record], mode: Mode) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); questions.len()];
    for record in records.iter().filter(|record| record.ask.mode == mode) {
        if let Ok(said) = &record.said {
            let tally = &mut tallies[record.ask.question];
            tally.answered += 1;
            tally.right += usize::from(record.right);
            tally.tokens += said.spent();
        }
    }
    tallies
}

fn share_right<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Option<Share> {
    let answered: Vec<&Tally> = tallies.into_iter().filter(|it| it.answered > 0).collect();
    let values: Vec<f64> = answered.iter().map(|tally| tally.share_right()).collect();
    estimate::share(&values, answered.iter().map(|tally| tally.answered).sum())
}

fn pass_at(tallies: &[Tally], samples: usize) -> Vec<(usize, Share)> {
    let of = |k: usize| {
        let enough: Vec<&Tally> = tallies.iter().filter(|tally| tally.answered >= k).collect();
        let value = |tally: &&Tally| estimate::pass_at(k, tally.answered, tally.right);
        let values: Vec<f64> = enough.iter().map(value).collect();
        let answers = enough.iter().map(|tally| tally.answered).sum();
        Some((k, estimate::share(&values, answers)?))
    };
    estimate::ks(samples).into_iter().filter_map(of).collect()
}

/// Numbers from small to large, then words as they come in the file, then what says nothing.
fn by_difficulty(questions: &[Question], tallies: &[Tally]) -> Vec<Part> {
    let mut names: Vec<Option<&str>> = Vec::new();
    for question in questions {
        if !names.contains(&question.difficulty.as_deref()) {
            names.push(question.difficulty.as_deref());
        }
    }
    if names == [None] {
        return Vec::new();
    }
    let place = |name: &Option<&str>| match name.map(str::parse::<f64>) {
        Some(Ok(number)) => (0, number),
        Some(Err(_)) => (1, 0.0),
        None => (2, 0.0),
    };
    names.sort_by(|a, b| place(a).0.cmp(&place(b).0).then(place(a).1.total_cmp(&place(b).1)));
    let part = |name: Option<&str>| {
        let of_it = questions.iter().zip(tallies);
        let of_it = of_it.filter(|(question, _)| question.difficulty.as_deref() == name);
        let answered: Vec<&Tally> = of_it.map(|it| it.1).filter(|it| it.answered > 0).collect();
        let difficulty = name.unwrap_or("none").to_string();
        let questions = answered.len();
        Part { difficulty, questions, right: share_right(answered) }
    };
    names.into_iter().map(part).collect()
}

fn saved(tallies: &[Tally], slow: &[Tally]) -> Option<f64> {
    let both = || tallies.iter().zip(slow).filter(|(a, b)| a.answered > 0 && b.answered > 0);
    let slow: f64 = both().map(|(_, slow)| slow.tokens_each()).sum();
    let own: f64 = both().map(|(own, _)| own.tokens_each()).sum();
    (slow > 0.0).then(|| 1.0 - own / slow)
}

impl Summary {
    /// Of a sum over all answers, that of one; none of no answer.
    pub(super) fn each(&self, sum: usize) -> Option<f64> {
        (self.answered > 0).then(|| sum as f64 / self.answered as f64)
    }

    /// Those told after the thinking, tags included.
    pub(super) fn answer_tokens(&self) -> Option<usize> {
        Some((self.tokens - self.decision_tokens).saturating_sub(self.thinking_tokens?))
    }

    pub(super) fn json(&self) -> Value {
        let part = |part: &Part| {
            let mut object = json!({ "difficulty": part.difficulty, "questions": part.questions });
            object["right"] = share_json(part.right);
            object
        };
        let pass = |(k, share): &(usize, Share)| {
            let mut object = share_json(Some(*share));
            object["k"] = (*k).into();
            object
        };
        let each = |sum: usize| self.each(sum);
        json!({
            "mode": self.mode.name(),
            "right": share_json(self.right),
            "by_difficulty": self.by_difficulty.iter().map(part).collect::<Vec<_>>(),
            "pass_at": self.pass_at.iter().map(pass).collect::<Vec<_>>(),
            "answered": self.answered,
            "failed": self.failed,
            "tokens": self.tokens,
            "tokens_each": each(self.tokens),
            "thinking_tokens_each": self.thinking_tokens.and_then(each),
            "answer_tokens_each": self.answer_tokens().and_then(each),
            "decision_tokens_each": each(self.decision_tokens),
            "thought": each(self.thought),
            "cut": each(self.cut),
            "saved": self.saved,
        })
    }
}

fn share_json(share: Option<Share>) -> Value {
    let of = |share: Share| json!({ "share": share.value, "low": share.low, "high": share.high });
    share.map_or(Value::Null, of)
}
