//! The page of a training run: its numbers over time and what the model wrote, as they come.
//!
//! It reads the files of the run's folder and nothing else, so it is the same for a run of this
//! process, of another, and for one that ended long ago. Not here: training. Start at [`RunPage`].

mod run;
mod tail;
mod texts;
mod thin;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use crate::auth::Origins;
use crate::error::Error;
use crate::limits::Limits;
use crate::listen;
use crate::page::{Assets, assets};
use run::{Experts, Run};
use thin::{Row, Thin};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    Assets::new(&assets! {
        "training/index.html" "training/main.js" "training/table.js" "training/lines.js"
        "training/heat.js" "training/texts.js" "training/training.css"
        "icon.svg" "base.css" "early.js" "dom.js" "theme.js" "settings_store.js" "numbers.js"
    })
});

/// A page that is served until it is dropped.
pub struct RunPage {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunPage {
    /// Serves the page of the run in `folder`, which may have nothing in it yet, by a listener of
    /// [`listen`](crate::listen).
    ///
    /// # Errors
    /// If the system has no thread or no socket for it.
    pub fn start(listener: TcpListener, folder: &Path) -> io::Result<RunPage> {
        let address = listener.local_addr()?;
        let origins = Origins { is_loopback: address.ip().is_loopback(), ..Origins::default() };
        let router = router(Arc::new(Mutex::new(Run::new(folder))), origins);
        // One thread is enough: it has to leave the processors to who trains.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            // A page that can't be served any more is no reason to end what trains.
            let _ = runtime.block_on(serve(listener, router, stopped));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("page".into()).spawn(serve)?;
        Ok(RunPage { address, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let limits = Limits::of_context(1, 1);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = &mut stopped => return Ok(()),
        };
        let Ok(((stream, peer), place)) = accepted else {
            tokio::time::sleep(listen::ACCEPT_PAUSE).await;
            continue;
        };
        let connection = listen::serve(stream, peer, router.clone(), &limits);
        tokio::spawn(async move {
            // A client that goes away is no fault of ours.
            let _ = connection.await;
            drop(place);
        });
    }
}

type Accepted = ((tokio::net::TcpStream, SocketAddr), tokio::sync::OwnedSemaphorePermit);

async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<Accepted> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, place))
}

type Shared = Arc<Mutex<Run>>;

fn router(run: Shared, origins: Origins) -> Router {
    Router::new()
        .route("/", get(async |headers| ASSETS.response("index.html", &headers)))
        .route("/assets/{name}", get(asset))
        .route("/run", get(numbers))
        .route("/texts", get(texts))
        .fallback(async || Error::NotFound)
        .layer(from_fn_with_state(Arc::new(origins), guard))
        .with_state(run)
}

async fn asset(UrlPath(name): UrlPath<String>, headers: HeaderMap) -> Result<Response, Error> {
    ASSETS.response(&name, &headers)
}

/// Lets in who calls this machine by a name of its own, as [`crate::auth::guard`] does.
async fn guard(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    match origins.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(_) => Error::Forbidden("this page is for its own machine and origin").into_response(),
    }
}

/// The number that a query gives a name, if it gives one.
fn asked(query: &str, name: &str) -> Option<u64> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|pair| pair.0 == name).find_map(|pair| pair.1.parse().ok())
}

/// What a page has already.
#[derive(Clone, Copy, Debug)]
struct Has {
    epoch: u64,
    rows: usize,
    expert_epoch: u64,
    expert_rows: usize,
}

/// What is new of a run.
async fn numbers(State(run): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let number = |name: &str| asked(query.as_deref().unwrap_or_default(), name).unwrap_or(0);
    let has = Has {
        epoch: number("epoch"),
        rows: number("rows") as usize,
        expert_epoch: number("expert_epoch"),
        expert_rows: number("expert_rows") as usize,
    };
    with(run, move |run| {
        run.look()?;
        Ok(Some(of_run(run, has)))
    })
    .await
}

/// Answers with their texts: those at a place, of a step, or of the last one.
async fn texts(State(run): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let number = |name: &str| asked(query.as_deref().unwrap_or_default(), name);
    let (at, step) = (number("at"), number("step"));
    with(run, move |run| {
        let last = run.n_texts().saturating_sub(1);
        let at = at.map(|at| at as usize).or_else(|| step.map(|step| run.place_of(step)));
        let at = at.unwrap_or(last).min(last);
        let found = run.texts(at)?;
        Ok(found.map(|(step, texts)| json!({ "at": at, "step": step, "texts": texts })))
    })
    .await
}

/// What `of` makes of the run, away from the reactor: it reads files.
async fn with(
    run: Shared,
    of: impl FnOnce(&mut Run) -> io::Result<Option<Value>> + Send + 'static,
) -> Result<Response, Error> {
    let of = move || of(&mut run.lock().unwrap_or_else(PoisonError::into_inner));
    let found = tokio::task::spawn_blocking(of).await;
    let found = found.map_err(|_| Error::Internal)?.map_err(|_| Error::Internal)?;
    let mut response = Json(found.ok_or(Error::NotFound)?).into_response();
    let headers: [(HeaderName, &str); 2] =
        [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn of_run(run: &Run, has: Has) -> Value {
    let steps = &run.steps;
    json!({
        "name": run.name(),
        "kind": run.about.kind,
        "steps": run.about.steps,
        "names": steps.names,
        "numbers": of_table(&steps.numbers, has.epoch, has.rows),
        "last": steps.last.as_ref().map(of_row),
        "experts": steps.experts.as_ref().map(|Experts { layers, sizes, shares }| json!({
            "layers": layers,
            "sizes": sizes,
            "shares": of_table(shares, has.expert_epoch, has.expert_rows),
        })),
        "n_texts": run.n_texts(),
        "age_s": run.age_s(),
        "has_more": run.has_more,
    })
}

/// The rows that somebody lacks, each as its step and its numbers; what isn't finite is null.
fn of_table(table: &Thin, epoch: u64, rows: usize) -> Value {
    let (from, rows) = table.since(epoch, rows);
    json!({
        "epoch": table.epoch(),
        "stride": table.stride(),
        "from": from,
        "rows": rows.iter().map(of_row).collect::<Vec<_>>(),
        "rest": table.rest().as_ref().map(of_row),
    })
}

fn of_row(row: &Row) -> Value {
    // As f32 is written, which is shorter than the f64 of the same value.
    let number = |number: &f32| number.to_string().parse::<f64>().ok().filter(|x| x.is_finite());
    let numbers = row.numbers.iter().map(|x| json!(number(x)));
    std::iter::once(json!(row.step)).chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_step_and_its_numbers_with_nulls_for_what_is_missing() {
        let row = Row { step: 7, numbers: vec![0.1, f32::NAN, f32::INFINITY, 0.0] };
        assert_eq!(of_row(&row).to_string(), "[7,0.1,null,null,0.0]");
    }

    #[test]
    fn numbers_of_a_query_are_read_and_nothing_else() {
        let query = "epoch=3&rows=-1&at=%32&step=&step=7";
        let found = ["epoch", "rows", "at", "step", "och"].map(|name| asked(query, name));
        assert_eq!(found, [Some(3), None, None, Some(7), None]);
    }

    #[test]
    fn the_page_is_whole_small_and_names_no_other_host() {
        let shared = [
            "icon.svg",
            "base.css",
            "early.js",
            "dom.js",
            "theme.js",
            "settings_store.js",
            "numbers.js",
        ];
        crate::page::tests::check(&ASSETS, (&["web/training"], &shared), 100 << 10);
    }
}
