//! The real scheduler and cache under a made-up clock.
//!
//! Everything is `schedule`'s: admission, budgets, pages, prefixes, preemption. Invented are the
//! clock, which advances by the price of a step, and the tokens, which are the same wherever two
//! requests begin with the same known text and different elsewhere.

use std::collections::BTreeMap;

use schedule::{
    Admission, Arrival, ClientId, Limits, Micros, Outcome, Priority, Row, Scheduler, SequenceId,
    Statistics, Step,
};
use spec::RowShape;

use crate::error::positive;
use crate::{Deployment, Error, REQUESTS_MAX, Request, Tokens, Workload, random, together};

/// Tokens that one simulation may generate and compute.
pub const TOKENS_MAX: u64 = 1 << 28;
/// How near the sustained rate is looked for.
const RATE_PRECISION: f64 = 0.02;
/// Requests of one look at a rate.
const PROBE_MIN: f64 = 20.0;
const PROBE_MAX: f64 = 20_000.0;

/// One group of a deployment's streams, and what it may not exceed.
#[derive(Clone, Debug)]
pub struct Simulation {
    pub deployment: Deployment,
    pub limits: Limits,
}

impl Simulation {
    /// The limits that an engine on this deployment would have: as many pages as fit.
    ///
    /// # Errors
    /// [`Error::FitsNowhere`] if not even one sequence of `context_max` tokens fits.
    pub fn new(
        deployment: Deployment,
        page_len: usize,
        sequences_max: usize,
        context_max: usize,
    ) -> Result<Simulation, Error> {
        positive("page_len", page_len as f64)?;
        positive("sequences_max", sequences_max as f64)?;
        let deployment = deployment.require(context_max as u64)?;
        let pages = deployment.fit().kv_tokens / page_len as u64;
        let limits = Limits {
            tokens_per_step: (deployment.tokens_per_step as usize).max(sequences_max),
            logits_per_step: usize::MAX,
            sequences_max,
            // More than all sequences together could fill are never used.
            pages_max: (pages as usize).min(u32::MAX as usize),
            page_len,
            context_max,
            queue_max: REQUESTS_MAX as usize,
            queue_tokens_max: (TOKENS_MAX as usize).max(context_max),
            warm_max: 1,
            overdue_after: Micros(2_000_000),
            admission: Admission::Optimistic,
        };
        Ok(Simulation { deployment, limits })
    }

    /// Seconds of a step.
    pub fn price(&self, step: &Step) -> f64 {
        let shape = |row: &Row| RowShape {
            from: row.from as u64,
            n_tokens: row.n_tokens as u64,
            n_logits: row.wants_logits as u64,
        };
        self.deployment.step(step.rows.iter().map(shape)).total_s()
    }

    /// Runs `requests`, in the order of their arrival, to their end.
    ///
    /// # Errors
    /// As [`simulate`].
    pub fn run(&self, requests: &[Request]) -> Result<Simulated, Error> {
        simulate(requests, self.limits, &|step| self.price(step), &mut |_, _, _| {})
    }
}

/// Half, 95 and 99 of a hundred are at most so; seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Percentiles {
    /// By the nearest rank. Zero of nothing.
    fn of(values: &mut [f32]) -> Percentiles {
        values.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).map_or(0.0, |&value| f64::from(value))
        };
        Percentiles { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulated {
    pub n_requests: u64,
    /// Too long for the limits, or the queue was full.
    pub n_refused: u64,
    pub n_steps: u64,
    pub n_preemptions: u64,
    /// From the first arrival to the last token.
    pub duration_s: f64,
    /// Of it, in steps.
    pub busy_s: f64,
    /// From arrival to the first row.
    pub queue_s: Percentiles,
    /// From arrival to the first token.
    pub first_token_s: Percentiles,
    /// Between tokens of an answer.
    pub between_tokens_s: Percentiles,
    /// From arrival to the last token.
    pub whole_s: Percentiles,
    /// Tokens that were served: computed once, cached, generated.
    pub tokens: Tokens,
    /// Rows of a step, on average.
    pub mean_rows: f64,
}

impl Simulated {
    pub fn utilisation(&self) -> f64 {
        if self.duration_s > 0.0 { self.busy_s / self.duration_s } else { 0.0 }
    }

    pub fn output_per_s(&self) -> f64 {
        if self.duration_s > 0.0 { self.tokens.output / self.duration_s } else { 0.0 }
    }

    pub fn hit_rate(&self) -> f64 {
        let all = self.tokens.input + self.tokens.cached;
        if all > 0.0 { self.tokens.cached / all } else { 0.0 }
    }
}

/// A request on its way.
struct Running {
    index: usize,
    n_output: u64,
    started: bool,
    last_token_s: f64,
}

/// What is measured, in seconds. (requests), and between tokens (tokens)
#[derive(Default)]
struct Waits {
    queue: Vec<f32>,
    first: Vec<f32>,
    between: Vec<f32>,
    whole: Vec<f32>,
}

/// Runs `requests`, in the order of their arrival, through a scheduler with `limits`, each step
/// taking what `price` says, in seconds. `observe` is told of every step with rows, when it began
/// and where scheduler and cache stand after it.
///
/// # Errors
/// If the limits contradict each other, the requests are more than can be simulated, or a price is
/// no time.
pub fn simulate(
    requests: &[Request],
    limits: Limits,
    price: &dyn Fn(&Step) -> f64,
    observe: &mut dyn FnMut(Micros, &Step, Statistics),
) -> Result<Simulated, Error> {
    let n_tokens = requests.iter().map(|request| request.prompt + request.output()).sum::<u64>();
    if n_tokens > TOKENS_MAX {
        return Err(Error::TooMany { what: "tokens", found: n_tokens, max: TOKENS_MAX });
    }
    let mut scheduler = Scheduler::new(limits)?;
    let mut cache = scheduler.new_cache();
    let mut step = Step::default();
    let mut running: BTreeMap<SequenceId, Running> = BTreeMap::new();
    let mut result = Simulated { n_requests: requests.len() as u64, ..Simulated::default() };
    let mut waits = Waits::default();
    let (mut next, mut n_rows) = (0, 0);
    let begin_s = requests.first().map_or(0.0, |request| request.at_s);
    let mut now_s = begin_s;
    loop {
        while let Some(request) = requests.get(next).filter(|request| request.at_s <= now_s) {
            match scheduler.submit(arrival(next, request), micros(now_s)) {
                Ok(id) => {
                    let last_token_s = request.at_s;
                    let index = next;
                    running
                        .insert(id, Running { index, n_output: 0, started: false, last_token_s });
                }
                Err(_) => result.n_refused += 1,
            }
            next += 1;
        }
        scheduler.plan(&mut cache, micros(now_s), &mut step);
        if step.rows.is_empty() {
            assert!(running.is_empty(), "sequences are left and none advances");
            let Some(request) = requests.get(next) else { break };
            now_s = request.at_s;
            continue;
        }
        let began = micros(now_s);
        let seconds = positive("the time of a step", price(&step))?;
        start(&scheduler, &step, requests, &mut running, &mut waits, (now_s, &mut result));
        now_s += seconds;
        result.busy_s += seconds;
        result.n_steps += 1;
        n_rows += step.rows.len() as u64;
        let appended = answer(&scheduler, &step, requests, &mut running, &mut waits, now_s);
        let outcomes: Vec<Outcome<'_>> = appended
            .iter()
            .map(|(token, finished)| Outcome {
                n_rejected: 0,
                appended: token.as_slice(),
                finished: *finished,
            })
            .collect();
        for ended in scheduler.commit(&step, &outcomes, &mut cache) {
            let gone = running.remove(&ended.sequence).expect("who ends was running");
            waits.whole.push((now_s - requests[gone.index].at_s) as f32);
            result.tokens.output += gone.n_output as f64;
        }
        observe(began, &step, scheduler.statistics(&cache));
    }
    result.n_preemptions = scheduler.statistics(&cache).n_preemptions;
    result.duration_s = now_s - begin_s;
    result.mean_rows = n_rows as f64 / result.n_steps.max(1) as f64;
    result.queue_s = Percentiles::of(&mut waits.queue);
    result.first_token_s = Percentiles::of(&mut waits.first);
    result.between_tokens_s = Percentiles::of(&mut waits.between);
    result.whole_s = Percentiles::of(&mut waits.whole);
    Ok(result)
}

/// Notes whose first row this is, and what of their prompts was cached.
fn start(
    scheduler: &Scheduler,
    step: &Step,
    requests: &[Request],
    running: &mut BTreeMap<SequenceId, Running>,
    waits: &mut Waits,
    (now_s, result): (f64, &mut Simulated),
) {
    for id in &step.admitted {
        let sequence = running.get_mut(id).expect("who is admitted was submitted");
        if sequence.started {
            continue; // Preempted once, and back.
        }
        sequence.started = true;
        let request = &requests[sequence.index];
        waits.queue.push((now_s - request.at_s) as f32);
        let n_cached = scheduler.sequence(*id).map_or(0, schedule::Sequence::n_cached) as f64;
        result.tokens.cached += n_cached;
        result.tokens.input += request.prompt as f64 - n_cached;
    }
}

/// The token that each row yields, if it has caught up, and whether that is its last.
fn answer(
    scheduler: &Scheduler,
    step: &Step,
    requests: &[Request],
    running: &mut BTreeMap<SequenceId, Running>,
    waits: &mut Waits,
    now_s: f64,
) -> Vec<(Option<u32>, bool)> {
    let one = |row: &Row| {
        let known = scheduler.sequence(row.sequence).expect("a row has a sequence").known().len();
        if row.from + row.n_tokens < known {
            return (None, false);
        }
        let sequence = running.get_mut(&row.sequence).expect("a row has a request");
        let request = &requests[sequence.index];
        let wait = (now_s - sequence.last_token_s) as f32;
        match sequence.n_output {
            0 => waits.first.push(wait),
            _ => waits.between.push(wait),
        }
        sequence.last_token_s = now_s;
        sequence.n_output += 1;
        let token = token_at(sequence.index as u64, request, known as u64);
        (Some(token), sequence.n_output == request.output())
    };
    step.rows.iter().map(one).collect()
}

fn micros(seconds: f64) -> Micros {
    Micros((seconds * 1e6).round() as u64)
}

fn arrival(index: usize, request: &Request) -> Arrival {
    let tokens = (0..request.prompt).map(|at| token_at(index as u64, request, at));
    Arrival {
        tokens: tokens.collect(),
        len_max: (request.prompt + request.output()) as usize,
        logits_from: None,
        salt: 0,
        priority: Priority::Normal,
        client: ClientId(index as u64),
        expires: None,
    }
}

/// The token of a request at a position: that of its known text, or its own.
fn token_at(index: u64, request: &Request, at: u64) -> u32 {
    let drawn = match request.prefix {
        Some((id, len)) if at < len => random::bits(id, at, 1),
        _ => random::bits(index, at, 0),
    };
    (drawn >> 32) as u32
}

/// The highest even rate, in requests a second, at which one group of streams keeps 95 of a
/// hundred first tokens within `first_s` and as many of the others within `between_s`, over three
/// times as long as a request may take at most. `None` if even one request alone is too slow.
///
/// # Errors
/// As [`simulate`].
pub fn sustained_rate(
    simulation: &Simulation,
    workload: &Workload,
    (first_s, between_s): (f64, f64),
) -> Result<Option<f64>, Error> {
    positive("seconds to the first token", first_s)?;
    let longest_s = first_s + workload.mean_output() * positive("seconds a token", between_s)?;
    let holds = |rate: f64| -> Result<bool, Error> {
        let duration_s = (3.0 * longest_s).max(PROBE_MIN / rate).min(PROBE_MAX / rate);
        let ran = simulation.run(&workload.even(rate).requests(duration_s)?)?;
        let in_time = ran.first_token_s.p95 <= first_s && ran.between_tokens_s.p95 <= between_s;
        Ok(in_time && ran.n_refused == 0)
    };
    // Where the roofline alone would have it, and from a request at a time to twice of that.
    let one = workload.even(1.0).demand(0.0, between_s);
    let Ok(fleet) = together(&one, &simulation.deployment) else { return Ok(None) };
    let groups = simulation.deployment.layout.groups() as f64;
    let guess = 1.0 / (fleet.decode.instances * groups);
    let (mut low, mut high) = (guess / 8.0, 2.0 * guess);
    if !holds(low)? {
        (low, high) = (0.1 / longest_s, low);
        if low >= high || !holds(low)? {
            return Ok(None);
        }
    }
    while holds(high)? {
        (low, high) = (high, 2.0 * high);
    }
    while high / low > 1.0 + RATE_PRECISION {
        let middle = (low * high).sqrt();
        if holds(middle)? { low = middle } else { high = middle }
    }
    Ok(Some(low))
}

/// Instances for each part of the day where one serves `sustained` requests a second: (requests a
/// second, instances).
pub fn nodes_over_the_day(workload: &Workload, sustained: f64) -> Vec<(f64, u64)> {
    assert!(sustained > 0.0, "an instance that serves nothing");
    workload.rates().into_iter().map(|rate| (rate, (rate / sustained).ceil() as u64)).collect()
}

#[cfg(test)]
mod tests;
