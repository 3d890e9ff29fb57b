//! Which path is whose, and what stands around all of them.

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::error::Error;
use crate::state::Shared;
use crate::{anthropic, auth, ollama, openai, page, requests, responses, status, tokens};

/// The whole of the server. Layers are passed from the last to the first: a request gets its id,
/// then must be let in, then finds its path.
pub(crate) fn router(server: Shared) -> Router {
    Router::new()
        .merge(openai::routes())
        .merge(anthropic::routes())
        .merge(responses::routes())
        .merge(ollama::routes())
        .merge(tokens::routes())
        .merge(status::routes())
        .merge(page::routes())
        .fallback(async || Error::NotFound)
        .layer(from_fn_with_state(server.clone(), auth::guard))
        .layer(from_fn_with_state(server.clone(), requests::attend))
        .with_state(server)
}
