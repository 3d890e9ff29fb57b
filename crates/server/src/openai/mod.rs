//! OpenAI's dialect: chats, completions and models.
//!
//! `types` and `answers` are what is on the wire, `lower` goes in, `lift` and `text` come out.

pub(crate) mod answers;
mod lift;
mod lower;
mod text;
pub(crate) mod types;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::answering::{self, Caller, apart};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::incoming::Incoming;
use crate::state::{Server, Shared};
use crate::telling;
use answers::{ChatCompletion, ErrorBody, Model, Models, TextCompletion};
use lift::{ChatTeller, Head};
use text::TextTeller;
use types::{Chat, Completion, How};

pub(crate) use lift::{thinking, token_text, usage};
pub(crate) use lower::{conversation, of_effort};

/// OpenAI's, and whatever is nobody else's.
pub(crate) const DIALECT: Dialect =
    Dialect { paths: &[], lift_error: lift::error, id_header: None };

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
}

/// What a handler needs to know besides the asks.
struct Wants {
    stream: bool,
    usage: bool,
    logprobs: bool,
}

impl Wants {
    fn of(how: &How, logprobs: bool) -> Wants {
        let usage = how.stream_options.as_ref().and_then(|options| options.include_usage);
        Wants { stream: how.stream.unwrap_or(false), usage: usage.unwrap_or(false), logprobs }
    }
}

fn check_model(server: &Server, how: &How) -> Result<(), Error> {
    how.model.as_deref().map_or(Ok(()), |model| server.check_model(model))
}

/// Answers a conversation.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "OpenAI",
    request_body = inline(crate::openapi::ChatRequest),
    responses(
        (status = 200, description = "The answer, whole or as server-sent events",
         content((ChatCompletion = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn chat(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Response, Error> {
    let shared = server.clone();
    let (incoming, ask, how) = apart(move || {
        let how: How = incoming.parse()?;
        check_model(&shared, &how)?;
        let ask = lower::chat(incoming.parse::<Chat>()?, &how)?;
        Ok((incoming, ask, how))
    })
    .await?;
    let wants = Wants::of(&how, ask.logprobs.is_some());
    let head = Head::new(&server, "chatcmpl", &incoming.record.id);
    let field = server.defaults.reasoning_field;
    let answering = answering::begin(&server, caller(incoming), vec![ask]).await?;
    if wants.stream {
        let n = answering.n_choices();
        let teller = ChatTeller::new(head, n, field, (wants.usage, wants.logprobs));
        return Ok(telling::response(answering, teller));
    }
    let (answers, totals) = answering.whole().await?;
    Ok(Json(lift::chat(&head, answers, &totals, (field, wants.logprobs))).into_response())
}

/// Goes on with one or more texts.
#[utoipa::path(
    post, path = "/v1/completions", tag = "OpenAI",
    request_body = inline(crate::openapi::CompletionRequest),
    responses(
        (status = 200, description = "The answers, whole or as server-sent events",
         content((TextCompletion = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn completions(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Response, Error> {
    let shared = server.clone();
    let (incoming, asks, how) = apart(move || {
        let how: How = incoming.parse()?;
        check_model(&shared, &how)?;
        let completion = incoming.parse::<Completion>()?;
        let asks = lower::completions(completion, &how, shared.limits.prompts_max)?;
        Ok((incoming, asks, how))
    })
    .await?;
    let logprobs = asks.first().is_some_and(|ask| ask.logprobs.is_some());
    let wants = Wants::of(&how, logprobs);
    let head = Head::new(&server, "cmpl", &incoming.record.id);
    let answering = answering::begin(&server, caller(incoming), asks).await?;
    if wants.stream {
        let n = answering.n_choices();
        let teller = TextTeller::new(head, n, (wants.usage, wants.logprobs));
        return Ok(telling::response(answering, teller));
    }
    let (answers, totals) = answering.whole().await?;
    Ok(Json(text::completion(&head, answers, &totals, wants.logprobs)).into_response())
}

fn caller(incoming: Incoming) -> Caller {
    Caller { who: incoming.who, record: incoming.record, room: incoming.room }
}

/// What is served.
#[utoipa::path(
    get, path = "/v1/models", tag = "OpenAI",
    responses((status = 200, description = "The model under each of its names", body = Models)),
)]
pub(crate) async fn models(State(server): State<Shared>) -> Json<Models> {
    let data = server.names.iter().filter(|name| *name != "*").map(|name| described(&server, name));
    Json(Models { object: "list", data: data.collect() })
}

/// One of the models.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "OpenAI",
    params(("id" = String, Path, description = "A name of the model")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = "default", description = "It is not served", body = ErrorBody),
    ),
)]
pub(crate) async fn model(
    State(server): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Model>, Error> {
    server.check_model(&id)?;
    Ok(Json(described(&server, &id)))
}

fn described(server: &Server, name: &str) -> Model {
    Model {
        id: name.into(),
        object: "model",
        created: server.started_unix_s,
        owned_by: "ruminate",
        max_model_len: server.context,
        status: "loaded",
        thinks: server.vocabulary.thinking.is_some(),
    }
}
