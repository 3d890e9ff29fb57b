//! The span of one request, and of the parts of its answers' time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

use crate::ask::{Ask, Prompt};
use crate::error::Error;
use crate::part::{Finished, Totals};

/// Of a request that goes on.
pub(crate) struct RequestSpan {
    tracer: SdkTracer,
    /// With the span in it.
    context: Context,
    told: Mutex<Told>,
}

/// What is known once all is over.
#[derive(Default)]
struct Told {
    totals: Option<Totals>,
    reasons: Vec<StringValue>,
    /// The status of what went wrong.
    fault: Option<u16>,
}

impl RequestSpan {
    /// Of a request for `path`, which begins now.
    pub(super) fn new(tracer: SdkTracer, path: &'static str, parent: &Context) -> RequestSpan {
        let span = tracer
            .span_builder(format!("POST {path}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("http.route", path),
                KeyValue::new("url.path", path),
            ])
            .start_with_context(&tracer, parent);
        RequestSpan { context: parent.with_span(span), tracer, told: Mutex::default() }
    }

    /// Notes what the model of name `model` is asked.
    pub(crate) fn asked(&self, model: &str, asks: &[Ask]) {
        let Some(first) = asks.first() else { return };
        let operation = match first.prompt {
            Prompt::Chat(_) => "chat",
            Prompt::Text(_) | Prompt::Tokens(_) => "text_completion",
        };
        let span = self.context.span();
        span.update_name(format!("{operation} {model}"));
        let n: usize = asks.iter().map(|ask| ask.n).sum();
        let params = &first.params;
        let int = |key, value: Option<usize>| value.map(|n| KeyValue::new(key, n as i64));
        let float = |key, value: Option<f32>| value.map(|x| KeyValue::new(key, f64::from(x)));
        let attributes = [
            Some(KeyValue::new("gen_ai.operation.name", operation)),
            Some(KeyValue::new("gen_ai.provider.name", "ruminate")),
            Some(KeyValue::new("gen_ai.request.model", model.to_string())),
            Some(KeyValue::new("gen_ai.response.model", model.to_string())),
            int("gen_ai.request.max_tokens", first.max_tokens),
            int("gen_ai.request.choice.count", Some(n).filter(|&n| n != 1)),
            int("gen_ai.request.seed", params.seed.and_then(|seed| usize::try_from(seed).ok())),
            int("gen_ai.request.top_k", params.top_k),
            float("gen_ai.request.temperature", params.temperature),
            float("gen_ai.request.top_p", params.top_p),
            float("gen_ai.request.frequency_penalty", params.frequency_penalty),
            float("gen_ai.request.presence_penalty", params.presence_penalty),
        ];
        span.set_attributes(attributes.into_iter().flatten());
    }

    /// An answer came to its end just now: what all took so far is `totals`.
    pub(crate) fn finished(&self, finished: &Finished, totals: &Totals) {
        let usage = &finished.usage;
        let now = SystemTime::now();
        let before = |us: u64| now.checked_sub(Duration::from_micros(us)).unwrap_or(now);
        let first_token = before(usage.decode_us);
        let started = before(usage.decode_us + usage.prompt_us);
        let arrived = before(usage.decode_us + usage.prompt_us + usage.queue_us);
        let int = |key, n: usize| KeyValue::new(key, n as i64);
        let input = [
            int("gen_ai.usage.input_tokens", usage.prompt_tokens),
            int("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
        ];
        let output = [
            int("gen_ai.usage.output_tokens", usage.completion_tokens),
            int("gen_ai.usage.reasoning.output_tokens", usage.thinking_tokens),
        ];
        self.part("queue", (arrived, started), &[]);
        self.part("prefill", (started, first_token), &input);
        self.part("decode", (first_token, now), &output);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.reasons.push(finished.reason.word().into());
        told.totals = Some(*totals);
    }

    fn part(&self, name: &'static str, (from, to): (SystemTime, SystemTime), what: &[KeyValue]) {
        let part = self.tracer.span_builder(name).with_kind(SpanKind::Internal);
        let part = part.with_start_time(from).with_attributes(what.iter().cloned());
        part.start_with_context(&self.tracer, &self.context).end_with_timestamp(to);
    }

    /// An answer ended in another way.
    pub(crate) fn failed(&self, error: &Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.fault = Some(error.status().as_u16());
    }

    /// The last byte is told, or the client is gone. `status` is that of the head.
    pub(crate) fn end(&self, status: u16) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Told { totals, reasons, fault } = std::mem::take(&mut *told);
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(totals) = totals {
            let int = |key, n: usize| KeyValue::new(key, n as i64);
            span.set_attributes([
                int("gen_ai.usage.input_tokens", totals.prompt_tokens),
                int("gen_ai.usage.cache_read.input_tokens", totals.cached_tokens),
                int("gen_ai.usage.output_tokens", totals.completion_tokens),
                int("gen_ai.usage.reasoning.output_tokens", totals.thinking_tokens),
                KeyValue::new(
                    "gen_ai.response.finish_reasons",
                    Value::Array(Array::String(reasons)),
                ),
            ]);
        }
        // What a client did wrong is no fault of the server's.
        if let Some(fault) = fault.or(Some(status)).filter(|&status| status >= 400) {
            span.set_attribute(KeyValue::new("error.type", fault.to_string()));
            if fault >= 500 {
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }
}
