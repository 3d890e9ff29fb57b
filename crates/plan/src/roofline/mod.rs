//! The time of a step from what it computes and moves, and the roofs of a machine.
//!
//! ```text
//! phase   = max(FLOPs / (peak · reached), bytes / (bandwidth · reached))
//! step    = dense + experts + attention (one phase each) + communication + overhead
//! overlap : both halves of a batch compute and communicate in turn,
//!           2 · max(compute of a half, communication of a half) for the two
//! ```
//!
//! Figures are of one device; all devices of an instance do the same at the same time.

use spec::{RowShape, Work};

use crate::error::{positive, share};
use crate::{Error, Hardware, Layout, Model, Precision};

/// Streams and tokens beyond which nothing is searched.
const BATCH_MAX: u64 = 1 << 20;
/// Tokens of the longest prompt and context.
const CONTEXT_MAX: u64 = 1 << 30;

/// Compute and memory traffic that go on at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phase {
    pub compute_s: f64,
    pub memory_s: f64,
}

impl Phase {
    pub fn total_s(&self) -> f64 {
        self.compute_s.max(self.memory_s)
    }
}

/// What a step takes, and of what it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTime {
    /// Matrix products of all weights but routed experts.
    pub dense: Phase,
    pub experts: Phase,
    pub attention: Phase,
    pub communication_s: f64,
    /// Of the communication, what hides behind compute.
    pub hidden_s: f64,
    pub overhead_s: f64,
}

/// What bounds a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roof {
    DenseCompute,
    WeightBandwidth,
    ExpertCompute,
    ExpertBandwidth,
    AttentionCompute,
    CacheBandwidth,
    Communication,
    Overhead,
}

impl Roof {
    pub fn name(self) -> &'static str {
        match self {
            Roof::DenseCompute => "compute",
            Roof::WeightBandwidth => "bandwidth of weights",
            Roof::ExpertCompute => "compute of experts",
            Roof::ExpertBandwidth => "bandwidth of experts",
            Roof::AttentionCompute => "compute of attention",
            Roof::CacheBandwidth => "bandwidth of the cache",
            Roof::Communication => "communication",
            Roof::Overhead => "overhead",
        }
    }
}

impl StepTime {
    pub fn compute_s(&self) -> f64 {
        self.dense.total_s() + self.experts.total_s() + self.attention.total_s()
    }

    pub fn total_s(&self) -> f64 {
        self.compute_s() + self.communication_s - self.hidden_s + self.overhead_s
    }

    /// The largest part of the step; communication that compute hides behind is all of it.
    pub fn roof(&self) -> Roof {
        let hides_all = self.hidden_s > 0.0 && self.communication_s > self.hidden_s;
        let communication_s = if hides_all { self.communication_s } else { 0.0 };
        let communication_s = communication_s.max(self.communication_s - self.hidden_s);
        let of = |phase: Phase, compute, memory| match phase.compute_s >= phase.memory_s {
            true => (compute, phase.compute_s),
            false => (memory, phase.memory_s),
        };
        let parts = [
            of(self.dense, Roof::DenseCompute, Roof::WeightBandwidth),
            of(self.experts, Roof::ExpertCompute, Roof::ExpertBandwidth),
            of(self.attention, Roof::AttentionCompute, Roof::CacheBandwidth),
            (Roof::Communication, communication_s),
            (Roof::Overhead, self.overhead_s),
        ];
        parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a step has parts").0
    }
}

/// The roofs of one device at their highest: what nothing exceeds. The server measures its steps
/// against them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    pub bytes_per_s: f64,
    /// FLOPs a second of products with weights.
    pub linear_flops: f64,
    pub attention_flops: f64,
}

impl Peaks {
    /// The least time of a step's work. Nothing is communicated, and nothing is overhead.
    pub fn time(&self, work: &Work) -> StepTime {
        let phase = |flops: f64, peak: f64, bytes: f64| Phase {
            compute_s: flops / peak,
            memory_s: bytes / self.bytes_per_s,
        };
        StepTime {
            dense: phase(work.dense_flops, self.linear_flops, work.dense_bytes),
            experts: phase(work.expert_flops, self.linear_flops, work.expert_bytes),
            attention: phase(work.attention_flops, self.attention_flops, work.kv_bytes),
            ..StepTime::default()
        }
    }
}

/// A model on devices.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub model: Model,
    pub hardware: Hardware,
    pub layout: Layout,
    /// Of a device's memory, the part that may be used.
    pub memory_share: f64,
    /// Tokens that a rank computes in one step at most.
    pub tokens_per_step: u64,
}

/// One instance decoding with `batch` streams a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decode {
    pub batch: u64,
    pub context: u64,
    pub step: StepTime,
    /// Of the whole instance.
    pub n_streams: u64,
    /// Of the whole instance.
    pub tok_per_s: f64,
    pub tok_per_s_stream: f64,
}

/// One instance computing prompts of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prefill {
    pub prompt: u64,
    /// Of one prompt alone on its rank.
    pub seconds: f64,
    /// Of the whole instance, tokens of the cache not counted.
    pub tok_per_s: f64,
    pub roof: Roof,
}

/// What lies in the memory of one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub usable_bytes: f64,
    pub weights_bytes: f64,
    pub scratch_bytes: f64,
    /// Of one token in the cache of every stage's group.
    pub kv_bytes_per_token: f64,
    /// Tokens that the rest of the memory caches for each group of streams; 0 where the weights
    /// alone do not fit.
    pub kv_tokens: u64,
}

impl Fit {
    /// Streams of `context` tokens that a group can have.
    pub fn streams(&self, context: u64) -> u64 {
        self.kv_tokens / context.max(1)
    }
}

impl Deployment {
    /// # Errors
    /// If the hardware cannot exist or the model cannot be laid out so.
    pub fn new(model: Model, hardware: Hardware, layout: Layout) -> Result<Deployment, Error> {
        let hardware = hardware.check()?;
        let layout = layout.check(&model)?;
        // A tenth is left to drivers and fragments, as vLLM's default does.
        Ok(Deployment { model, hardware, layout, memory_share: 0.9, tokens_per_step: 8192 })
    }

    /// The smallest layout of a power of two of devices on which weights and one stream of
    /// `context` tokens fit: cut by heads inside a node, in stages beyond, experts spread out.
    ///
    /// # Errors
    /// [`Error::FitsNowhere`] if none of up to `devices_max` devices does.
    pub fn smallest(
        model: &Model,
        hardware: &Hardware,
        tokens_per_step: u64,
        (context, devices_max): (u64, u64),
    ) -> Result<Deployment, Error> {
        let mut last = None;
        for n in std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|&n| n <= devices_max) {
            let layout = Layout::of_devices(model, hardware, n);
            let Ok(deployment) = Deployment::new(model.clone(), hardware.clone().check()?, layout)
            else {
                continue;
            };
            let deployment = deployment.with_tokens_per_step(tokens_per_step)?;
            if deployment.fit().streams(context) > 0 {
                return Ok(deployment);
            }
            last = Some(deployment);
        }
        match last {
            Some(deployment) => Err(deployment.nowhere(context)),
            None => {
                Err(Error::Layout { what: format!("no layout of up to {devices_max} devices") })
            }
        }
    }

    /// # Errors
    /// [`Error::FitsNowhere`] unless a stream of `context` tokens fits.
    pub fn require(self, context: u64) -> Result<Deployment, Error> {
        if self.fit().streams(context) > 0 { Ok(self) } else { Err(self.nowhere(context)) }
    }

    fn nowhere(&self, context: u64) -> Error {
        let fit = self.fit();
        let stream = fit.kv_bytes_per_token * context as f64;
        let n = self.layout.devices();
        Error::FitsNowhere {
            model: self.model.name.clone(),
            hardware: self.hardware.name.clone(),
            devices: n,
            context,
            usable_gb: n as f64 * fit.usable_bytes / 1e9,
            needed_gb: n as f64 * (fit.weights_bytes + fit.scratch_bytes + stream) / 1e9,
        }
    }

    pub fn with_memory_share(self, memory_share: f64) -> Result<Deployment, Error> {
        positive("memory share", memory_share)?;
        share("memory share", memory_share)?;
        Ok(Deployment { memory_share, ..self })
    }

    pub fn with_tokens_per_step(self, tokens_per_step: u64) -> Result<Deployment, Error> {
        positive("tokens a step", tokens_per_step as f64)?;
        Ok(Deployment { tokens_per_step, ..self })
    }

    pub fn fit(&self) -> Fit {
        let traffic = &self.model.rates.traffic;
        let dense = (traffic.always + traffic.rows) as f64 * self.layout.dense_share();
        let experts = traffic.experts.iter().map(|layer| layer.bytes as f64).sum::<f64>();
        let experts = experts * self.layout.expert_share(self.model.n_experts());
        let n_logits = self.tokens_per_step.min(256);
        let scratch_bytes = self.model.scratch_bytes(self.tokens_per_step, n_logits);
        let scratch_bytes = scratch_bytes / self.layout.tensor as f64;
        let weights_bytes = dense + experts;
        let usable_bytes = self.hardware.memory_bytes * self.memory_share;
        let kv = traffic.kv as f64 * self.layout.kv_share(&self.model);
        let free = (usable_bytes - weights_bytes - scratch_bytes).max(0.0);
        let kv_tokens = (free / kv) as u64;
        Fit { usable_bytes, weights_bytes, scratch_bytes, kv_bytes_per_token: kv, kv_tokens }
    }

    /// The time of a step with these rows on each rank. In a pipeline it is the time through all
    /// stages, and as many steps are under way as there are stages.
    pub fn step(&self, rows: impl IntoIterator<Item = RowShape>) -> StepTime {
        self.time(&self.model.rates.work(rows))
    }

    fn time(&self, work: &Work) -> StepTime {
        if work.n_tokens == 0 {
            return StepTime::default();
        }
        let whole = self.parts(work, 1.0);
        let overhead_s = self.overhead_s(work);
        if !self.layout.overlap || work.n_rows < 2 || whole.communication_s == 0.0 {
            return StepTime { overhead_s, ..whole };
        }
        // Two halves read the weights twice: where that costs more than it hides, nobody does it.
        let half = self.parts(work, 0.5);
        let twice = |phase: Phase| Phase {
            compute_s: 2.0 * phase.compute_s,
            memory_s: 2.0 * phase.memory_s,
        };
        let halves = StepTime {
            dense: twice(half.dense),
            experts: twice(half.experts),
            attention: twice(half.attention),
            communication_s: 2.0 * half.communication_s,
            hidden_s: 2.0 * half.communication_s.min(half.compute_s()),
            overhead_s: 2.0 * overhead_s,
        };
        let whole = StepTime { overhead_s, ..whole };
        if halves.total_s() < whole.total_s() { halves } else { whole }
    }

    /// The phases and the communication of `part` of a step's rows, on one device but through all
    /// stages.
    fn parts(&self, work: &Work, part: f64) -> StepTime {
        let Layout { tensor, data, expert, imbalance, .. } = self.layout;
        let n_tokens = work.n_tokens as f64 * part;
        let tensor = tensor as f64;
        let (hardware, traffic) = (&self.hardware, &self.model.rates.traffic);
        let peak = hardware.flops_at(self.model.precision).1;
        let bandwidth = hardware.bytes_per_s * hardware.reached.bandwidth;
        let linear = |flops: f64, tokens: f64| flops / (peak * hardware.reached.linear_at(tokens));
        let dense = Phase {
            compute_s: linear(work.dense_flops * part / tensor, n_tokens),
            memory_s: work.dense_bytes / tensor / bandwidth,
        };
        // With experts spread, those of one device see the tokens of all ranks.
        let seen = if expert > 1 { n_tokens * data as f64 } else { n_tokens };
        let seen_whole = (seen.round() as u64).max(1);
        let touched = traffic.weights(seen_whole) - traffic.always as f64;
        let all: f64 = traffic.experts.iter().map(|layer| layer.bytes as f64).sum();
        let n_experts = self.model.n_experts().max(1) as f64;
        let chosen = traffic.experts.first().map_or(0, |layer| layer.n_chosen) as f64;
        let n_touched = n_experts * touched / all.max(1.0);
        let per_expert = seen * chosen / n_touched.max(1.0);
        let held = self.layout.expert_share(self.model.n_experts()) * self.layout.pipeline as f64;
        let experts = Phase {
            compute_s: linear(work.expert_flops * part / tensor * imbalance, per_expert.max(1.0)),
            memory_s: touched * held / bandwidth,
        };
        let attention_peak = hardware.flops_at(self.model.precision.max(Precision::Bf16)).1;
        let kv_share = self.layout.kv_share(&self.model);
        let attention = Phase {
            compute_s: work.attention_flops * part
                / tensor
                / (attention_peak * hardware.reached.attention),
            memory_s: work.kv_bytes * part * kv_share
                / (hardware.bytes_per_s * hardware.reached.cache),
        };
        let communication_s = self.layout.communication_s(&self.model, hardware, n_tokens);
        StepTime { dense, experts, attention, communication_s, ..StepTime::default() }
    }

    fn overhead_s(&self, work: &Work) -> f64 {
        let overhead = self.hardware.overhead;
        let n_layers = self.model.spec.layers.len() as f64;
        let n_logits = work.n_logits as f64 * self.model.spec.vocab as f64;
        overhead.step_s + n_layers * overhead.layer_s + n_logits * overhead.logit_s
    }

    /// Decoding with `batch` streams a rank and stage, each with `context` tokens in its cache,
    /// the newest included.
    pub fn decode(&self, batch: u64, context: u64) -> Decode {
        assert!((1..=BATCH_MAX).contains(&batch), "a batch of {batch}");
        let context = context.clamp(1, CONTEXT_MAX);
        let row = RowShape { from: context - 1, n_tokens: 1, n_logits: 1 };
        let step = self.time(&self.model.rates.work(std::iter::repeat_n(row, batch as usize)));
        let n_streams = batch * self.layout.groups();
        let tok_per_s_stream = 1.0 / step.total_s();
        Decode {
            batch,
            context,
            step,
            n_streams,
            tok_per_s: n_streams as f64 * tok_per_s_stream,
            tok_per_s_stream,
        }
    }

    /// Computing prompts of `prompt` tokens of which the first `cached` are in the cache, in steps
    /// of [`Deployment::tokens_per_step`]; prompts that are shorter share a step.
    pub fn prefill(&self, prompt: u64, cached: u64) -> Prefill {
        let prompt = prompt.clamp(1, CONTEXT_MAX);
        // The last token's logits are always wanted.
        let mut from = cached.min(prompt - 1);
        let n_computed = prompt - from;
        let together = (self.tokens_per_step / n_computed).max(1);
        let (mut seconds, mut longest) = (0.0, (0.0, Roof::Overhead));
        while from < prompt {
            let n_tokens = (prompt - from).min(self.tokens_per_step);
            let n_logits = u64::from(from + n_tokens == prompt);
            let row = RowShape { from, n_tokens, n_logits };
            let step = self.step(std::iter::repeat_n(row, together as usize));
            seconds += step.total_s();
            if step.total_s() > longest.0 {
                longest = (step.total_s(), step.roof());
            }
            from += n_tokens;
        }
        let n_at_once = (together * self.layout.groups()) as f64;
        let tok_per_s = n_at_once * n_computed as f64 / seconds;
        let alone = if together == 1 { seconds } else { self.alone_s(prompt, cached) };
        Prefill { prompt, seconds: alone, tok_per_s, roof: longest.1 }
    }

    fn alone_s(&self, prompt: u64, cached: u64) -> f64 {
        let from = cached.min(prompt - 1);
        self.step([RowShape { from, n_tokens: prompt - from, n_logits: 1 }]).total_s()
    }

    /// The batch from which on the products of weights are bound by compute; `None` if it lies
    /// beyond a million.
    pub fn knee(&self, context: u64) -> Option<u64> {
        smallest(BATCH_MAX, |batch| {
            let step = self.decode(batch, context).step;
            let compute_s = step.dense.compute_s + step.experts.compute_s;
            compute_s >= step.dense.memory_s + step.experts.memory_s
        })
    }

    /// The largest batch whose step takes `target_s` at most and whose caches fit; `None` if one
    /// stream takes longer or does not fit.
    pub fn best_batch(&self, context: u64, target_s: f64) -> Option<u64> {
        let max = self.fit().streams(context).min(BATCH_MAX);
        let too_slow = |batch| self.decode(batch, context).step.total_s() > target_s;
        match smallest(max, too_slow) {
            None => Some(max).filter(|&max| max > 0),
            Some(1) => None,
            Some(batch) => Some(batch - 1),
        }
    }

    /// Of one instance.
    pub fn usd_per_hour(&self) -> f64 {
        self.layout.devices() as f64 * self.hardware.usd_per_hour
    }
}

/// The smallest of `1..=max` for which `holds`, which once true stays true.
fn smallest(max: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let mut high = 1;
    while high < max && !holds(high) {
        high = (2 * high).min(max);
    }
    if max == 0 || !holds(high) {
        return None;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if holds(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

impl Layout {
    /// The layout of `n` devices where nobody asks for one: inside a node cut by heads, beyond in
    /// stages of nodes; with experts these are spread and every device attends for itself, if they
    /// divide.
    pub fn of_devices(model: &Model, hardware: &Hardware, n: u64) -> Layout {
        if n > 1 && model.is_sparse() && model.n_experts().is_multiple_of(n) {
            return Layout::wide(n, 0);
        }
        let node = u64::from(hardware.devices_per_node);
        let tensor = n.min(node);
        Layout { tensor, pipeline: n.div_ceil(tensor), ..Layout::SINGLE }
    }
}

#[cfg(test)]
mod tests;
