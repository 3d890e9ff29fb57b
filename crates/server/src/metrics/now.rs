//! What is read from server and engine when somebody asks for metrics.

use std::fmt;
use std::sync::atomic::AtomicU64;

use engine::{Guesses, PAGE, STEP_TOKENS, Spent};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::{FloatCounter, Labels};
use crate::live::Sight;
use crate::state::Server;

type Float = Gauge<f64, AtomicU64>;

/// Adds it to an empty registry.
pub(super) fn registry(registry: Registry, server: &Server, sight: Option<&Sight>) -> Registry {
    let mut now = Now(registry);
    now.server(server);
    if let Some(sight) = sight {
        now.engine(server, sight);
        now.cache(server, sight);
        now.work(server, sight);
        now.guesses(&sight.spent.guesses);
    }
    now.0
}

/// A histogram that somebody else has counted.
#[derive(Debug)]
struct Counted {
    sum: f64,
    /// Upper bounds, and how many were at most so large and larger than the bound before.
    buckets: Vec<(f64, u64)>,
}

impl Counted {
    /// Tokens of steps.
    fn steps(spent: &Spent) -> Counted {
        let bounds = STEP_TOKENS.iter().map(|&bound| bound as f64).chain([f64::INFINITY]);
        let tokens = spent.prompts.work.n_tokens + spent.answers.work.n_tokens;
        Counted { sum: tokens as f64, buckets: bounds.zip(spent.steps_by_tokens).collect() }
    }
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let n = self.buckets.iter().map(|bucket| bucket.1).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, n, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

struct Now(Registry);

impl Now {
    fn gauge(&mut self, names: &[&str], help: &str, value: f64) {
        for name in names {
            let gauge = Float::default();
            gauge.set(value);
            self.0.register(*name, help, gauge);
        }
    }

    fn counter(&mut self, names: &[&str], help: &str, value: f64) {
        for name in names {
            let counter = FloatCounter::default();
            counter.inc_by(value);
            self.0.register(*name, help, counter);
        }
    }

    /// One counter for each label.
    fn counters(&mut self, name: &str, help: &str, values: &[(Labels, f64)]) {
        let family = Family::<Labels, FloatCounter>::default();
        for (labels, value) in values {
            family.get_or_create(labels).inc_by(*value);
        }
        self.0.register(name, help, family);
    }

    fn server(&mut self, server: &Server) {
        let requests = server.admission.requests() as f64;
        self.gauge(&["ruminate_requests"], "Requests that are not over", requests);
        let rate = server.admission.rate();
        self.gauge(&["ruminate_drain_tokens_per_second"], "Tokens done lately", rate);
        if let Some(grammars) = &server.grammars {
            let bytes = grammars.statistics().cached_bytes as f64;
            self.gauge(&["ruminate_grammar_cache_bytes"], "Of compiled forms", bytes);
        }
        let bill = server.bill_so_far();
        if let Some(cost) = bill.cost {
            self.counter(&["ruminate_cost_usd"], "Of the machine, idle or not", cost);
        }
        if let Some(margin) = bill.margin() {
            self.gauge(&["ruminate_margin_ratio"], "Profit over cost", margin);
        }
    }

    fn engine(&mut self, server: &Server, sight: &Sight) {
        let statistics = &sight.statistics;
        let running = statistics.n_running as f64;
        let waiting = statistics.n_queued as f64;
        let names = ["ruminate_running", "vllm:num_requests_running"];
        self.gauge(&names, "Sequences that are computed", running);
        let names = ["ruminate_waiting", "vllm:num_requests_waiting"];
        self.gauge(&names, "Sequences that wait", waiting);
        let names = ["ruminate_preemptions", "vllm:num_preemptions"];
        self.counter(&names, "Sequences that lost their pages", statistics.n_preemptions as f64);
        let warming = statistics.n_warming as f64;
        self.gauge(&["ruminate_warming"], "Prefixes to compute when nobody waits", warming);
        self.counter(
            &["ruminate_expired"],
            "Requests not begun in time",
            statistics.n_expired as f64,
        );
        self.gauge(&["ruminate_context_tokens"], "Longest sequence", server.context as f64);
        if let Some(storage) = &sight.storage {
            self.gauge(&["ruminate_expert_cache_bytes"], "Cache of experts", storage.bytes as f64);
        }
    }

    fn cache(&mut self, server: &Server, sight: &Sight) {
        let statistics = &sight.statistics;
        let (used, cached) = (statistics.n_pages_used, statistics.n_pages_cached);
        let n_pages = (used + cached + statistics.n_pages_free).max(1);
        let pages = n_pages as f64;
        // The last is the name it had before.
        let names =
            ["ruminate_kv_used_ratio", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];
        self.gauge(&names, "Share of the cache that sequences hold", used as f64 / pages);
        self.gauge(&["ruminate_kv_pages_used"], "Pages that sequences hold", used as f64);
        self.gauge(&["ruminate_kv_pages_cached"], "Pages kept for later", cached as f64);
        self.gauge(&["ruminate_kv_pages"], "Pages of the cache", pages);
        let names = ["ruminate_prefix_queries", "vllm:prefix_cache_queries"];
        self.counter(&names, "Tokens looked up", statistics.n_lookup_tokens as f64);
        let names = ["ruminate_prefix_hits", "vllm:prefix_cache_hits"];
        self.counter(&names, "Tokens found", statistics.n_hit_tokens as f64);
        let labels: Labels = vec![
            ("block_size", PAGE.to_string()),
            ("cache_dtype", server.facts.kv.into()),
            ("enable_prefix_caching", "True".into()),
            ("num_gpu_blocks", n_pages.to_string()),
        ];
        self.0.register(
            "vllm:cache_config",
            "Of the cache: here blocks are pages",
            Info::new(labels),
        );
    }

    /// What was guessed to come next.
    fn guesses(&mut self, guesses: &Guesses) {
        let counts = [
            ("vllm:spec_decode_num_drafts", "Times somebody guessed", guesses.n),
            ("vllm:spec_decode_num_draft_tokens", "Tokens that were guessed", guesses.tokens),
            ("vllm:spec_decode_num_accepted_tokens", "Guessed and right", guesses.right),
        ];
        for (name, help, value) in counts {
            self.counter(&[name], help, value as f64);
        }
        let label = |at: usize| vec![("position", at.to_string())];
        let at = guesses.right_at.iter().enumerate().map(|(at, &n)| (label(at), n as f64));
        let at: Vec<(Labels, f64)> = at.collect();
        self.counters("vllm:spec_decode_num_accepted_tokens_per_pos", "Right, by place", &at);
    }

    /// Operations and bytes by what they were for, and the share of the machine's peaks.
    fn work(&mut self, server: &Server, sight: &Sight) {
        let parts = [("prompts", &sight.spent.prompts), ("answers", &sight.spent.answers)];
        let (mut flops, mut bytes) = (Vec::new(), Vec::new());
        let (mut busy, mut least) = (Vec::new(), Vec::new());
        let shares = Family::<Labels, Float>::default();
        for (name, part) in parts {
            let label = |op: &str| vec![("part", name.to_string()), ("op", op.to_string())];
            let work = &part.work;
            flops.push((label("attention"), work.attention_flops));
            flops.push((label("dense"), work.dense_flops));
            flops.push((label("experts"), work.expert_flops));
            bytes.push((label("dense"), work.dense_bytes));
            bytes.push((label("experts"), work.expert_bytes));
            bytes.push((label("kv"), work.kv_bytes));
            let label = vec![("part", name.to_string())];
            busy.push((label.clone(), part.seconds));
            least.push((label.clone(), part.peak_s));
            if let Some(share) = part.share() {
                shares.get_or_create(&label).set(share);
            }
        }
        self.counters("ruminate_flops", "Operations by what they were for", &flops);
        self.counters("ruminate_read_bytes", "Bytes read by what they were", &bytes);
        self.counters("ruminate_busy_seconds", "Time of steps", &busy);
        self.counters("ruminate_least_seconds", "Time that the peaks allow them", &least);
        self.0.register("ruminate_peak_share_ratio", "Share of the peak since the start", shares);
        self.counter(&["ruminate_steps"], "Steps", sight.spent.n_steps as f64);
        let steps = Counted::steps(&sight.spent);
        self.0.register("vllm:iteration_tokens_total", "Tokens of steps", steps);
        if let Some(peaks) = &server.peaks {
            let bytes = peaks.bytes_per_s;
            self.gauge(&["ruminate_peak_read_bytes_per_second"], "Measured at the start", bytes);
            let (linear, attention) = (peaks.linear_flops, peaks.attention_flops);
            self.gauge(&["ruminate_peak_flops"], "Of products with weights", linear);
            self.gauge(&["ruminate_peak_attention_flops"], "Of attention", attention);
        }
    }
}
