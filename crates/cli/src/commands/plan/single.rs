//! One model on one machine.

use std::io::{self, Write};

use plan::{Answer, Choice, Deployment, Layout, Model, QUANTS, Quant, Question};
use serde_json::{Value, json};

use super::Args;
use super::figures::{self, number, percent};

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let deployment = args.deployment()?;
    let question = Question {
        prompt: args.prompt,
        answer: args.answer,
        hit_rate: args.hits,
        between_s: args.target / 1e3,
        prices: args.prices,
        deployment,
    };
    let answer = plan::answer(&question)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json_of(&question, &answer, args))?;
        return Ok(());
    }
    print(&mut out, &question, &answer, args)
}

/// `8 x H800 (tensor 8)`.
pub(super) fn title(deployment: &Deployment) -> String {
    let Layout { tensor, pipeline, data, expert, redundant, overlap, .. } = deployment.layout;
    let parts = [("tensor", tensor), ("pipeline", pipeline), ("data", data), ("expert", expert)];
    let mut parts: Vec<String> =
        parts.iter().filter(|part| part.1 > 1).map(|(name, n)| format!("{name} {n}")).collect();
    if redundant > 0 {
        parts.push(format!("{redundant} redundant"));
    }
    if overlap {
        parts.push("two micro-batches".into());
    }
    let layout = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!(
        "{} at {} bits on {} x {}{layout}",
        deployment.model.name,
        number(deployment.model.bits),
        deployment.layout.devices(),
        deployment.hardware.name
    )
}

fn print(
    out: &mut impl Write,
    question: &Question,
    answer: &Answer,
    args: &Args,
) -> anyhow::Result<()> {
    let deployment = &question.deployment;
    writeln!(out, "{}", title(deployment))?;
    let fit = &answer.fit;
    let gb = |bytes: f64| format!("{:.1} GB", bytes / 1e9);
    writeln!(
        out,
        "\nMemory of a device: weights {}, scratch {}, {} left for the cache of {} usable",
        gb(fit.weights_bytes),
        gb(fit.scratch_bytes),
        gb(fit.kv_tokens as f64 * fit.kv_bytes_per_token),
        gb(fit.usable_bytes)
    )?;
    widths(out, question)?;
    writeln!(out, "\nDecoding: tok/s of the instance, of a stream, and what binds")?;
    let mut context = 0;
    for row in &answer.decode {
        if row.context != context {
            context = row.context;
            writeln!(out, "  {} tokens in the cache", figures::grouped(context as f64))?;
        }
        writeln!(
            out,
            "    batch {:<4} {:>10} tok/s  {:>8} a stream  {:>8.2} ms  {}",
            row.batch,
            number(row.tok_per_s),
            number(row.tok_per_s_stream),
            1e3 * row.step.total_s(),
            row.step.roof().name()
        )?;
    }
    writeln!(out, "\nPrompts")?;
    for row in &answer.prefill {
        writeln!(
            out,
            "    {:>6} tokens {:>10} tok/s  {:>8.1} ms alone  {}",
            row.prompt,
            number(row.tok_per_s),
            1e3 * row.seconds,
            row.roof.name()
        )?;
    }
    if let Some(knee) = answer.knee {
        writeln!(out, "\nThe knee: from {knee} streams a rank on, weights are bound by compute.")?;
    }
    match &answer.best {
        Some(best) => choice(out, question, best)?,
        None => writeln!(out, "\nNo batch takes {} ms or less a step.", args.target)?,
    }
    writeln!(
        out,
        "\nFigures{}",
        if args.explain { "" } else { " (--explain says how they came)" }
    )?;
    figures::print(out, &answer.figures, args)?;
    Ok(())
}

/// At which widths the model fits on these devices, and for how many streams.
fn widths(out: &mut impl Write, question: &Question) -> anyhow::Result<()> {
    let context = question.prompt + question.answer / 2;
    writeln!(out, "\nWidths on the same devices, and streams of {context} tokens")?;
    for quant in QUANTS {
        let line = match streams(question, *quant) {
            Some((weights, n)) if n > 0 => format!("{weights:>8.1} GB  {n} streams"),
            Some((weights, _)) => format!("{weights:>8.1} GB  does not fit"),
            None => continue,
        };
        writeln!(out, "    {:8} {line}", quant.name)?;
    }
    Ok(())
}

/// Weights in GB and streams of the whole instance at another width.
fn streams(question: &Question, quant: Quant) -> Option<(f64, u64)> {
    let Deployment { model, hardware, layout, .. } = &question.deployment;
    let kv_bytes = model.rates.traffic.kv / model.spec.cost().kv_elements();
    let model = Model::at(&model.name, model.spec.clone(), quant, kv_bytes);
    let weights = model.rates.traffic.resident() as f64 / 1e9;
    let other = Deployment::new(model, hardware.clone(), *layout).ok()?;
    let fit = other.with_tokens_per_step(question.deployment.tokens_per_step).ok()?.fit();
    let n = fit.streams(question.prompt + question.answer / 2) * layout.groups();
    Some((weights, n))
}

fn choice(out: &mut impl Write, question: &Question, best: &Choice) -> anyhow::Result<()> {
    let Choice { decode, prefill, costs, margin } = best;
    writeln!(
        out,
        "\nBest batch within {} ms a token: {} a rank, {} streams, {} tok/s, {} a stream",
        number(1e3 * question.between_s),
        decode.batch,
        decode.n_streams,
        number(decode.tok_per_s),
        number(decode.tok_per_s_stream)
    )?;
    writeln!(out, "Prompts of {} tokens: {} tok/s", prefill.prompt, number(prefill.tok_per_s))?;
    writeln!(
        out,
        "Cost of a million tokens at ${:.2} an hour: input ${:.4}, cached ${:.4}, output ${:.4}",
        question.deployment.usd_per_hour(),
        costs.input,
        costs.cached,
        costs.output
    )?;
    if let Some(margin) = margin {
        writeln!(out, "Margin at these prices: {}", percent(*margin))?;
    }
    Ok(())
}

fn json_of(question: &Question, answer: &Answer, args: &Args) -> Value {
    let deployment = &question.deployment;
    let Layout { tensor, pipeline, data, expert, redundant, overlap, .. } = deployment.layout;
    let decode = answer.decode.iter().map(|row| {
        json!({
            "batch": row.batch,
            "context": row.context,
            "streams": row.n_streams,
            "tok_per_s": row.tok_per_s,
            "tok_per_s_stream": row.tok_per_s_stream,
            "step_ms": 1e3 * row.step.total_s(),
            "roof": row.step.roof().name(),
        })
    });
    let prefill = answer.prefill.iter().map(|row| {
        json!({
            "prompt": row.prompt,
            "tok_per_s": row.tok_per_s,
            "ms_alone": 1e3 * row.seconds,
            "roof": row.roof.name(),
        })
    });
    let best = answer.best.as_ref().map(|best| {
        json!({
            "batch": best.decode.batch,
            "streams": best.decode.n_streams,
            "decode_tok_per_s": best.decode.tok_per_s,
            "stream_tok_per_s": best.decode.tok_per_s_stream,
            "prefill_tok_per_s": best.prefill.tok_per_s,
            "usd_per_million_input": best.costs.input,
            "usd_per_million_cached": best.costs.cached,
            "usd_per_million_output": best.costs.output,
            "margin": best.margin,
        })
    });
    json!({
        "model": deployment.model.name,
        "bits": deployment.model.bits,
        "hardware": deployment.hardware.name,
        "devices": deployment.layout.devices(),
        "layout": {
            "tensor": tensor,
            "pipeline": pipeline,
            "data": data,
            "expert": expert,
            "redundant": redundant,
            "overlap": overlap,
        },
        "weights_bytes_per_device": answer.fit.weights_bytes,
        "kv_tokens_per_rank": answer.fit.kv_tokens,
        "decode": decode.collect::<Vec<_>>(),
        "prefill": prefill.collect::<Vec<_>>(),
        "knee_batch": answer.knee,
        "best": best,
        "figures": figures::json(&answer.figures, args),
    })
}
