//! The small set of Ollama's API that its clients need to chat: tags, show, version, chat,
//! generate. Nothing is pulled, made or deleted, and a model stays as long as its server.

pub(crate) mod answers;
mod lift;
mod lower;
pub(crate) mod types;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value};

use crate::answering::{self, Answering, Caller, apart};
use crate::ask::Ask;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::incoming::Incoming;
use crate::part::Answer;
use crate::state::{Server, Shared};
use crate::telling;
use answers::{Chat, Details, ErrorBody, Generated, Model, Show, Tags, Version};
use lift::{ChatTeller, GenerateTeller};
use types::{ChatRequest, GenerateRequest, ShowRequest};

/// The Ollama whose API this is: `think` with levels, tools in streams.
const VERSION: &str = "0.12.0";

pub(crate) const DIALECT: Dialect =
    Dialect { paths: &["/api/"], lift_error: lift::error, id_header: None };

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/chat", post(chat))
        .route("/api/generate", post(generate))
        .route("/api/tags", get(tags))
        .route("/api/show", post(show))
        .route("/api/version", get(version))
}

/// Answers a conversation, line by line unless `stream` is false.
#[utoipa::path(
    post, path = "/api/chat", tag = "Ollama", request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer, whole or as lines of JSON",
         content((Chat = "application/json"), (String = "application/x-ndjson"))),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn chat(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Response, Error> {
    let shared = server.clone();
    let (incoming, ask, streams) = apart(move || {
        let request: ChatRequest = incoming.parse()?;
        check_model(&shared, &request.model)?;
        let streams = request.how.stream.unwrap_or(true);
        Ok((incoming, lower::chat(request)?, streams))
    })
    .await?;
    let Some(ask) = ask else {
        return Ok(Json(lift::loaded_chat(server.name())).into_response());
    };
    let answering = begin(&server, incoming, ask).await?;
    if streams {
        return Ok(telling::response(answering, ChatTeller::new(server.name())));
    }
    Ok(Json(lift::chat(server.name(), whole(answering).await?)).into_response())
}

/// Answers one prompt, line by line unless `stream` is false.
#[utoipa::path(
    post, path = "/api/generate", tag = "Ollama", request_body = GenerateRequest,
    responses(
        (status = 200, description = "The answer, whole or as lines of JSON",
         content((Generated = "application/json"), (String = "application/x-ndjson"))),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn generate(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Response, Error> {
    let shared = server.clone();
    let (incoming, ask, streams) = apart(move || {
        let request: GenerateRequest = incoming.parse()?;
        check_model(&shared, &request.model)?;
        let streams = request.how.stream.unwrap_or(true);
        Ok((incoming, lower::generate(request)?, streams))
    })
    .await?;
    let Some(ask) = ask else {
        return Ok(Json(lift::loaded(server.name())).into_response());
    };
    let answering = begin(&server, incoming, ask).await?;
    if streams {
        return Ok(telling::response(answering, GenerateTeller::new(server.name())));
    }
    Ok(Json(lift::generated(server.name(), whole(answering).await?)).into_response())
}

async fn begin(server: &Shared, incoming: Incoming, ask: Ask) -> Result<Answering, Error> {
    let caller = Caller { who: incoming.who, record: incoming.record, room: incoming.room };
    answering::begin(server, caller, vec![ask]).await
}

async fn whole(answering: Answering) -> Result<Answer, Error> {
    let (answers, _) = answering.whole().await?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

/// What is served.
#[utoipa::path(
    get, path = "/api/tags", tag = "Ollama",
    responses(
        (status = 200, description = "The model under each of its names", body = Tags),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn tags(State(server): State<Shared>) -> Json<Tags> {
    let models = server.names.iter().filter(|name| *name != "*").map(|name| Model {
        name: name.clone(),
        model: name.clone(),
        modified_at: lift::time(server.started_unix_s),
        size: server.facts.weights_bytes,
        digest: String::new(),
        details: details(&server),
    });
    Json(Tags { models: models.collect() })
}

/// What the model is.
#[utoipa::path(
    post, path = "/api/show", tag = "Ollama", request_body = ShowRequest,
    responses(
        (status = 200, description = "The model", body = Show),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn show(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Json<Show>, Error> {
    let asked: ShowRequest = incoming.parse()?;
    let Some(name) = asked.model.or(asked.name) else {
        return Err(Error::invalid("model", "missing field `model`"));
    };
    check_model(&server, &name)?;
    let (facts, vocabulary) = (&server.facts, &server.vocabulary);
    let mut capabilities = vec!["completion"];
    if vocabulary.template.is_some() {
        capabilities.push("tools");
    }
    if vocabulary.thinking.is_some() {
        capabilities.push("thinking");
    }
    let mut info = Map::new();
    let mut note = |key: &str, value: Value| info.insert(key.into(), value);
    note("general.architecture", facts.family.into());
    note("general.parameter_count", facts.parameters.into());
    note(&format!("{}.context_length", facts.family), server.context.into());
    note(&format!("{}.embedding_length", facts.family), facts.dim.into());
    note(&format!("{}.block_count", facts.family), facts.layers.into());
    Ok(Json(Show {
        modified_at: lift::time(server.started_unix_s),
        template: vocabulary.template.as_ref().map_or("", |of| of.source()).to_string(),
        details: details(&server),
        model_info: info.into(),
        capabilities,
    }))
}

/// Which Ollama this speaks like.
#[utoipa::path(
    get, path = "/api/version", tag = "Ollama",
    responses(
        (status = 200, description = "Versions", body = Version),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn version() -> Json<Version> {
    Json(Version { version: VERSION, ruminate: env!("CARGO_PKG_VERSION") })
}

fn details(server: &Server) -> Details {
    let facts = &server.facts;
    let family = facts.family.to_string();
    Details {
        parent_model: String::new(),
        format: facts.format.into(),
        families: vec![family.clone()],
        family,
        parameter_size: parameter_size(facts.parameters),
        quantization_level: facts.quant.to_uppercase(),
    }
}

/// As people say it: 134.5M, 7.6B.
fn parameter_size(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.1}B", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n => format!("{n}"),
    }
}

/// Names may have Ollama's usual tag.
fn check_model(server: &Server, name: &str) -> Result<(), Error> {
    let untagged = name.strip_suffix(":latest").unwrap_or(name);
    server.check_model(untagged).or_else(|_| server.check_model(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_people_say_them() {
        for (n, expected) in [(999, "999"), (134_515_008, "134.5M"), (7_600_000_000, "7.6B")] {
            assert_eq!(parameter_size(n), expected);
        }
    }
}
