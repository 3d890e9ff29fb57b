//! Whether the server is well and what it does: health, readiness, metrics, the live panel's data.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;

use crate::drain::Phase;
use crate::error::Error;
use crate::live::Live;
use crate::metrics;
use crate::openai::answers::ErrorBody;
use crate::state::Shared;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/live", get(live))
        .route("/openapi.json", get(openapi))
}

/// One word on how the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    status: &'static str,
}

/// Whether the process is alive and its engine makes steps.
#[utoipa::path(
    get, path = "/health", tag = "Server", security(()),
    responses(
        (status = 200, description = "It is", body = Status),
        (status = "default", description = "The engine is gone, or stuck", body = Status),
    ),
)]
pub(crate) async fn health(State(server): State<Shared>) -> Response {
    let (code, status) = match () {
        () if !server.engine.is_alive() => (StatusCode::INTERNAL_SERVER_ERROR, "engine gone"),
        () if server.is_stuck() => (StatusCode::SERVICE_UNAVAILABLE, "engine stuck"),
        () => (StatusCode::OK, "ok"),
    };
    (code, Json(Status { status })).into_response()
}

/// Whether new requests are taken.
#[utoipa::path(
    get, path = "/ready", tag = "Server", security(()),
    responses(
        (status = 200, description = "They are", body = Status),
        (status = "default", description = "It is about to stop, or not well", body = Status),
    ),
)]
pub(crate) async fn ready(State(server): State<Shared>) -> Response {
    let (code, status) = match server.drain.phase() {
        Phase::Serving if server.is_well() => (StatusCode::OK, "ready"),
        Phase::Serving => (StatusCode::SERVICE_UNAVAILABLE, "not well"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "about to stop"),
    };
    (code, Json(Status { status })).into_response()
}

/// Counters and gauges for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Server",
    responses(
        (status = 200, description = "Text", body = String,
         content_type = "application/openmetrics-text"),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn metrics(State(server): State<Shared>) -> Response {
    let sight = server.observer.look(&server.engine).await;
    let text = server.metrics.text(&server, sight.as_deref());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// What the engine does now: rates, shares of the peak, the cache, experts, money.
#[utoipa::path(
    get, path = "/v1/live", tag = "Server",
    responses(
        (status = 200, description = "The last seconds", body = Live),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn live(State(server): State<Shared>) -> Result<Json<Live>, Error> {
    Live::of(&server).await.map(Json).ok_or(Error::Internal)
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Server",
    responses((status = 200, description = "OpenAPI", content_type = "application/json")),
)]
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(crate::openapi::document())
}
