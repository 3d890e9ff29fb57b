//! Around every request: its id, its line in the log, its panic, and the shape of its error.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::dialect;
use crate::error::Error;
use crate::state::{Server, Shared};
use crate::traces::RequestSpan;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Of an id that a client chose.
const ID_BYTES_MAX: usize = 128;

/// A request's id: the client's, if it has one that is fit for a log, else our own.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// What is known of a request. Its line is written when nobody holds it any more: a stream's only
/// once the stream is over.
pub(crate) struct Record {
    server: Shared,
    pub(crate) id: RequestId,
    began: Instant,
    what: String,
    told: Mutex<Told>,
    /// If it asks for an answer and somebody traces it.
    pub(crate) span: Option<RequestSpan>,
}

#[derive(Debug, Default)]
struct Told {
    status: u16,
    answer: String,
}

impl Record {
    /// Adds words on the answer to the line.
    pub(crate) fn tell(&self, words: &str) {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.answer.push(' ');
        told.answer += words;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ms = self.began.elapsed().as_millis();
        let Told { status, answer } = told;
        if let Some(span) = &self.span {
            span.end(*status);
        }
        (self.server.log)(&format!("{} {} {status} {ms} ms{answer}", self.id.0, self.what));
    }
}

/// The outermost layer.
pub(crate) async fn attend(
    State(server): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = id_of(&server, &request);
    let path = request.uri().path().to_string();
    // Paths are a client's words: what isn't plain is not for a log.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.:".contains(c);
    let shown: String = path.chars().take(80).map(|c| if plain(c) { c } else { '?' }).collect();
    let record = Arc::new(Record {
        server: server.clone(),
        id: id.clone(),
        began: Instant::now(),
        what: format!("{} {shown}", request.method()),
        told: Mutex::default(),
        span: server
            .traces
            .as_ref()
            .and_then(|traces| traces.begin(request.method(), &path, request.headers())),
    });
    request.extensions_mut().insert(record.clone());
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let response = response.unwrap_or_else(|_| Error::Internal.into_response());
    let mut response = shape(response, &path, &id);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        let headers = response.headers_mut();
        if let Some(name) = dialect::of(&path).id_header {
            headers.insert(name, value.clone());
        }
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status();
    server.metrics.responded(status);
    record.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).status = status.as_u16();
    response
}

/// Gives an error the body that the path's dialect has for it.
fn shape(mut response: Response, path: &str, id: &RequestId) -> Response {
    let error = match response.extensions_mut().remove::<Error>() {
        Some(error) => error,
        // The router's own.
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => Error::MethodNotAllowed,
        None => return response,
    };
    let (status, body) = (dialect::of(path).lift_error)(&error, id);
    let kept = response.headers().clone();
    let mut shaped = (status, axum::Json(body)).into_response();
    for (name, value) in &kept {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(after) = error.retry_after() {
        let headers = shaped.headers_mut();
        headers.insert(header::RETRY_AFTER, (after.as_secs_f64().ceil() as u64).into());
        // What SDKs look at first.
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        headers.insert(HeaderName::from_static("retry-after-ms"), ms.into());
    }
    if matches!(error, Error::Draining { .. } | Error::EngineGone) {
        shaped.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    shaped
}

fn id_of(server: &Server, request: &Request) -> RequestId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let fit = |id: &&str| (1..=ID_BYTES_MAX).contains(&id.len()) && id.chars().all(plain);
    match given.filter(fit) {
        Some(id) => RequestId(id.into()),
        None => {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            RequestId(format!("req-{:x}-{n:x}", server.started_unix_s).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;

    use super::*;
    use crate::testing::{self, attended, block_on};
    use crate::{answering, incoming};

    #[test]
    fn a_panic_is_its_request_s_alone_and_told_in_the_path_s_dialect() {
        async fn at_once() -> Response {
            panic!("a fault that this test puts in");
        }
        async fn apart() -> Result<Response, Error> {
            answering::apart(|| panic!("a fault that this test puts in")).await
        }
        async fn well(incoming: incoming::Incoming) -> String {
            incoming.record.id.0.to_string()
        }
        let server = testing::server();
        let routes = Router::new()
            .route("/v1/chat/completions", post(at_once))
            .route("/v1/messages", post(apart))
            .route("/api/chat", post(at_once))
            .route("/v1/models", post(well));
        let router = attended(&server, routes);
        block_on(async {
            for (path, place, kind) in [
                ("/v1/chat/completions", "/error/type", "server_error"),
                ("/v1/messages", "/error/type", "api_error"),
                ("/api/chat", "/error", "the server failed to answer this request"),
            ] {
                let (status, text) = testing::post(router.clone(), path, "{}").await;
                let body: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(status, 500, "{path}: {text}");
                assert_eq!(body.pointer(place).unwrap(), kind, "{path}");
                // Whoever comes next is served.
                let (status, id) = testing::post(router.clone(), "/v1/models", "{}").await;
                assert_eq!((status, id.is_empty()), (200, false));
            }
        });
        assert_eq!(server.admission.requests(), 0);
        assert!(server.engine.is_alive());
    }
}
