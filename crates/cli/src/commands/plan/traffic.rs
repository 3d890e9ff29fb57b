//! A day's traffic through the real scheduler, under the clock of the roofline.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use model::PAGE;
use plan::{
    Deployment, Fleet, Percentiles, Request, Simulated, Simulation, Workload, apart,
    nodes_over_the_day, sustained_rate, together,
};
use serde_json::{Value, json};

use super::figures::{number, percent};
use super::workload::{self, Traffic};
use super::{Args, single};
use crate::terminal::chart::{Chart, Series};

/// Sequences that a rank computes together.
const SEQUENCES_MAX: usize = 1024;
/// Seconds of the busiest part of the day that are simulated where the file does not say.
const DURATION_S: f64 = 600.0;

/// What was found.
struct Found {
    deployment: Deployment,
    /// Of one instance, if the traffic is a law.
    day: Option<Day>,
    simulated: Simulated,
}

/// A law over the day.
struct Day {
    /// Requests a second that an instance sustains.
    sustained: f64,
    /// Requests a second and instances of each part of the day.
    parts: Vec<(f64, u64)>,
    together: Fleet,
    apart: Fleet,
}

pub(super) fn run(path: &Path, args: &Args) -> anyhow::Result<()> {
    let traffic = workload::read(path)?;
    let deployment = args.deployment()?;
    let longest = deployment.model.spec.context_max.min(deployment.fit().kv_tokens as usize);
    let simulation = Simulation::new(deployment.clone(), PAGE, SEQUENCES_MAX, longest)?;
    let found = match traffic {
        Traffic::Law { workload, duration_s } => law(&simulation, &workload, duration_s, args)?,
        Traffic::Log(requests) => {
            let simulated = simulation.run(&dealt(&requests, deployment.layout.groups()))?;
            Found { deployment, day: None, simulated }
        }
    };
    let mut out = io::stdout().lock();
    if let Some(day) = &found.day {
        chart(day).save(args.svg.as_deref())?;
    }
    if args.json {
        writeln!(out, "{:#}", json_of(&found))?;
        return Ok(());
    }
    print(&mut out, &found)
}

/// Of requests dealt out in turn, those of the first of `n` groups of streams.
fn dealt(requests: &[Request], n: u64) -> Vec<Request> {
    requests.iter().step_by(usize::try_from(n).unwrap_or(usize::MAX)).copied().collect()
}

fn law(
    simulation: &Simulation,
    workload: &Workload,
    duration_s: Option<f64>,
    args: &Args,
) -> anyhow::Result<Found> {
    let deployment = simulation.deployment.clone();
    let limits = (args.first, args.target / 1e3);
    let Some(rank) = sustained_rate(simulation, workload, limits)? else {
        bail!(
            "one request alone takes longer than {} s to its first token or {} ms a token: raise \
             --first or --target",
            args.first,
            args.target
        );
    };
    let sustained = rank * deployment.layout.groups() as f64;
    let parts = nodes_over_the_day(workload, sustained);
    let busiest = parts.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0));
    let (rate, instances) = busiest.context("a day has parts")?;
    let share = rate / (instances * deployment.layout.groups()) as f64;
    let duration_s = duration_s.unwrap_or(DURATION_S);
    let simulated = simulation.run(&workload.even(share).requests(duration_s)?)?;
    let demand = workload.demand(simulated.hit_rate(), args.target / 1e3);
    let day = Day {
        sustained,
        parts,
        together: together(&demand, &deployment)?,
        apart: apart(&demand, &deployment, &deployment)?,
    };
    Ok(Found { deployment, day: Some(day), simulated })
}

fn print(out: &mut impl Write, found: &Found) -> anyhow::Result<()> {
    let Found { deployment, day, simulated } = found;
    writeln!(out, "{}", single::title(deployment))?;
    if let Some(day) = day {
        writeln!(out, "\nAn instance sustains {} requests a second.", number(day.sustained))?;
        let n = day.parts.len() as f64;
        let devices = deployment.layout.devices();
        writeln!(out, "\n  from    requests/s   instances   devices")?;
        for (i, (rate, instances)) in day.parts.iter().enumerate() {
            let minutes = (i as f64 * 24.0 * 60.0 / n) as u64;
            writeln!(
                out,
                "  {:02}:{:02}   {:>10}   {instances:>9}   {:>7}",
                minutes / 60,
                minutes % 60,
                number(*rate),
                instances * devices
            )?;
        }
        let mean: f64 = day.parts.iter().map(|part| part.1 as f64).sum::<f64>() / n;
        let usd = mean * 24.0 * deployment.usd_per_hour();
        writeln!(out, "  mean {} instances, ${} a day", number(mean), number(usd))?;
        if day.parts.len() > 1 {
            writeln!(out, "\n{}", chart(day).text())?;
        }
        fleet(out, "Prompts and answers together", &day.together)?;
        fleet(out, "Prompts and answers apart", &day.apart)?;
        writeln!(out, "\nThe busiest part of the day, on one rank of one instance:")?;
    } else {
        writeln!(out, "\nThe log, dealt out to the ranks, on the first:")?;
    }
    simulated_lines(out, simulated)
}

fn fleet(out: &mut impl Write, title: &str, fleet: &Fleet) -> anyhow::Result<()> {
    let pool = |pool: &plan::Pool| {
        format!("{} instances ({} devices)", number(pool.instances), pool.devices)
    };
    let text = match &fleet.prefill {
        None => pool(&fleet.decode),
        Some(prefill) => format!(
            "{} for prompts, {} for answers, a prompt's cache under way {:.1} ms",
            pool(prefill),
            pool(&fleet.decode),
            1e3 * fleet.transfer_s
        ),
    };
    writeln!(out, "{title}, the day's mean by the roofline: {text}")?;
    Ok(())
}

fn simulated_lines(out: &mut impl Write, simulated: &Simulated) -> anyhow::Result<()> {
    writeln!(
        out,
        "  {} requests, {} refused, {} steps of {:.1} rows, {} preemptions",
        simulated.n_requests,
        simulated.n_refused,
        simulated.n_steps,
        simulated.mean_rows,
        simulated.n_preemptions
    )?;
    writeln!(
        out,
        "  {:.0} s, busy {}, {} output tok/s, {} of the prompts' tokens in the cache",
        simulated.duration_s,
        percent(simulated.utilisation()),
        number(simulated.output_per_s()),
        percent(simulated.hit_rate())
    )?;
    writeln!(out, "  {:22} {:>10} {:>10} {:>10}", "", "p50", "p95", "p99")?;
    for (name, percentiles) in waits(simulated) {
        let Percentiles { p50, p95, p99 } = percentiles;
        let [p50, p95, p99] = [p50, p95, p99].map(|seconds| match seconds {
            x if x < 1.0 => format!("{:.1} ms", 1e3 * x),
            x => format!("{x:.2} s"),
        });
        writeln!(out, "  {name:22} {p50:>10} {p95:>10} {p99:>10}")?;
    }
    Ok(())
}

fn waits(simulated: &Simulated) -> [(&'static str, Percentiles); 4] {
    [
        ("in the queue", simulated.queue_s),
        ("to the first token", simulated.first_token_s),
        ("from token to token", simulated.between_tokens_s),
        ("to the last token", simulated.whole_s),
    ]
}

fn chart(day: &Day) -> Chart {
    let n = day.parts.len() as f64;
    // Each part is a step of its own: both ends of it are drawn.
    let points = day.parts.iter().enumerate().flat_map(|(i, (_, instances))| {
        let hour = |i: usize| i as f64 * 24.0 / n;
        [(hour(i), *instances as f64), (hour(i + 1), *instances as f64)]
    });
    Chart {
        title: "Over the day".into(),
        x_label: "hour",
        y_label: "instances",
        series: vec![Series::new("instances", points.collect())],
        log: false,
        mark: None,
    }
}

fn json_of(found: &Found) -> Value {
    let Found { deployment, day, simulated } = found;
    let percentiles = |Percentiles { p50, p95, p99 }| json!({ "p50": p50, "p95": p95, "p99": p99 });
    let fleet = |fleet: &Fleet| {
        let pool = |pool: &plan::Pool| {
            json!({
                "instances": pool.instances,
                "whole_instances": pool.whole,
                "devices": pool.devices,
                "batch": pool.batch,
            })
        };
        json!({
            "prefill": fleet.prefill.as_ref().map(pool),
            "decode": pool(&fleet.decode),
            "usd_per_hour": fleet.usd_per_hour,
            "transfer_s": fleet.transfer_s,
            "transfer_bytes_per_s": fleet.transfer_bytes_per_s,
        })
    };
    let day = day.as_ref().map(|day| {
        let parts = day.parts.iter();
        let parts = parts.map(|(rate, n)| json!({ "requests_per_s": rate, "instances": n }));
        json!({
            "sustained_requests_per_s": day.sustained,
            "parts": parts.collect::<Vec<_>>(),
            "together": fleet(&day.together),
            "apart": fleet(&day.apart),
        })
    });
    json!({
        "model": deployment.model.name,
        "hardware": deployment.hardware.name,
        "devices": deployment.layout.devices(),
        "day": day,
        "simulated": {
            "requests": simulated.n_requests,
            "refused": simulated.n_refused,
            "steps": simulated.n_steps,
            "preemptions": simulated.n_preemptions,
            "duration_s": simulated.duration_s,
            "utilisation": simulated.utilisation(),
            "output_tok_per_s": simulated.output_per_s(),
            "cache_hit_rate": simulated.hit_rate(),
            "mean_rows": simulated.mean_rows,
            "queue_s": percentiles(simulated.queue_s),
            "first_token_s": percentiles(simulated.first_token_s),
            "between_tokens_s": percentiles(simulated.between_tokens_s),
            "whole_s": percentiles(simulated.whole_s),
        },
    })
}
