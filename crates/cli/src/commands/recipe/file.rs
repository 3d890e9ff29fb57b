//! What a recipe's file says.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use tasks::{Part, Task};
use toml::{Table, Value};

use super::super::tasks::{Line, Written};

/// A recipe is a page.
const BYTES_MAX: u64 = 1 << 20;

/// Stages, and what all of them share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// Settings of every stage, as `ruminate train` reads them.
    settings: Table,
    #[serde(rename = "stage")]
    pub(super) stages: Vec<Stage>,
    /// What the model of every stage is asked.
    #[serde(default)]
    pub(super) held_out: Vec<Questions>,
}

/// A run of training.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) questions: Vec<Questions>,
    /// What is different in this stage.
    #[serde(default)]
    settings: Table,
}

/// How a stage learns.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Sft,
    Rl,
}

/// Made-up questions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Questions {
    /// Of held-out ones, what they are called.
    #[serde(default)]
    pub(super) name: String,
    tasks: Vec<String>,
    /// From and to; all that a task has if none.
    #[serde(default)]
    difficulty: Option<[u32; 2]>,
    /// Of each task.
    count: usize,
    /// How answers to learn are written; of held-out ones none are.
    #[serde(default)]
    written: Option<Written>,
    /// Whether a task's name goes before its difficulty, where tasks are mixed.
    #[serde(default)]
    named: bool,
}

impl Recipe {
    /// Reads a recipe.
    pub(super) fn read(path: &Path) -> anyhow::Result<Recipe> {
        let name = || path.display().to_string();
        if fs::metadata(path).with_context(name)?.len() > BYTES_MAX {
            bail!("{}: it has more than {BYTES_MAX} bytes", name());
        }
        let recipe: Recipe =
            toml::from_str(&fs::read_to_string(path).with_context(name)?).with_context(name)?;
        if recipe.stages.is_empty() {
            bail!("{}: there is no stage", name());
        }
        for stage in recipe.stages.iter().map(|stage| &stage.name) {
            check_name(stage, "stage").with_context(name)?;
        }
        for list in &recipe.held_out {
            check_name(&list.name, "held_out").with_context(name)?;
        }
        Ok(recipe)
    }

    /// The settings of a stage as the text of a file: the shared ones, its own over them, and what
    /// only the recipe knows.
    pub(super) fn settings(
        &self,
        stage: &Stage,
        (out, seed): (&Path, u64),
        (before, questions): (Option<&Path>, &Path),
    ) -> anyhow::Result<String> {
        let mut all = self.settings.clone();
        train::config::lay_over(&mut all, stage.settings.clone());
        let text = |path: &Path| Value::String(path.display().to_string());
        all.insert("out".into(), text(out));
        all.insert("seed".into(), Value::Integer(i64::try_from(seed)?));
        let model = section(&mut all, "model")?;
        match before {
            Some(before) => {
                model.remove("scratch");
                model.remove("tokenizer");
                model.insert("start".into(), text(before));
            }
            None => {
                if let Some(scratch) = model.get_mut("scratch").and_then(Value::as_table_mut) {
                    scratch.insert("seed".into(), Value::Integer(i64::try_from(seed)?));
                }
            }
        }
        section(&mut all, "data")?.insert("files".into(), Value::Array(vec![text(questions)]));
        Ok(toml::to_string(&all)?)
    }
}

/// Names become folders and files.
fn check_name(name: &str, what: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(is_plain) {
        bail!("a {what}'s name is {name:?}: it must be letters, digits, - and _");
    }
    Ok(())
}

fn section<'t>(all: &'t mut Table, name: &str) -> anyhow::Result<&'t mut Table> {
    let entry = all.entry(name).or_insert_with(|| Value::Table(Table::new()));
    entry.as_table_mut().with_context(|| format!("{name} is not a section"))
}

impl Questions {
    /// Whether difficulties are of several tasks.
    pub(super) fn is_mixed(&self) -> bool {
        self.named
    }

    /// Adds a line for each question.
    pub(super) fn lines(&self, seed: u64, lines: &mut Vec<String>) -> anyhow::Result<()> {
        let part = if self.name.is_empty() { Part::Training } else { Part::HeldOut };
        for name in &self.tasks {
            let task = Task::of_name(name).with_context(|| format!("no task is called {name}"))?;
            let range = self.difficulty.map_or(task.difficulties(), |[from, to]| (from, to));
            for (at, problem) in tasks::make(task, range, part, seed, self.count).iter().enumerate()
            {
                let mut line = serde_json::to_value(Line::new(problem, self.written, at))?;
                if self.named {
                    line["difficulty"] = match problem.difficulty {
                        0 => name.as_str().into(),
                        n => format!("{name} {n}").into(),
                    };
                }
                lines.push(line.to_string());
            }
        }
        Ok(())
    }
}
