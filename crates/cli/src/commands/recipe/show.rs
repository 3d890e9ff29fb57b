//! What several runs of a recipe came to: a table, and curves with the spread of the seeds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::file::{Kind, Recipe};
use crate::terminal::chart::{Chart, Series};

/// A figure of each seed's.
type Seeds = Vec<f64>;

/// Prints a table of all stages, and draws curves into `folder` if there is one.
pub(super) fn show(recipe: &Recipe, outs: &[PathBuf], folder: Option<&Path>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "| stage | questions | mode | right | tokens | thought |")?;
    writeln!(out, "|---|---|---|--:|--:|--:|")?;
    for stage in &recipe.stages {
        for asked in &recipe.held_out {
            let found = read(outs, &stage.name, &asked.name)?;
            for mode in ["fast", "slow", "auto"] {
                let of = |field: &dyn Fn(&Value) -> Option<f64>| -> Seeds {
                    found.iter().filter_map(|it| field(in_mode(it, mode)?)).collect()
                };
                let right = of(&|it| it["right"]["share"].as_f64().map(|share| 100.0 * share));
                let tokens = of(&|it| it["tokens_each"].as_f64());
                let thought = of(&|it| it["thought"].as_f64().map(|share| 100.0 * share));
                writeln!(
                    out,
                    "| {} | {} | {mode} | {} % | {} | {} % |",
                    stage.name,
                    asked.name,
                    shown(&right),
                    shown(&tokens),
                    shown(&thought)
                )?;
            }
        }
    }
    let Some(folder) = folder else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for asked in recipe.held_out.iter().filter(|asked| !asked.is_mixed()) {
        let chart = by_difficulty(recipe, outs, &asked.name)?;
        chart.save(Some(&folder.join(format!("{}.svg", asked.name))))?;
    }
    for stage in recipe.stages.iter().filter(|stage| stage.kind == Kind::Rl) {
        let chart = over_steps(outs, &stage.name)?;
        chart.save(Some(&folder.join(format!("{}.svg", stage.name))))?;
    }
    Ok(())
}

/// What each run's model got right after a stage.
fn read(outs: &[PathBuf], stage: &str, asked: &str) -> anyhow::Result<Vec<Value>> {
    let one = |out: &PathBuf| {
        let path = out.join(stage).join(format!("{asked}.json"));
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    };
    outs.iter().map(one).collect()
}

fn in_mode<'v>(found: &'v Value, mode: &str) -> Option<&'v Value> {
    found["modes"].as_array()?.iter().find(|it| it["mode"] == mode)
}

/// Right answers over difficulty: thinking after the first stage and after each, and the other ways
/// after the last.
fn by_difficulty(recipe: &Recipe, outs: &[PathBuf], asked: &str) -> anyhow::Result<Chart> {
    let mut series = Vec::new();
    let last = recipe.stages.len() - 1;
    for (at, stage) in recipe.stages.iter().enumerate() {
        let found = read(outs, &stage.name, asked)?;
        for mode in ["slow", "fast", "auto"] {
            if mode != "slow" && at != last {
                continue;
            }
            let mut by: BTreeMap<i64, Seeds> = BTreeMap::new();
            for part in found.iter().filter_map(|it| in_mode(it, mode)) {
                for part in part["by_difficulty"].as_array().into_iter().flatten() {
                    let difficulty = part["difficulty"].as_str().and_then(|it| it.parse().ok());
                    if let (Some(difficulty), Some(share)) =
                        (difficulty, part["right"]["share"].as_f64())
                    {
                        by.entry(difficulty).or_default().push(100.0 * share);
                    }
                }
            }
            series.push(of_seeds(format!("{mode}, {}", stage.name), by));
        }
    }
    Ok(Chart {
        title: "Right answers by operators of a sum, on held-out questions".into(),
        x_label: "operators",
        y_label: "% right",
        series,
        log: false,
        mark: None,
    })
}

/// Steps whose figures are taken together.
const SMOOTHED: i64 = 5;

/// Reward and length over the steps of a stage.
fn over_steps(outs: &[PathBuf], stage: &str) -> anyhow::Result<Chart> {
    let mut reward: BTreeMap<i64, Seeds> = BTreeMap::new();
    let mut thinks: BTreeMap<i64, Seeds> = BTreeMap::new();
    for out in outs {
        let path = out.join(stage).join("run").join("metrics.jsonl");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for line in text.lines() {
            let line: Value =
                serde_json::from_str(line).with_context(|| path.display().to_string())?;
            let Some(step) = line["step"].as_i64() else { continue };
            let at = (step + SMOOTHED - 1) / SMOOTHED * SMOOTHED;
            for (name, by) in [("reward", &mut reward), ("thinks", &mut thinks)] {
                by.entry(at).or_default().extend(line[name].as_f64().map(|x| 100.0 * x));
            }
        }
    }
    Ok(Chart {
        title: format!("Reward and share of thinking in the stage \"{stage}\""),
        x_label: "steps",
        y_label: "%",
        series: vec![of_seeds("reward".into(), reward), of_seeds("thinks".into(), thinks)],
        log: false,
        mark: None,
    })
}

/// A curve of means, with the least and the greatest around it.
fn of_seeds(name: String, by: BTreeMap<i64, Seeds>) -> Series {
    let points = by.iter().map(|(x, ys)| (*x as f64, mean(ys))).collect();
    let intervals = by.values().map(|ys| ends(ys)).collect();
    Series { intervals, ..Series::new(name, points) }
}

fn mean(ys: &[f64]) -> f64 {
    ys.iter().sum::<f64>() / ys.len().max(1) as f64
}

fn ends(ys: &[f64]) -> (f64, f64) {
    let least = ys.iter().copied().fold(f64::INFINITY, f64::min);
    (least, ys.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// `97.1 (96.0–98.2)`: the mean, and the least and the greatest of several.
fn shown(ys: &[f64]) -> String {
    match ys {
        [] => "-".into(),
        [y] => format!("{y:.1}"),
        ys => {
            let (least, greatest) = ends(ys);
            format!("{:.1} ({least:.1}–{greatest:.1})", mean(ys))
        }
    }
}
