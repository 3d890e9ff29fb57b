//! What the engine does now: looked at between its steps, never waited for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Engine, ExpertStatistics, Part, Spent, Statistics};
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::drain::Phase;
use crate::figures::Bill;
use crate::state::{Server, Shared};

/// How often somebody looks, and how long rates look back.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const HISTORY: usize = 6;
/// How long a look may take before what was seen last will do: a step may be long.
const PATIENCE: Duration = Duration::from_millis(500);

/// The engine at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) at: Instant,
    pub(crate) statistics: Statistics,
    pub(crate) spent: Spent,
    /// How often each expert of each sparse layer was chosen.
    pub(crate) experts: Vec<Vec<u64>>,
    pub(crate) storage: Option<ExpertStatistics>,
}

/// The last sights.
#[derive(Debug)]
pub(crate) struct Observer {
    seen: Mutex<VecDeque<Arc<Sight>>>,
    began: Instant,
}

impl Observer {
    pub(crate) fn new() -> Observer {
        Observer { seen: Mutex::default(), began: Instant::now() }
    }

    /// The engine as it is, or as it was last if it is in a long step.
    pub(crate) async fn look(&self, engine: &Engine) -> Option<Arc<Sight>> {
        let (sender, receiver) = oneshot::channel();
        engine.look(move |core| {
            let layers = 0..core.spec().layers.len();
            let experts = layers.map(|layer| core.expert_counts(layer).to_vec());
            let sight = Sight {
                at: Instant::now(),
                statistics: core.statistics(),
                spent: core.spent(),
                experts: experts.filter(|layer| !layer.is_empty()).collect(),
                storage: core.expert_statistics(),
            };
            // Whoever looked may have gone.
            let _ = sender.send(sight);
        });
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(sight)) => {
                let sight = Arc::new(sight);
                self.keep(sight.clone());
                Some(sight)
            }
            _ => self.lock().back().cloned(),
        }
    }

    /// Keeps one sight a second for rates, and always the newest.
    fn keep(&self, sight: Arc<Sight>) {
        let mut seen = self.lock();
        if seen.back().is_some_and(|last| last.at >= sight.at) {
            return;
        }
        if let [.., before, last] = seen.make_contiguous()
            && before.at + LOOK_EVERY > last.at
        {
            seen.pop_back();
        }
        seen.push_back(sight);
        if seen.len() > HISTORY {
            seen.pop_front();
        }
    }

    /// How long ago the engine was last seen between two steps.
    pub(crate) fn age(&self) -> Duration {
        self.lock().back().map_or(self.began, |sight| sight.at).elapsed()
    }

    /// The oldest and the newest sight that is kept.
    fn span(&self) -> Option<(Arc<Sight>, Arc<Sight>)> {
        let seen = self.lock();
        Some((seen.front()?.clone(), seen.back()?.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Sight>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks again and again until the server ends. Without its engine it has no other use.
pub(crate) async fn watch(server: Shared) {
    loop {
        server.observer.look(&server.engine).await;
        if !server.engine.is_alive() {
            (server.log)("the engine has failed: all who wait are told so, and the server ends");
            tokio::time::sleep(server.limits.last_words).await;
            server.drain.advance(Phase::Aborting);
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = server.drain.reached(Phase::Aborting) => return,
        }
    }
}

/// What the page's panel shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Live {
    model: String,
    uptime_s: f64,
    /// Sequences that are computed, that wait, and requests that are not over.
    running: usize,
    waiting: usize,
    requests: usize,
    /// Rows of a step, on average over the last seconds.
    batch: f64,
    /// Share of the cache's pages that sequences hold, and that are kept for later.
    kv_used: f64,
    kv_cached: f64,
    /// Share of the tokens of prompts that were in the cache, since the start.
    prefix_hits: f64,
    /// Tokens a second over the last seconds.
    input_tok_per_s: f64,
    output_tok_per_s: f64,
    input_tokens: u64,
    output_tokens: u64,
    /// Share of the time, over the last seconds, in which steps were computed.
    busy: f64,
    prompts: Roof,
    answers: Roof,
    /// How often each expert of each sparse layer was chosen.
    experts: Vec<Vec<u64>>,
    money: MoneyNow,
}

/// How near to the machine's measured peak prompts or answers came over the last seconds.
#[derive(Debug, Serialize, ToSchema)]
struct Roof {
    /// None where nothing was computed.
    share_of_peak: Option<f64>,
    flops_per_s: f64,
    bytes_per_s: f64,
    /// Of the bytes: weights all tokens read, experts, the cache.
    dense_bytes: f64,
    expert_bytes: f64,
    kv_bytes: f64,
}

/// US dollars since the start.
#[derive(Debug, Serialize, ToSchema)]
struct MoneyNow {
    /// Of the machine, idle or not.
    cost: Option<f64>,
    revenue: Option<f64>,
    margin: Option<f64>,
    /// Of a million tokens at the rates of the last seconds.
    cost_per_million_output: Option<f64>,
}

impl Live {
    pub(crate) async fn of(server: &Server) -> Option<Live> {
        server.observer.look(&server.engine).await;
        let (old, new) = server.observer.span()?;
        let seconds = new.at.saturating_duration_since(old.at).as_secs_f64().max(1e-3);
        let statistics = &new.statistics;
        let pages = statistics.n_pages_used + statistics.n_pages_cached + statistics.n_pages_free;
        let share = |n: usize| n as f64 / pages.max(1) as f64;
        let (before, after) = (&old.spent, &new.spent);
        let steps = after.n_steps - before.n_steps;
        let tokens = |spent: &Spent| (spent.prompts.work.n_tokens, spent.answers.work.n_tokens);
        let input = (tokens(after).0 - tokens(before).0) as f64 / seconds;
        let output = server.metrics.output_tokens();
        let output_rate = (tokens(after).1 - tokens(before).1) as f64 / seconds;
        let busy = after.prompts.seconds + after.answers.seconds
            - before.prompts.seconds
            - before.answers.seconds;
        let bill = server.bill_so_far();
        let per_second = server.money.cost_of(1.0);
        Some(Live {
            model: server.name().into(),
            uptime_s: server.started.elapsed().as_secs_f64(),
            running: statistics.n_running,
            waiting: statistics.n_queued,
            requests: server.admission.requests(),
            batch: (after.n_rows - before.n_rows) as f64 / steps.max(1) as f64,
            kv_used: share(statistics.n_pages_used),
            kv_cached: share(statistics.n_pages_cached),
            prefix_hits: statistics.n_hit_tokens as f64 / statistics.n_lookup_tokens.max(1) as f64,
            input_tok_per_s: input,
            output_tok_per_s: output_rate,
            input_tokens: server.metrics.input_tokens(),
            output_tokens: output,
            busy: (busy / seconds).min(1.0),
            prompts: Roof::between(&before.prompts, &after.prompts, seconds),
            answers: Roof::between(&before.answers, &after.answers, seconds),
            experts: new.experts.clone(),
            money: MoneyNow {
                cost: bill.cost,
                revenue: bill.revenue,
                margin: bill.margin(),
                cost_per_million_output: per_second
                    .filter(|_| output_rate > 0.0)
                    .map(|usd| usd / output_rate * 1e6),
            },
        })
    }
}

impl Roof {
    fn between(before: &Part, after: &Part, seconds: f64) -> Roof {
        let own = Part {
            seconds: after.seconds - before.seconds,
            peak_s: after.peak_s - before.peak_s,
            work: after.work,
        };
        let (old, new) = (&before.work, &after.work);
        Roof {
            share_of_peak: own.share(),
            flops_per_s: (new.flops() - old.flops()) / seconds,
            bytes_per_s: (new.bytes() - old.bytes()) / seconds,
            dense_bytes: new.dense_bytes - old.dense_bytes,
            expert_bytes: new.expert_bytes - old.expert_bytes,
            kv_bytes: new.kv_bytes - old.kv_bytes,
        }
    }
}

impl Server {
    /// The machine's cost since the start, idle or not, and what answers earned.
    pub(crate) fn bill_so_far(&self) -> Bill {
        let cost = self.money.cost_of(self.started.elapsed().as_secs_f64());
        Bill { cost, revenue: self.money.prices.map(|_| self.metrics.revenue()) }
    }
}
