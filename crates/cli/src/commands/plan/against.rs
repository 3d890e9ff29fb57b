//! Two models under the same traffic: which is the cheaper one, at every volume.

use std::io::{self, Write};

use anyhow::Context;
use plan::{Comparison, Demand, Deployment, Layout, Model, compare};
use serde_json::{Value, json};

use super::figures::{grouped, number};
use super::{Args, DEVICES_MAX};
use crate::terminal::chart::{Chart, Series};

/// Volumes, in output tokens a second: a decade in so many steps.
const STEPS_A_DECADE: i32 = 20;
const DECADES: (i32, i32) = (0, 7);

pub(super) fn run(other: &str, args: &Args) -> anyhow::Result<()> {
    let first = args.model.as_deref().context("no model was named")?;
    let candidates = [candidates(first, args)?, candidates(other, args)?];
    let demand = demand(args);
    let steps = (DECADES.0 * STEPS_A_DECADE)..=(DECADES.1 * STEPS_A_DECADE);
    let volumes: Vec<f64> =
        steps.map(|step| 10_f64.powf(f64::from(step) / f64::from(STEPS_A_DECADE))).collect();
    let compared = compare([&candidates[0], &candidates[1]], &demand, &volumes)?;
    let models = [&candidates[0][0].model, &candidates[1][0].model];
    let chart = chart(&models, &compared, args);
    chart.save(args.svg.as_deref())?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json_of(&models, &compared, args))?;
        return Ok(());
    }
    facts(&mut out, &candidates, args)?;
    writeln!(out, "\n{}", chart.text())?;
    writeln!(out, "{}", verdict(&models, &compared))?;
    Ok(())
}

/// The traffic of the flags, of one token of output a second.
fn demand(args: &Args) -> Demand {
    let requests_per_s = 1.0 / args.answer as f64;
    let prompt_per_s = args.prompt as f64 * requests_per_s;
    Demand {
        input_per_s: prompt_per_s * (1.0 - args.hits),
        cached_per_s: prompt_per_s * args.hits,
        output_per_s: 1.0,
        prompt: args.prompt,
        context: args.context(),
        between_s: args.target / 1e3,
    }
}

/// Every layout of a power of two of devices from the smallest that holds the model on; the one
/// that was asked for, if one was.
fn candidates(name: &str, args: &Args) -> anyhow::Result<Vec<Deployment>> {
    let smallest = args.deployment_of(name)?;
    if args.layout.is_some() || args.devices.is_some() {
        return Ok(vec![smallest]);
    }
    let mut all = vec![smallest.clone()];
    let mut n = 2 * smallest.layout.devices();
    while n <= DEVICES_MAX {
        let layout = Layout::of_devices(&smallest.model, &smallest.hardware, n);
        let larger = Deployment::new(smallest.model.clone(), smallest.hardware.clone(), layout);
        if let Ok(larger) = larger {
            let larger = larger.with_tokens_per_step(args.tokens_per_step)?;
            all.extend(larger.require(args.context()).ok());
        }
        n *= 2;
    }
    Ok(all)
}

fn facts(
    out: &mut impl Write,
    candidates: &[Vec<Deployment>; 2],
    args: &Args,
) -> anyhow::Result<()> {
    let context = args.context();
    for deployments in candidates {
        let smallest = &deployments[0];
        let Model { name, spec, rates, .. } = &smallest.model;
        let count = spec.cost().parameters();
        let one = smallest.decode(1, context);
        writeln!(out, "{}", super::single::title(smallest))?;
        writeln!(
            out,
            "    {:.1}B parameters, {:.1}B active a token, {} bytes of cache a token",
            count.total as f64 / 1e9,
            count.active as f64 / 1e9,
            grouped(rates.traffic.kv as f64)
        )?;
        let weights = |batch| number(rates.traffic.weights(batch) / batch as f64 / 1e9);
        writeln!(
            out,
            "    reads {} GB of weights a token for one stream, {} for 64, {} for 1024",
            weights(1),
            weights(64),
            weights(1024)
        )?;
        let fit = smallest.fit().streams(context);
        writeln!(
            out,
            "    fewest devices that hold {name}: {}, {} tok/s for one stream, room for {} a rank",
            smallest.layout.devices(),
            number(one.tok_per_s_stream),
            fit
        )?;
    }
    Ok(())
}

fn verdict(models: &[&Model; 2], compared: &Comparison) -> String {
    let names = models.map(|model| &model.name);
    match compared.crossing {
        Some(crossing) => format!(
            "{} is cheaper for little traffic; {} from {} output tokens a second on.",
            names[1 - crossing.winner],
            names[crossing.winner],
            number(crossing.output_per_s)
        ),
        None => {
            let last = compared.points.last().map_or([0.0; 2], |point| point.usd_per_million);
            let winner = usize::from(last[1] < last[0]);
            format!("{} is cheaper at every volume.", names[winner])
        }
    }
}

fn chart(models: &[&Model; 2], compared: &Comparison, args: &Args) -> Chart {
    let series = [0, 1].map(|i| {
        let place = |point: &plan::Point| (point.output_per_s, point.usd_per_million[i]);
        Series::new(models[i].name.clone(), compared.points.iter().map(place).collect())
    });
    let mark = compared.crossing.map(|crossing| {
        let name = &models[crossing.winner].name;
        (crossing.output_per_s, format!("{name} from {} tok/s on", number(crossing.output_per_s)))
    });
    Chart {
        title: format!("Cost on {}", args.on),
        x_label: "output tok/s",
        y_label: "$ a million output tokens",
        series: series.into(),
        log: true,
        mark,
    }
}

fn json_of(models: &[&Model; 2], compared: &Comparison, args: &Args) -> Value {
    let describe = models.map(|model| {
        let count = model.spec.cost().parameters();
        json!({
            "model": model.name,
            "parameters": count.total,
            "active": count.active,
            "kv_bytes_per_token": model.rates.traffic.kv,
        })
    });
    let points = compared.points.iter().map(|point| {
        json!({
            "output_tok_per_s": point.output_per_s,
            "usd_per_million": point.usd_per_million,
            "devices": point.devices,
        })
    });
    json!({
        "models": describe,
        "hardware": args.on,
        "points": points.collect::<Vec<_>>(),
        "crossing": compared.crossing.map(|crossing| json!({
            "output_tok_per_s": crossing.output_per_s,
            "cheaper_from_there": models[crossing.winner].name,
        })),
    })
}
