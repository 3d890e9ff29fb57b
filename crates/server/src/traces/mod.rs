//! Traces for OpenTelemetry: what became of each request for an answer, and where its time went.
//!
//! ```text
//! chat tiny                                          a request, from its head to its last byte
//! ├─ queue    until its first step                   one of each for every answer
//! ├─ prefill  from there to its first token
//! └─ decode   from there to its last token
//! ```
//!
//! Attributes have the names of the conventions for generative models (`gen_ai.…`). No text of
//! prompts or answers is among them. Start at [`Traces::to`]; `span` is a request's own.

mod post;
mod span;

use std::time::Duration;

use axum::http::{HeaderMap, Method};
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub(crate) use span::RequestSpan;

/// How long the end waits for what was not sent yet.
const LAST_FLUSH: Duration = Duration::from_secs(3);
/// The paths that ask for answers.
const PATHS: &[&str] = &[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
];

/// Where traces go.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
#[error("cannot trace to {endpoint}: {why}")]
pub struct Error {
    endpoint: String,
    why: String,
}

impl Traces {
    /// To a collector that takes OTLP over HTTP: its address, to which `/v1/traces` is added unless
    /// it has a path. Spans are sent together, by a thread of its own; what does not fit its queue
    /// is dropped. The rest is asked of the environment, as OpenTelemetry names it (`OTEL_…`).
    ///
    /// # Errors
    /// `endpoint` is no address.
    pub fn to(endpoint: &str) -> Result<Traces, Error> {
        let fault = |why: String| Error { endpoint: endpoint.into(), why };
        let address = address(endpoint).map_err(fault)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(post::Client::new())
            .with_endpoint(address)
            .build()
            .map_err(|error| fault(error.to_string()))?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut resource = Resource::builder().with_attribute(version);
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("ruminate");
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer("ruminate");
        Ok(Traces { provider, tracer })
    }

    /// The span of a request that asks for an answer; none of others.
    pub(crate) fn begin(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<RequestSpan> {
        let path = PATHS.iter().find(|own| **own == path)?;
        // The client's trace goes on here, if it has one.
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        (method == Method::POST).then(|| RequestSpan::new(self.tracer.clone(), path, &parent))
    }

    /// Sends what was not sent yet. Takes a moment.
    pub(crate) fn end(&self) {
        // A collector that is gone is no reason to stay.
        let _ = self.provider.shutdown_with_timeout(LAST_FLUSH);
    }
}

fn address(endpoint: &str) -> Result<String, String> {
    let uri: axum::http::Uri = endpoint.parse().map_err(|_| "it is no address".to_string())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        return Err("expected http:// or https:// and a host".into());
    }
    match uri.path() {
        "" | "/" => Ok(format!("{}/v1/traces", endpoint.trim_end_matches('/'))),
        _ => Ok(endpoint.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_an_address_with_the_usual_path_or_its_own() {
        assert_eq!(address("http://host:4318").unwrap(), "http://host:4318/v1/traces");
        assert_eq!(address("http://host:4318/").unwrap(), "http://host:4318/v1/traces");
        assert_eq!(address("https://host/own").unwrap(), "https://host/own");
        for bad in ["host:4318", "", "ftp://host", "http://", "not an address"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
