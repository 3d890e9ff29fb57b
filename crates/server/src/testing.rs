//! A server of a tiny model for tests of what a client cannot reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::limits::Limits;
use crate::start::{Options, Service};
use crate::state::Shared;
use crate::{Defaults, Keys, MessagesSettings, Money, Origins, listen, requests};

/// A server that listens and doesn't serve: routers are asked directly.
pub(crate) fn server() -> Shared {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/llama");
    let of_engine = engine::Options {
        sequences_max: 4,
        context: Some(256),
        threads: Some(1),
        ..engine::Options::default()
    };
    let loaded = engine::Loaded::open(&folder, &of_engine, &|_, _| ()).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options {
        names: vec!["tiny".into()],
        limits: Limits::of_context(256, 4),
        defaults: Defaults::default(),
        messages: MessagesSettings::default(),
        money: Money::default(),
        keys: Keys::default(),
        origins: Origins::default(),
        peaks: None,
        traces: None,
        supervisor: None,
        log: |_| (),
    };
    let listener = listen(address, false, false).unwrap();
    Service::new(listener, loaded, options).unwrap().into_server()
}

/// `routes` behind what stands around every request.
pub(crate) fn attended(server: &Shared, routes: Router<Shared>) -> Router {
    let layer = from_fn_with_state(server.clone(), requests::attend);
    routes.layer(layer).with_state(server.clone())
}

/// Status and text of what a router says to a POST of `body`.
pub(crate) async fn post(router: Router, path: &str, body: &str) -> (u16, String) {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    let request = axum::http::Request::post(path)
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Runs a future as the server's threads do.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
