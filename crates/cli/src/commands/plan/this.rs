//! This machine as hardware: its roofs, and which share of them products of a model's widths
//! reach.
//!
//! The probe is made up: a few layers as wide as the model's, random weights of its types, a head
//! in proportion. What it cannot know is what is then predicted: depth, routing, batch and context
//! together.

use std::collections::BTreeMap;

use model::{KvType, PAGE};
use par::Pool;
use plan::{Hardware, Link, Model, Overhead, Peaks, Precision, Reached};
use simd::Best;

use super::models::Types;
use super::probe::{Probe, rows};
use crate::roofs::Roofs;

/// Rows of the steps that a share is measured at; beyond the first few, tokens of a prompt.
const STREAMS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const PROMPTS: [usize; 4] = [64, 128, 256, 512];
/// Where attention is measured: streams, tokens in the cache, tokens of a prompt.
const ATTENTION: (usize, usize, usize) = (4, 1024, 256);
/// Layers of the two smallest models, whose difference is what a layer costs.
const EMPTY_LAYERS: (usize, usize) = (4, 36);

/// Measures this machine for a model whose matrices are of `types`.
pub(super) fn measure(model: &Model, types: Types) -> anyhow::Result<Hardware> {
    let kv_type = kv_type(model);
    let (best, pool) = (Best::detect(), Pool::new(Pool::threads_available()));
    let Peaks { bytes_per_s, linear_flops: peak, attention_flops: float } =
        Roofs::measure(best, &pool).of(types.most);
    let overhead = overhead(kv_type)?;
    let mut probe = Probe::like(&model.spec, types, kv_type, (STREAMS[5], ATTENTION.1 + PAGE))?;
    let mut reached = attention(&mut probe, bytes_per_s, float)?;
    reached.linear = linear(&mut probe, peak, &overhead, &reached, float)?;
    let rates = probe.spec().rates(probe.traffic());
    let one = probe.seconds(1, 0, 1)? - fixed(&overhead, &probe);
    let share = rates.work(rows(1, 0, 1)).weights_bytes() / one / bytes_per_s;
    reached.bandwidth = share.clamp(0.01, 1.0);
    let memory = engine::memory::available().unwrap_or(u64::MAX) as f64;
    let link = Link { bytes_per_s, latency_s: 0.0 };
    let hardware = Hardware {
        name: "this".into(),
        flops: flops(model, peak, float),
        memory_bytes: memory,
        bytes_per_s,
        devices_per_node: 1,
        inside: link,
        between: Link { bytes_per_s: 1.25e8, latency_s: 1e-4 },
        usd_per_hour: 0.0,
        reached,
        overhead,
        source: format!(
            "measured: {} threads, {}, {}",
            pool.threads(),
            best.name(),
            types.most.name()
        ),
        price_source: "none: say --usd-per-hour".into(),
    };
    Ok(hardware.check()?)
}

fn kv_type(model: &Model) -> KvType {
    match model.rates.traffic.kv / model.spec.cost().kv_elements().max(1) {
        4 => KvType::F32,
        _ => KvType::F16,
    }
}

/// Products run at the peak of their type; attention at that of floats.
fn flops(model: &Model, peak: f64, float: f64) -> BTreeMap<Precision, f64> {
    BTreeMap::from([(model.precision.min(Precision::Fp8), peak), (Precision::Fp32, float)])
}

fn overhead(kv_type: KvType) -> anyhow::Result<Overhead> {
    let (few, many) = EMPTY_LAYERS;
    let few_s = Probe::empty(few, kv_type)?.seconds(1, 0, 1)?;
    let many_s = Probe::empty(many, kv_type)?.seconds(1, 0, 1)?;
    let layer_s = ((many_s - few_s) / (many - few) as f64).max(0.0);
    let step_s = (few_s - few as f64 * layer_s).max(0.0);
    Ok(Overhead { step_s, layer_s, logit_s: 0.0 })
}

fn fixed(overhead: &Overhead, probe: &Probe) -> f64 {
    overhead.step_s + probe.spec().layers.len() as f64 * overhead.layer_s
}

/// The shares of attention: of answers by the bytes of the cache, of prompts by operations.
fn attention(probe: &mut Probe, bytes_per_s: f64, float: f64) -> anyhow::Result<Reached> {
    let (streams, context, n_tokens) = ATTENTION;
    let rates = probe.spec().rates(probe.traffic());
    let bytes = rates.work(rows(streams, context, 1)).kv_bytes;
    let answers = probe.seconds(streams, context, 1)? - probe.seconds(streams, 0, 1)?;
    let cache = (bytes / answers.max(1e-9) / bytes_per_s).clamp(0.01, 1.0);
    let far = rates.work(rows(1, context - n_tokens, n_tokens)).attention_flops;
    let near = rates.work(rows(1, 0, n_tokens)).attention_flops;
    let prompt = probe.seconds(1, context - n_tokens, n_tokens)? - probe.seconds(1, 0, n_tokens)?;
    let attention = ((far - near) / prompt.max(1e-9) / float).clamp(0.01, 1.0);
    Ok(Reached { linear: Vec::new(), attention, bandwidth: 1.0, cache })
}

/// The share of the peak that products reach, by tokens.
fn linear(
    probe: &mut Probe,
    peak: f64,
    overhead: &Overhead,
    reached: &Reached,
    float: f64,
) -> anyhow::Result<Vec<(f64, f64)>> {
    let rates = probe.spec().rates(probe.traffic());
    let streams = STREAMS.map(|n| (n, 1));
    let prompts = PROMPTS.map(|n| (1, n));
    let mut points = Vec::new();
    for (n_rows, n_tokens) in streams.into_iter().chain(prompts) {
        let work = rates.work(rows(n_rows, 0, n_tokens));
        let attention_s = work.attention_flops / (float * reached.attention);
        let seconds = probe.seconds(n_rows, 0, n_tokens)? - fixed(overhead, probe) - attention_s;
        let share = work.linear_flops() / seconds.max(1e-9) / peak;
        points.push(((n_rows * n_tokens) as f64, share.clamp(1e-4, 1.0)));
    }
    Ok(points)
}
