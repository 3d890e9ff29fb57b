//! `ruminate recipe`: a model from nothing to finished, stage by stage, from one file.
//!
//! A stage makes its questions, trains, and is asked held-out questions. What is finished is not
//! done again, and a stage that was interrupted goes on from its newest checkpoint.

mod file;
mod show;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::args;
use crate::terminal::notice;
use file::{Kind, Questions, Recipe, Stage};

const EXAMPLES: &str = "\
Examples:
  ruminate recipe recipes/dense.toml
  ruminate recipe recipes/sparse.toml --seed 2 --out runs/sparse-2
  ruminate recipe recipes/dense.toml --show runs/dense-1,runs/dense-2 --svg curves

Each stage has a folder in OUT with its questions, its settings as `ruminate train` reads them, its
model, and what that model got right. The same command goes on after an interruption.";

/// Arguments of `recipe`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file that says what is done.
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// Where all of it goes [default: runs/NAME-SEED].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Of questions, weights and answers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads to compute with [default: one a processor].
    #[arg(long, value_name = "N", value_parser = args::threads)]
    threads: Option<usize>,
    /// Make nothing: print what finished runs came to.
    #[arg(long, value_name = "FOLDER,FOLDER", value_delimiter = ',', conflicts_with = "out")]
    show: Vec<PathBuf>,
    /// Draw curves of them into a folder.
    #[arg(long, value_name = "FOLDER", requires = "show")]
    svg: Option<PathBuf>,
}

/// Where one model's making goes.
struct Place {
    out: PathBuf,
    seed: u64,
    threads: Option<usize>,
}

/// Goes through the stages.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe)?;
    if !args.show.is_empty() {
        show::show(&recipe, &args.show, args.svg.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.recipe.file_stem().context("the recipe's file has no name")?;
    let named = || Path::new("runs").join(format!("{}-{}", name.display(), args.seed));
    let out = args.out.clone().unwrap_or_else(named);
    let place = Place { out, seed: args.seed, threads: args.threads };
    let mut before: Option<PathBuf> = None;
    for (at, stage) in recipe.stages.iter().enumerate() {
        let folder = place.out.join(&stage.name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let model = folder.join("run").join("model");
        // An interrupted training leaves a model too.
        let finished = folder.join("finished");
        if finished.exists() {
            notice(&format!("{}: trained already", stage.name));
        } else {
            let code = place.train(&recipe, (at, stage), before.as_deref())?;
            if code != 0 {
                return Ok(ExitCode::from(code));
            }
            fs::write(&finished, "").with_context(|| finished.display().to_string())?;
        }
        for asked in &recipe.held_out {
            place.examine(&folder, &model, asked)?;
        }
        before = Some(model);
    }
    if let Some(model) = before {
        notice(&format!("the model is {}", model.display()));
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    /// Trains a stage; the exit code of the training.
    fn train(
        &self,
        recipe: &Recipe,
        (at, stage): (usize, &Stage),
        before: Option<&Path>,
    ) -> anyhow::Result<u8> {
        let folder = self.out.join(&stage.name);
        let questions = folder.join("questions.jsonl");
        write_questions(&questions, &stage.questions, (self.seed, at as u64))?;
        let start = (before, questions.as_path());
        let settings = recipe.settings(stage, (&folder.join("run"), self.seed), start)?;
        let config = folder.join("settings.toml");
        fs::write(&config, settings).with_context(|| config.display().to_string())?;
        let kind = match stage.kind {
            Kind::Sft => "sft",
            Kind::Rl => "rl",
        };
        notice(&format!("{}: ruminate train {kind} {}", stage.name, config.display()));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["train", kind]).arg(&config);
        if let Some(threads) = self.threads {
            command.arg("--threads").arg(threads.to_string());
        }
        let status = command.status().context("ruminate train")?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// Asks a stage's model a set of held-out questions, unless it was asked.
    fn examine(&self, folder: &Path, model: &Path, asked: &Questions) -> anyhow::Result<()> {
        let found = folder.join(format!("{}.json", asked.name));
        if !found.exists() {
            let questions = self.out.join(format!("{}.jsonl", asked.name));
            if !questions.exists() {
                write_questions(&questions, std::slice::from_ref(asked), (0, 0))?;
            }
            let unfinished = found.with_extension("part");
            let out =
                File::create(&unfinished).with_context(|| unfinished.display().to_string())?;
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("eval").args([model, questions.as_path()]).args([
                "--temperature",
                "0",
                "--streams",
                "32",
                "--max-tokens",
                "512",
                "--json",
            ]);
            if let Some(threads) = self.threads {
                command.arg("--threads").arg(threads.to_string());
            }
            let status = command.stdout(Stdio::from(out)).status().context("ruminate eval")?;
            if !status.success() {
                bail!("{}: asking {} failed", folder.display(), questions.display());
            }
            fs::rename(&unfinished, &found)?;
        }
        let text = fs::read(&found).with_context(|| found.display().to_string())?;
        let found: Value = serde_json::from_slice(&text)?;
        for mode in found["modes"].as_array().into_iter().flatten() {
            let percent = |it: &Value| 100.0 * it["right"]["share"].as_f64().unwrap_or(0.0);
            let parts = mode["by_difficulty"].as_array().into_iter().flatten();
            let by: Vec<String> = parts.map(|part| format!("{:.0}", percent(part))).collect();
            notice(&format!(
                "{}, {}, {}: {:.1} % right with {:.1} tokens (by difficulty {})",
                folder.file_name().unwrap_or_default().display(),
                asked.name,
                mode["mode"].as_str().unwrap_or(""),
                percent(mode),
                mode["tokens_each"].as_f64().unwrap_or(0.0),
                by.join(" ")
            ));
        }
        Ok(())
    }
}

/// Writes questions in a mixed order. Seeds of stages differ, so that no question is seen twice.
fn write_questions(path: &Path, lists: &[Questions], seed: (u64, u64)) -> anyhow::Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for (at, list) in lists.iter().enumerate() {
        list.lines(seed.0 * 1000 + seed.1 * 50 + at as u64, &mut lines)?;
    }
    let mut text = lines.join("\n");
    text.push('\n');
    fs::write(path, text).with_context(|| path.display().to_string())
}
