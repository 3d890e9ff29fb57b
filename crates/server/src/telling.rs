//! A streamed answer: parts to bytes as they come, in whatever frames a dialect has.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
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

/// An answer on its way, and how far it is.
struct Course<T> {
    answering: Answering,
    teller: T,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begins,
    GoesOn,
    Over,
}

/// The response that tells what comes. The client's going ends the answers.
pub(crate) fn response<T: Teller>(answering: Answering, teller: T) -> Response {
    let course = Course { answering, teller, stage: Stage::Begins };
    let body = stream::unfold(Some(course), |course| async move {
        let mut course = course?;
        let frames = course.next().await?;
        // What is over is dropped at once, and with it its place.
        let course = (course.stage != Stage::Over).then_some(course);
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

impl<T: Teller> Course<T> {
    /// The next frames; none once there are none. A panic is this stream's alone, and its end.
    async fn next(&mut self) -> Option<String> {
        if self.stage == Stage::Over {
            return None;
        }
        let mut out = String::new();
        let told = AssertUnwindSafe(self.tell(&mut out)).catch_unwind().await;
        if told.is_err() {
            self.stage = Stage::Over;
            // A frame may have been begun.
            out.clear();
            let teller = &mut self.teller;
            let fail = || teller.fail(&mut out, &Error::Internal);
            // A teller that fails even there has said what it could.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(fail));
        }
        Some(out)
    }

    async fn tell(&mut self, out: &mut String) {
        let Course { answering, teller, stage } = self;
        if *stage == Stage::Begins {
            *stage = Stage::GoesOn;
            teller.begin(out);
        }
        while out.is_empty() {
            let mut heard = tokio::select! {
                heard = answering.next() => heard,
                () = tokio::time::sleep(KEEP_ALIVE_EVERY) => {
                    *out += T::KEEP_ALIVE;
                    return;
                }
            };
            loop {
                match heard {
                    None => {
                        teller.end(out, &answering.totals());
                        *stage = Stage::Over;
                        return;
                    }
                    Some((_, Part::Failed(error))) => {
                        teller.fail(out, &error);
                        *stage = Stage::Over;
                        return;
                    }
                    Some((index, part)) => teller.part(out, index, part),
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
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;

    use super::*;
    use crate::answering::{Caller, begin};
    use crate::ask::{Ask, Prompt};
    use crate::incoming::Incoming;
    use crate::state::Shared;
    use crate::testing::{self, attended, block_on};

    /// Tells each part in a word, and panics at one of them.
    struct Falls {
        parts: usize,
        at: usize,
        also_at_the_end: bool,
    }

    impl Teller for Falls {
        fn part(&mut self, out: &mut String, _: usize, _: Part) {
            *out += "begun ";
            assert_ne!(self.parts, self.at, "a fault that this test puts in");
            self.parts += 1;
            *out += "told\n";
        }

        fn end(&mut self, out: &mut String, _: &Totals) {
            *out += "end\n";
        }

        fn fail(&mut self, out: &mut String, error: &Error) {
            assert!(!self.also_at_the_end, "another fault that this test puts in");
            *out += &format!("{error}\n");
        }
    }

    async fn answer(server: &Shared, incoming: Incoming, falls: Falls) -> Result<Response, Error> {
        let ask = Ask {
            max_tokens: Some(6),
            ignore_stops: true,
            ..Ask::new(Prompt::Text("Hello".into()))
        };
        let Incoming { who, record, room, .. } = incoming;
        let answering = begin(server, Caller { who, record, room }, vec![ask]).await?;
        Ok(response(answering, falls))
    }

    #[test]
    fn a_panic_in_a_stream_ends_it_with_an_error_and_nobody_else_s() {
        async fn falls(State(server): State<Shared>, it: Incoming) -> Result<Response, Error> {
            answer(&server, it, Falls { parts: 0, at: 2, also_at_the_end: false }).await
        }
        async fn falls_twice(
            State(server): State<Shared>,
            it: Incoming,
        ) -> Result<Response, Error> {
            answer(&server, it, Falls { parts: 0, at: 0, also_at_the_end: true }).await
        }
        async fn goes_well(State(server): State<Shared>, it: Incoming) -> Result<Response, Error> {
            answer(&server, it, Falls { parts: 0, at: usize::MAX, also_at_the_end: false }).await
        }
        let server = testing::server();
        let routes = Router::new()
            .route("/falls", post(falls))
            .route("/falls-twice", post(falls_twice))
            .route("/goes-well", post(goes_well));
        let router = attended(&server, routes);
        block_on(async {
            let (status, well) = testing::post(router.clone(), "/goes-well", "{}").await;
            assert!(status == 200 && well.ends_with("told\nend\n"), "{well}");
            let (status, text) = testing::post(router.clone(), "/falls", "{}").await;
            assert_eq!(status, 200);
            let last = text.lines().next_back().unwrap();
            assert_eq!(last, Error::Internal.to_string(), "{text}");
            assert!(!text.contains("end\n"), "{text}");
            let whole = text.lines().filter(|line| *line == "begun told").count();
            assert!(whole <= 2 && !text.contains("begun the"), "no half a frame: {text}");
            let (_, text) = testing::post(router.clone(), "/falls-twice", "{}").await;
            assert_eq!(text, "", "there is nothing left to say");
            let (_, again) = testing::post(router.clone(), "/goes-well", "{}").await;
            assert!(again.ends_with("told\nend\n"), "{again}");
        });
        assert_eq!(server.admission.requests(), 0, "what fell has left its place");
        assert!(server.engine.is_alive());
    }
}
