//! A streamed answer: parts to bytes as they come, in whatever frames a dialect has.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use futures_util::{FutureExt, stream};

use crate::answering::Answering;
use crate::error::Error;
use crate::part::{Part, Totals};

/// Silence after which a client is told that somebody is there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Bytes that are put together, if they are there at once.
const TOGETHER_MAX: usize = 16 << 10;

/// How a dialect tells a stream. Each method appends whole frames.
pub(crate) trait Teller: Send + 'static {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    /// A frame that says nothing.
    const KEEP_ALIVE: &'static str = ": keep-alive\n\n";

    /// Before anything has happened.
    fn begin(&mut self, _out: &mut String) {}
    /// Something happened to answer `index`; never [`Part::Failed`].
    fn part(&mut self, out: &mut String, index: usize, part: Part);
    /// All answers are over.
    fn end(&mut self, out: &mut String, totals: &Totals);
    /// One failed, and the stream ends here.
    fn fail(&mut self, out: &mut String, error: &Error);
}

/// A server-sent event.
pub(crate) fn event(out: &mut String, name: Option<&str>, data: &impl serde::Serialize) {
    if let Some(name) = name {
        *out += "event: ";
        *out += name;
        out.push('\n');
    }
    *out += "data: ";
    // Our own types are JSON, and JSON has no line ends but in strings, where they are escaped.
    *out += &serde_json::to_string(data).unwrap_or_default();
    *out += "\n\n";
}

enum Course<T> {
    Begins(Answering, T),
    GoesOn(Answering, T),
    Over,
}

/// The response that tells what comes. The client's going ends the answers.
pub(crate) fn response<T: Teller>(answering: Answering, teller: T) -> Response {
    let body = stream::unfold(Course::Begins(answering, teller), |course| async move {
        let (frames, course) = next(course).await?;
        Some((Ok::<Bytes, Infallible>(frames.into()), course))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = [
        (header::CONTENT_TYPE, T::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-cache"),
        // Proxies pass it on as it comes.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn next<T: Teller>(course: Course<T>) -> Option<(String, Course<T>)> {
    let mut out = String::new();
    let (mut answering, mut teller) = match course {
        Course::Begins(answering, mut teller) => {
            teller.begin(&mut out);
            if !out.is_empty() {
                return Some((out, Course::GoesOn(answering, teller)));
            }
            (answering, teller)
        }
        Course::GoesOn(answering, teller) => (answering, teller),
        Course::Over => return None,
    };
    while out.is_empty() {
        let mut heard = tokio::select! {
            heard = answering.next() => heard,
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => {
                return Some((T::KEEP_ALIVE.into(), Course::GoesOn(answering, teller)));
            }
        };
        loop {
            match heard {
                None => {
                    teller.end(&mut out, &answering.totals());
                    return Some((out, Course::Over));
                }
                Some((_, Part::Failed(error))) => {
                    teller.fail(&mut out, &error);
                    return Some((out, Course::Over));
                }
                Some((index, part)) => teller.part(&mut out, index, part),
            }
            if out.len() >= TOGETHER_MAX {
                break;
            }
            match answering.next().now_or_never() {
                Some(more) => heard = more,
                None => break,
            }
        }
    }
    Some((out, Course::GoesOn(answering, teller)))
}
