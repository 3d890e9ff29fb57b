//! Predicted against measured, on this machine.

use std::io::{self, Write};

use engine::{Options, Plan};
use model::{Limits, PAGE};
use plan::{Deployment, Layout};
use serde_json::json;
use spec::ModelSpec;

use super::figures::number;
use super::probe::{Probe, rows};
use super::{Args, models, this};
use crate::terminal::{locate, remark};

const STREAMS: [usize; 3] = [1, 8, 32];
const CONTEXTS: [usize; 2] = [128, 1024];

/// One case.
struct Row {
    model: String,
    streams: usize,
    context: usize,
    predicted: f64,
    measured: f64,
}

impl Row {
    /// Of the measured speed, how far the predicted one is off.
    fn off(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

/// Predicts and measures every model.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut table = Vec::new();
    for name in &args.check {
        remark(&format!("measuring {name}"));
        check(name, args, &mut table)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        let rows = table.iter().map(|row| {
            json!({
                "model": row.model,
                "streams": row.streams,
                "context": row.context,
                "predicted_tok_per_s": row.predicted,
                "measured_tok_per_s": row.measured,
                "off": row.off(),
            })
        });
        writeln!(out, "{:#}", serde_json::Value::from(rows.collect::<Vec<_>>()))?;
        return Ok(());
    }
    writeln!(out, "  streams  context  predicted  measured tok/s     off  model")?;
    for row in &table {
        writeln!(
            out,
            "  {:>7}  {:>7}  {:>9}  {:>14}  {:>+5.1} %  {}",
            row.streams,
            row.context,
            number(row.predicted),
            number(row.measured),
            100.0 * row.off(),
            row.model
        )?;
    }
    Ok(())
}

fn check(name: &str, args: &Args, table: &mut Vec<Row>) -> anyhow::Result<()> {
    let found = models::find(name, args)?;
    let hardware = this::measure(&found.model, found.types)?;
    let deployment = Deployment::new(found.model, hardware, Layout::SINGLE)?;
    let mut probe = open(name)?;
    for context in CONTEXTS {
        for streams in STREAMS {
            // The token that is computed is the last of the context.
            let predicted = deployment.step(rows(streams, context - 1, 1)).total_s();
            let measured = probe.seconds(streams, context - 1, 1)?;
            table.push(Row {
                model: deployment.model.name.clone(),
                streams,
                context,
                predicted: streams as f64 / predicted,
                measured: streams as f64 / measured,
            });
        }
    }
    Ok(())
}

/// The model itself, with caches for every case.
fn open(name: &str) -> anyhow::Result<Probe> {
    let checkpoint = formats::open(&locate::path_of(name)?)?;
    let spec = ModelSpec::from_config(&checkpoint.config)?;
    let [.., streams] = STREAMS;
    let [.., context] = CONTEXTS;
    let options =
        Options { context: Some(context + PAGE), sequences_max: streams, ..Options::default() };
    let limits = Limits { tokens_per_step: 512, logits_per_step: streams };
    let plan = Plan::of(&checkpoint, &spec, &options, limits)?;
    let engine::Model { pool, decoder, kv, .. } =
        plan.load(&checkpoint, spec, &options, &|_, _| {})?;
    Ok(Probe::new(decoder, kv, pool))
}
