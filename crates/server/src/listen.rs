//! Connections: taken, bounded, and let go at the end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::auth::Peer;
use crate::drain::Phase;
use crate::limits::Limits;
use crate::routes::router;
use crate::state::Shared;
use crate::{live, start, supervisor};

/// How long connections may take to close once nothing runs.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether the last request is over.
const IDLE_EVERY: Duration = Duration::from_millis(10);
/// A pause of the accept loop where the system has no more files.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address to listen on, if it may be one: others than this machine's need a key.
///
/// # Errors
/// [`start::Error::Open`], [`start::Error::Bind`].
pub fn listen(
    address: SocketAddr,
    has_keys: bool,
    insecure: bool,
) -> Result<TcpListener, start::Error> {
    if !address.ip().is_loopback() && !has_keys && !insecure {
        return Err(start::Error::Open { address });
    }
    let bind = |source| start::Error::Bind { address, source };
    let listener = TcpListener::bind(address).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    Ok(listener)
}

/// Serves until the drain is over.
pub(crate) async fn run(server: Shared, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = router(server.clone());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(server.limits.connections_max));
    tokio::spawn(live::watch(server.clone()));
    tokio::spawn(drain(server.clone()));
    tokio::spawn(supervisor::accompany(server.clone()));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.ok(),
            () = server.drain.reached(Phase::Aborting) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.drain.reached(Phase::Aborting) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Most likely there are too many open files: somebody has to go first.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = serve(stream, peer, router.clone(), &server.limits);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is no fault of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    // What is left are last frames of streams that were told the end.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, graceful.shutdown()).await;
    Ok(())
}

/// HTTP/1.1 on one connection.
pub(crate) fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: &Limits,
) -> impl GracefulConnection<Error = hyper::Error> + Send + use<> {
    // Tokens are small and each is waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer.ip()));
        router.clone().oneshot(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max)
        .serve_connection(TokioIo::new(stream), service)
}

/// Once the end has begun: waits for what runs, as long as it may take, then ends it.
async fn drain(server: Shared) {
    server.drain.reached(Phase::Draining).await;
    supervisor::stops(&server);
    let idle = async {
        while server.admission.requests() > 0 {
            tokio::time::sleep(IDLE_EVERY).await;
        }
    };
    tokio::select! {
        () = idle => {}
        () = tokio::time::sleep(server.limits.shutdown_timeout) => {}
        () = server.drain.reached(Phase::Aborting) => {}
    }
    server.drain.advance(Phase::Aborting);
}
