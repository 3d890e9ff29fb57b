//! `ruminate plan`: what a model will do and earn on given machines.
//!
//! The formulas are `plan`'s; here are flags, files, tables and plots.

mod against;
mod check;
mod example;
mod experts;
mod figures;
mod machine;
mod models;
mod probe;
mod single;
mod this;
mod traffic;
mod workload;

use std::path::PathBuf;

use anyhow::Context;
use plan::{Deployment, Layout, Prices};

use crate::args::Usage;

const EXAMPLES: &str = "\
Examples:
  ruminate plan DeepSeek-R1 --on H800 --devices 144 --target 50 --prices 0.55,0.14,2.19
  ruminate plan ./model.gguf --on my-box.toml --explain
  ruminate plan QwQ-32B --on H100 --traffic day.toml --svg day.svg
  ruminate plan Qwen2.5-72B --against DeepSeek-R1 --on H800 --svg crossing.svg
  ruminate plan --experts loads.jsonl --gpus 8 --nodes 2 --groups 4 --redundant 4
  ruminate plan --example deepseek-day6 --json
  ruminate plan --check ./model.gguf

Built-in models and hardware, and the files: docs/planning.md.";

/// Arguments of `plan`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A built-in such as QwQ-32B, a GGUF file, a folder, or a name on the hub.
    #[arg(value_name = "MODEL", required_unless_present_any = ["example", "experts", "check"])]
    model: Option<String>,
    /// The machine: a built-in such as H800, a TOML file, or this one, measured.
    #[arg(long, value_name = "HARDWARE", default_value = "this")]
    on: String,
    /// Devices of an instance [default: the fewest that hold the model].
    #[arg(long, value_name = "N", value_parser = positive)]
    devices: Option<u64>,
    /// How it lies over them: tensor=8,pipeline=1,data=1,expert=1,redundant=0,overlap=0.
    #[arg(long, value_name = "K=N,…", value_parser = layout, conflicts_with = "devices")]
    layout: Option<Layout>,
    /// Bits of the weights: bf16, fp8, q8_0, q4_k_m, … [default: as published, or the file's own].
    #[arg(long, value_name = "TYPE")]
    quant: Option<String>,
    /// Bytes of a cached key or value element.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 2)]
    kv_bytes: u64,
    /// Tokens of a prompt, on average.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 1000)]
    prompt: u64,
    /// Tokens of an answer with its thinking, on average.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 2000)]
    answer: u64,
    /// Of the prompt's tokens, the share in the cache.
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, default_value_t = 0.0)]
    hits: f64,
    /// Milliseconds from token to token at most.
    #[arg(long, value_name = "MS", allow_negative_numbers = true, default_value_t = 50.0)]
    target: f64,
    /// Seconds to the first token at most, for 95 of 100 requests of the traffic.
    #[arg(long, value_name = "S", allow_negative_numbers = true, default_value_t = 5.0)]
    first: f64,
    /// Prices of a million tokens in $: input, cached, output.
    #[arg(long, value_name = "$,$,$", value_parser = prices, allow_hyphen_values = true)]
    prices: Option<Prices>,
    /// What a device costs in $ an hour [default: the hardware's].
    #[arg(long, value_name = "$", allow_negative_numbers = true)]
    usd_per_hour: Option<f64>,
    /// Tokens that a step computes at most.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 8192)]
    tokens_per_step: u64,
    /// Requests to simulate: a TOML file of their law, or a log in JSON lines.
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    traffic: Option<PathBuf>,
    /// A second model under the same traffic, on the same hardware.
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// Place experts by the loads of --record-experts instead of planning a model.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "example"])]
    experts: Option<PathBuf>,
    #[command(flatten)]
    cluster: experts::ClusterArgs,
    /// Recompute a published account instead of planning a model: deepseek-day6.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    example: Option<String>,
    /// Measure these models here, beside what would be predicted.
    #[arg(long, value_name = "MODEL", num_args = 1.., conflicts_with_all = ["model", "example"])]
    check: Vec<String>,
    /// Write the plot to an SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Say of every figure how it came: formula, inputs, source.
    #[arg(long)]
    explain: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Plans, and prints the plan.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(name) = &args.example {
        return example::run(name, args);
    }
    if let Some(path) = &args.experts {
        return experts::run(path, args);
    }
    if !args.check.is_empty() {
        return check::run(args);
    }
    // Before anything is opened or searched: a price that cannot be is nobody's plan.
    args.prices.map(Prices::check).transpose()?;
    match (&args.against, &args.traffic) {
        (Some(other), _) => against::run(other, args),
        (None, Some(path)) => traffic::run(path, args),
        (None, None) => single::run(args),
    }
}

impl Args {
    /// The first model on its hardware.
    fn deployment(&self) -> anyhow::Result<Deployment> {
        self.deployment_of(self.model.as_deref().context("no model was named")?)
    }

    /// A model on the hardware, laid out as asked or over as few devices as hold it.
    fn deployment_of(&self, model: &str) -> anyhow::Result<Deployment> {
        let found = models::find(model, self)?;
        let hardware = machine::find(&self.on, &found, self)?;
        let model = found.model;
        let context = self.context();
        let deployment = match (self.layout, self.devices) {
            (Some(layout), _) => Deployment::new(model, hardware, layout)?,
            (None, Some(n)) => {
                let layout = Layout::of_devices(&model, &hardware, n);
                Deployment::new(model, hardware, layout)?
            }
            (None, None) => Deployment::smallest(
                &model,
                &hardware,
                self.tokens_per_step,
                (context, DEVICES_MAX),
            )?,
        };
        let deployment = deployment.with_tokens_per_step(self.tokens_per_step)?;
        Ok(deployment.require(context)?)
    }

    /// Tokens in the cache of a stream that answers, on average.
    fn context(&self) -> u64 {
        self.prompt + self.answer / 2
    }
}

/// Devices beyond which no layout is looked for.
const DEVICES_MAX: u64 = 1024;

/// Reads a whole number from 1 to a billion.
fn positive(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(n @ 1..=1_000_000_000) => Ok(n),
        _ => Err("expected a number from 1 to 1000000000".into()),
    }
}

/// Reads `tensor=8,data=4,…`; what is left out is one, or none.
fn layout(text: &str) -> Result<Layout, String> {
    let mut layout = Layout::SINGLE;
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or("expected tensor=8,pipeline=1,…")?;
        let (key, value) = (key.trim(), value.trim());
        if key == "imbalance" {
            layout.imbalance = value.parse().map_err(|_| "imbalance is no number")?;
            continue;
        }
        let n: u64 = value.parse().map_err(|_| format!("{key} is no whole number"))?;
        match key {
            "tensor" => layout.tensor = n,
            "pipeline" => layout.pipeline = n,
            "data" => layout.data = n,
            "expert" => layout.expert = n,
            "redundant" => layout.redundant = n,
            "overlap" => layout.overlap = n > 0,
            other => {
                let known = "tensor, pipeline, data, expert, redundant, overlap, imbalance";
                return Err(format!("{other} is none of {known}"));
            }
        }
    }
    Ok(layout)
}

/// Reads three prices. Which of them may be is decided later, where each has a name.
fn prices(text: &str) -> Result<Prices, String> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.as_deref() {
        Ok(&[input, cached, output]) => Ok(Prices { input, cached, output }),
        _ => Err("expected three prices such as 0.55,0.14,2.19".into()),
    }
}

/// A flag that names nothing that is known.
fn unknown(what: &str, name: &str, known: &[&str]) -> Usage {
    Usage(format!("{what} {name} is not known (known: {})", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_read_part_by_part() {
        let wide = layout("data=144,expert=144,redundant=32,overlap=1").unwrap();
        assert_eq!(wide, Layout::wide(144, 32));
        assert_eq!(layout("data=4,imbalance=1.25").unwrap().imbalance, 1.25);
        assert_eq!(layout("tensor=8"), Ok(Layout { tensor: 8, ..Layout::SINGLE }));
        for wrong in ["", "tensor", "tensor=x", "depth=3", "tensor=-1"] {
            assert!(layout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prices_come_in_threes() {
        let read = prices("0.55, 0.14,2.19").unwrap();
        assert_eq!((read.input, read.cached, read.output), (0.55, 0.14, 2.19));
        for wrong in ["", "1", "1,2", "1,2,3,4", "a,b,c"] {
            assert!(prices(wrong).is_err(), "{wrong}");
        }
    }
}
