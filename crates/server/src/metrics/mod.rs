//! `/metrics`, in the OpenMetrics text format: our names, and those of vLLM that dashboards know.
//!
//! What happens to requests is counted as it happens; what the engine does is read from it when
//! somebody asks (`now`). No label takes a value that a client chose.

mod now;

use std::sync::atomic::AtomicU64;

use axum::http::StatusCode;
use engine::Usage;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::live::Sight;
use crate::part::{Finished, Reason};
use crate::state::Server;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Registers a metric under a name, with words of help.
type Register = Box<dyn Fn(&mut Registry, &str, &str)>;
type Labels = Vec<(&'static str, String)>;
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
    revenue: FloatCounter,
    first_token: Histogram,
    between_tokens: Histogram,
    whole: Histogram,
    queue: Histogram,
    prefill: Histogram,
    decode: Histogram,
    inference: Histogram,
    per_token: Histogram,
    prompt_len: Histogram,
    computed_len: Histogram,
    answer_len: Histogram,
    longest_len: Histogram,
    max_tokens: Histogram,
    n_answers: Histogram,
}

impl Metrics {
    /// With `model` as the label of all of them.
    pub(crate) fn new(model: &str) -> Metrics {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 20));
        let token_seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let lengths = || Histogram::new(exponential_buckets(1.0, 2.0, 18));
        let mut metrics = Metrics {
            registry: registry(model),
            responses: Family::default(),
            finished: Family::default(),
            input: Counter::default(),
            cached: Counter::default(),
            output: Counter::default(),
            thinking: Counter::default(),
            revenue: FloatCounter::default(),
            first_token: seconds(),
            between_tokens: token_seconds(),
            whole: seconds(),
            queue: seconds(),
            prefill: seconds(),
            decode: seconds(),
            inference: seconds(),
            per_token: token_seconds(),
            prompt_len: lengths(),
            computed_len: lengths(),
            answer_len: lengths(),
            longest_len: lengths(),
            max_tokens: lengths(),
            n_answers: Histogram::new(exponential_buckets(1.0, 2.0, 6)),
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
        add(["ruminate_revenue_usd", ""], "What tokens were charged", of(&self.revenue));
        let histograms = [
            ("time_to_first_token_seconds", &self.first_token),
            ("inter_token_latency_seconds", &self.between_tokens),
            ("e2e_request_latency_seconds", &self.whole),
            ("request_queue_time_seconds", &self.queue),
            ("request_prefill_time_seconds", &self.prefill),
            ("request_decode_time_seconds", &self.decode),
            ("request_inference_time_seconds", &self.inference),
            ("request_time_per_output_token_seconds", &self.per_token),
            ("request_prompt_tokens", &self.prompt_len),
            ("request_prefill_kv_computed_tokens", &self.computed_len),
            ("request_generation_tokens", &self.answer_len),
            ("request_max_num_generation_tokens", &self.longest_len),
            ("request_params_max_tokens", &self.max_tokens),
            ("request_params_n", &self.n_answers),
        ];
        for (name, histogram) in histograms {
            let help = name.replace('_', " ");
            let (ours, theirs) = (format!("ruminate_{name}"), format!("vllm:{name}"));
            add([&ours, &theirs], &help, of(histogram));
        }
        // What it was called before.
        let help = "inter token latency seconds";
        add(["", "vllm:time_per_output_token_seconds"], help, of(&self.between_tokens));
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
            Reason::Loop => "repetition",
        });
        if first {
            self.input.inc_by(usage.prompt_tokens as u64);
            self.cached.inc_by(usage.cached_tokens as u64);
            self.prompt_len.observe(usage.prompt_tokens as f64);
            let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
            self.computed_len.observe(computed as f64);
        }
        self.output.inc_by(usage.completion_tokens as u64);
        self.thinking.inc_by(usage.thinking_tokens as u64);
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
        self.inference.observe(seconds(prompt_us + decode_us));
        self.first_token.observe(seconds(queue_us + prompt_us));
        self.whole.observe(seconds(queue_us + prompt_us + decode_us));
        if completion_tokens > 1 {
            self.per_token.observe(seconds(decode_us) / (completion_tokens - 1) as f64);
        }
    }

    /// Counts the time from one step that brought an answer tokens to the next.
    pub(crate) fn waited(&self, us: u64) {
        self.between_tokens.observe(us as f64 / 1e6);
    }

    /// Counts a request whose answers are all over: how many there are, the tokens that each could
    /// have, and those of the longest.
    pub(crate) fn answered(&self, n: usize, max_tokens: usize, longest: usize) {
        self.n_answers.observe(n as f64);
        self.max_tokens.observe(max_tokens as f64);
        self.longest_len.observe(longest as f64);
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
        let now = now::registry(registry(server.name()), server, sight);
        // A string takes whatever is written.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &now))
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
