//! `/metrics`, in the OpenMetrics text format: our names, and those of vLLM that dashboards know.
//!
//! What happens to requests is counted as it happens; what the engine does is read from it when
//! somebody asks. No label takes a value that a client chose.

use std::sync::atomic::AtomicU64;

use axum::http::StatusCode;
use engine::Usage;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::live::Sight;
use crate::part::{Finished, Reason};
use crate::state::Server;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Registers a metric under a name, with words of help.
type Register = Box<dyn Fn(&mut Registry, &str, &str)>;
type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;
type FloatCounter = Counter<f64, AtomicU64>;

/// What is counted as it happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    responses: Family<Labels, Counter>,
    finished: Family<Labels, Counter>,
    input: Counter,
    cached: Counter,
    output: Counter,
    thinking: Counter,
    drafted: Counter,
    accepted: Counter,
    revenue: FloatCounter,
    first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_len: Histogram,
    answer_len: Histogram,
}

impl Metrics {
    /// With `model` as the label of all of them.
    pub(crate) fn new(model: &str) -> Metrics {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 20));
        let lengths = || Histogram::new(exponential_buckets(1.0, 2.0, 18));
        let mut metrics = Metrics {
            registry: registry(model),
            responses: Family::default(),
            finished: Family::default(),
            input: Counter::default(),
            cached: Counter::default(),
            output: Counter::default(),
            thinking: Counter::default(),
            drafted: Counter::default(),
            accepted: Counter::default(),
            revenue: FloatCounter::default(),
            first_token: seconds(),
            between_tokens: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            whole: seconds(),
            queue: seconds(),
            prefill: seconds(),
            decode: seconds(),
            prompt_len: lengths(),
            answer_len: lengths(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let mut registry = std::mem::take(&mut self.registry);
        let mut add = |names: [&str; 2], help: &str, metric: Register| {
            for name in names.into_iter().filter(|name| !name.is_empty()) {
                metric(&mut registry, name, help);
            }
        };
        add(["ruminate_responses", ""], "Responses by status", of(&self.responses));
        add(
            ["ruminate_answers", "vllm:request_success"],
            "Answers by how they ended",
            of(&self.finished),
        );
        add(["ruminate_input_tokens", "vllm:prompt_tokens"], "Tokens of prompts", of(&self.input));
        add(
            ["ruminate_cached_tokens", "vllm:prompt_tokens_cached"],
            "Tokens of prompts that were in the cache",
            of(&self.cached),
        );
        add(
            ["ruminate_output_tokens", "vllm:generation_tokens"],
            "Tokens of answers, thinking included",
            of(&self.output),
        );
        add(["ruminate_thinking_tokens", ""], "Tokens of thinking", of(&self.thinking));
        add(
            ["", "vllm:spec_decode_num_draft_tokens"],
            "Tokens that were guessed",
            of(&self.drafted),
        );
        add(
            ["", "vllm:spec_decode_num_accepted_tokens"],
            "Guessed tokens that were right",
            of(&self.accepted),
        );
        add(["ruminate_revenue_usd", ""], "What tokens were charged", of(&self.revenue));
        let histograms = [
            ("time_to_first_token_seconds", &self.first_token),
            ("inter_token_latency_seconds", &self.between_tokens),
            ("e2e_request_latency_seconds", &self.whole),
            ("request_queue_time_seconds", &self.queue),
            ("request_prefill_time_seconds", &self.prefill),
            ("request_decode_time_seconds", &self.decode),
            ("request_prompt_tokens", &self.prompt_len),
            ("request_generation_tokens", &self.answer_len),
        ];
        for (name, histogram) in histograms {
            let help = name.replace('_', " ");
            let (ours, theirs) = (format!("ruminate_{name}"), format!("vllm:{name}"));
            add([&ours, &theirs], &help, of(histogram));
        }
        self.registry = registry;
    }

    pub(crate) fn responded(&self, status: StatusCode) {
        // Statuses are a closed set.
        self.responses.get_or_create(&vec![("status", status.as_str().to_string())]).inc();
    }

    /// Counts an answer; `first` if its prompt counts with it.
    pub(crate) fn finished(&self, finished: &Finished, first: bool) {
        let Finished { usage, reason, bill, .. } = finished;
        self.ended(match reason {
            Reason::Stop | Reason::StopString(_) | Reason::ToolCalls => "stop",
            Reason::Length => "length",
        });
        if first {
            self.input.inc_by(usage.prompt_tokens as u64);
            self.cached.inc_by(usage.cached_tokens as u64);
            self.prompt_len.observe(usage.prompt_tokens as f64);
        }
        self.output.inc_by(usage.completion_tokens as u64);
        self.thinking.inc_by(usage.thinking_tokens as u64);
        self.drafted.inc_by(usage.drafted_tokens as u64);
        self.accepted.inc_by(usage.accepted_tokens as u64);
        self.answer_len.observe(usage.completion_tokens as f64);
        if let Some(revenue) = bill.and_then(|bill| bill.revenue) {
            self.revenue.inc_by(revenue);
        }
        self.times(usage);
    }

    fn times(&self, usage: &Usage) {
        let seconds = |us: u64| us as f64 / 1e6;
        let Usage { queue_us, prompt_us, decode_us, completion_tokens, .. } = *usage;
        self.queue.observe(seconds(queue_us));
        self.prefill.observe(seconds(prompt_us));
        self.decode.observe(seconds(decode_us));
        self.first_token.observe(seconds(queue_us + prompt_us));
        self.whole.observe(seconds(queue_us + prompt_us + decode_us));
        if completion_tokens > 1 {
            self.between_tokens.observe(seconds(decode_us) / (completion_tokens - 1) as f64);
        }
    }

    /// Counts an answer that ended in some other way.
    pub(crate) fn ended(&self, how: &'static str) {
        self.finished.get_or_create(&vec![("finished_reason", how.to_string())]).inc();
    }

    pub(crate) fn input_tokens(&self) -> u64 {
        self.input.get()
    }

    pub(crate) fn output_tokens(&self) -> u64 {
        self.output.get()
    }

    pub(crate) fn revenue(&self) -> f64 {
        self.revenue.get()
    }

    /// All of it as text, with what the engine does.
    pub(crate) fn text(&self, server: &Server, sight: Option<&Sight>) -> String {
        let mut text = String::new();
        let mut now = Now(registry(server.name()));
        now.server(server);
        if let Some(sight) = sight {
            now.engine(server, sight);
            now.work(server, sight);
        }
        // A string takes whatever is written.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &now.0))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

fn registry(model: &str) -> Registry {
    let label = ("model_name".into(), model.to_string().into());
    Registry::with_labels(std::iter::once(label))
}

/// Registers a clone of a metric under whatever name.
fn of<M: Metric + Clone>(metric: &M) -> Register {
    let metric = metric.clone();
    Box::new(move |registry, name, help| registry.register(name, help, metric.clone()))
}

/// What is read when somebody asks.
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
        let (used, cached) = (statistics.n_pages_used, statistics.n_pages_cached);
        let pages = (used + cached + statistics.n_pages_free).max(1) as f64;
        let names = ["ruminate_kv_used_ratio", "vllm:kv_cache_usage_perc"];
        self.gauge(&names, "Share of the cache that sequences hold", used as f64 / pages);
        self.gauge(&["ruminate_kv_pages_used"], "Pages that sequences hold", used as f64);
        self.gauge(&["ruminate_kv_pages_cached"], "Pages kept for later", cached as f64);
        self.gauge(&["ruminate_kv_pages"], "Pages of the cache", pages);
        let names = ["ruminate_preemptions", "vllm:num_preemptions"];
        self.counter(&names, "Sequences that lost their pages", statistics.n_preemptions as f64);
        let names = ["ruminate_prefix_queries", "vllm:prefix_cache_queries"];
        self.counter(&names, "Tokens looked up", statistics.n_lookup_tokens as f64);
        let names = ["ruminate_prefix_hits", "vllm:prefix_cache_hits"];
        self.counter(&names, "Tokens found", statistics.n_hit_tokens as f64);
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
        if let Some(peaks) = &server.peaks {
            let bytes = peaks.bytes_per_s;
            self.gauge(&["ruminate_peak_read_bytes_per_second"], "Measured at the start", bytes);
            let (linear, attention) = (peaks.linear_flops, peaks.attention_flops);
            self.gauge(&["ruminate_peak_flops"], "Of products with weights", linear);
            self.gauge(&["ruminate_peak_attention_flops"], "Of attention", attention);
        }
    }
}
