//! What came of an evaluation: tables and a plot for people, one object for programs.

use serde_json::{Value, json};

use super::Mode;
use super::answers::{Ending, Record};
use super::estimate::Share;
use super::summary::{Part, Summary};
use crate::questions::Question;
use crate::terminal::chart::{Chart, Series};

/// Difficulties that a table shows.
const DIFFICULTIES_MAX: usize = 24;

/// An evaluation, over.
pub(super) struct Report<'a> {
    pub(super) model: &'a str,
    /// The name of the file of questions.
    pub(super) tasks: String,
    pub(super) questions: &'a [Question],
    pub(super) samples: usize,
    pub(super) seed: u64,
    pub(super) max_tokens: usize,
    pub(super) records: &'a [Record],
    pub(super) ending: Ending,
    pub(super) summaries: Vec<Summary>,
}

impl Report<'_> {
    /// The tables and the plot.
    pub(super) fn text(&self) -> String {
        let questions = counted(self.questions.len(), "question");
        let answers = counted(self.samples, "answer");
        let mut text = format!(
            "{}, {questions} of {}, {answers} to each, seed {}\n",
            self.model, self.tasks, self.seed
        );
        match self.ending {
            Ending::Complete => {}
            Ending::Interrupted => text += "Interrupted: what follows is of what there is.\n",
            Ending::Failing => text += "Given up, since every answer failed at last.\n",
        }
        let mut tables = vec![self.main_table()];
        tables.extend(self.by_difficulty());
        tables.extend(self.pass_at());
        for table in tables {
            text.push('\n');
            for line in aligned(table) {
                text += &line;
                text.push('\n');
            }
        }
        if self.summaries.len() > 1 {
            text.push('\n');
            text += &self.chart().text();
        }
        text
    }

    fn main_table(&self) -> Vec<Vec<String>> {
        let head = [
            "", "right", "95 %", "tokens", "thinking", "answer", "decision", "saved", "thought",
            "cut", "failed", "in all",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        for it in &self.summaries {
            let each = |sum: Option<usize>| number(sum.and_then(|sum| it.each(sum)));
            rows.push(vec![
                it.mode.name().into(),
                percent(it.right.map(|share| share.value)),
                it.right.map_or("-".into(), |share| ends(&share)),
                each(Some(it.tokens)),
                each(it.thinking_tokens),
                each(it.answer_tokens()),
                each(Some(it.decision_tokens)),
                percent(it.saved),
                percent(it.each(it.thought)),
                percent(it.each(it.cut)),
                it.failed.to_string(),
                it.tokens.to_string(),
            ]);
        }
        rows
    }

    fn by_difficulty(&self) -> Option<Vec<Vec<String>>> {
        let n = self.summaries.first().map_or(0, |it| it.by_difficulty.len());
        if n == 0 {
            return None;
        }
        let names = self.summaries.iter().map(|it| it.mode.name().to_string());
        let mut rows =
            vec![["difficulty", "questions"].map(String::from).into_iter().chain(names).collect()];
        for i in 0..n.min(DIFFICULTIES_MAX) {
            let parts: Vec<&Part> = self.summaries.iter().map(|it| &it.by_difficulty[i]).collect();
            let questions = parts.iter().map(|part| part.questions).max().unwrap_or(0);
            let mut row = vec![parts[0].difficulty.clone(), questions.to_string()];
            row.extend(parts.iter().map(|part| part.right.as_ref().map_or("-".into(), whole)));
            rows.push(row);
        }
        if n > DIFFICULTIES_MAX {
            rows.push(vec![format!("and {} more (--json)", n - DIFFICULTIES_MAX)]);
        }
        Some(rows)
    }

    fn pass_at(&self) -> Option<Vec<Vec<String>>> {
        let longest = self.summaries.iter().max_by_key(|it| it.pass_at.len())?;
        if longest.pass_at.len() < 2 {
            return None;
        }
        let names = self.summaries.iter().map(|it| it.mode.name().to_string());
        let mut rows = vec![[String::new()].into_iter().chain(names).collect()];
        for (k, _) in &longest.pass_at {
            let of = |it: &Summary| {
                let found = it.pass_at.iter().find(|(other, _)| other == k);
                found.map_or("-".into(), |(_, share)| whole(share))
            };
            let row = [format!("pass@{k}")].into_iter().chain(self.summaries.iter().map(of));
            rows.push(row.collect());
        }
        Some(rows)
    }

    /// Right answers over the tokens that they take.
    pub(super) fn chart(&self) -> Chart {
        let series = self.summaries.iter().filter_map(|it| {
            let (share, tokens) = (it.right?, it.each(it.tokens)?);
            let intervals = vec![(100.0 * share.low, 100.0 * share.high)];
            let points = vec![(tokens, 100.0 * share.value)];
            Some(Series { intervals, ..Series::new(it.mode.name(), points) })
        });
        Chart {
            title: "Right answers by what they take".into(),
            x_label: "tokens each",
            y_label: "% right",
            series: series.collect(),
            log: false,
            mark: None,
        }
    }

    pub(super) fn json(&self) -> Value {
        let question = |it: &Question| {
            json!({
                "line": it.line,
                "question": it.text,
                "answer": it.answer(),
                "verifier": it.verifier(),
                "difficulty": it.difficulty,
            })
        };
        json!({
            "model": self.model,
            "tasks": self.tasks,
            "seed": self.seed,
            "samples": self.samples,
            "max_tokens": self.max_tokens,
            "ending": match self.ending {
                Ending::Complete => "complete",
                Ending::Interrupted => "interrupted",
                Ending::Failing => "failing",
            },
            "modes": self.summaries.iter().map(Summary::json).collect::<Vec<_>>(),
            "questions": self.questions.iter().map(question).collect::<Vec<_>>(),
            "answers": self.records.iter().map(record).collect::<Vec<_>>(),
        })
    }
}

/// An answer, or why there is none. `question` counts the list of questions from 0.
fn record(record: &Record) -> Value {
    let (ask, said) = (&record.ask, record.said.as_ref().ok());
    json!({
        "question": ask.question,
        "mode": ask.mode.name(),
        "sample": ask.sample,
        "seed": ask.seed,
        "answer": said.map(|said| &said.text),
        "right": record.right,
        "why": record.why,
        "tokens": said.map(|said| said.spent()),
        "thinking_tokens": said.and_then(|said| said.thinking_tokens),
        "decision_tokens": said.map(|said| said.decision_tokens),
        "thought": said.map(|said| said.thought),
        "ended_by": said.map_or("failed", |said| &said.ended_by),
        "thinking_ended_by": said.and_then(|said| said.thinking_ended_by.as_deref()),
        "fault": record.said.as_ref().err(),
    })
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.1}"))
}

fn ends(share: &Share) -> String {
    format!("{:.1}–{:.1}", 100.0 * share.low, 100.0 * share.high)
}

fn whole(share: &Share) -> String {
    format!("{:.1} % ({})", 100.0 * share.value, ends(share))
}

/// Rows as lines: the first column from its left, the others up to their right.
fn aligned(rows: Vec<Vec<String>>) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| {
        // A row of one cell is a remark, as wide as it likes.
        let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(i));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: Vec<String>| {
        let cells = row.into_iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            0 => format!("{cell:width$}"),
            _ => format!("  {cell:>width$}"),
        });
        cells.collect::<String>().trim_end().to_string()
    };
    rows.into_iter().map(line).collect()
}

/// What a mode is called on the command line.
pub(super) fn names(modes: &[Mode]) -> String {
    modes.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ")
}
