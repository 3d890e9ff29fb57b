//! OpenAI's responses: items in, items out. Errors are told as in OpenAI's other paths.
//!
//! Nothing is kept between requests: a client sends the whole conversation each time. What was
//! thought is told in full, as `reasoning_text`, and is read when it comes back.

pub(crate) mod answers;
mod lift;
mod lower;
pub(crate) mod types;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::answering::{self, Caller, apart};
use crate::error::Error;
use crate::incoming::Incoming;
use crate::openai::answers::ErrorBody;
use crate::state::{Shared, now_unix_s};
use crate::telling;
use answers::Echo;
use lift::{Head, ResponseTeller};
use types::{ResponsesRequest, Summary};

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/v1/responses", post(responses))
}

/// Answers a conversation in items.
#[utoipa::path(
    post, path = "/v1/responses", tag = "OpenAI", request_body = ResponsesRequest,
    responses(
        (status = 200, description = "The response, whole or as server-sent events",
         content((answers::Response = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn responses(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Response, Error> {
    let shared = server.clone();
    let (incoming, ask, echo, wants) = apart(move || {
        let request: ResponsesRequest = incoming.parse()?;
        if let Some(model) = &request.model {
            shared.check_model(model)?;
        }
        let echo = echo(&request, incoming.parse()?);
        let summary = request.reasoning.as_ref().and_then(|reasoning| reasoning.summary);
        let wants_summary = summary.is_some_and(|summary| summary != Summary::None);
        let wants = (request.stream.unwrap_or(false), wants_summary);
        Ok((incoming, lower::ask(request)?, echo, wants))
    })
    .await?;
    let (streams, wants_summary) = wants;
    let head = Head {
        id: incoming.record.id.clone(),
        created: now_unix_s(),
        model: server.name().into(),
        echo,
        wants_summary,
    };
    let caller = Caller { who: incoming.who, record: incoming.record, room: incoming.room };
    let answering = answering::begin(&server, caller, vec![ask]).await?;
    if streams {
        return Ok(telling::response(answering, ResponseTeller::new(head)));
    }
    let (answers, totals) = answering.whole().await?;
    let answer = answers.into_iter().next().unwrap_or_default();
    Ok(Json(lift::response(&head, answer, &totals)).into_response())
}

/// What is told again; `raw` is the body as it came.
fn echo(request: &ResponsesRequest, mut raw: Value) -> Echo {
    let mut or = |name: &str, otherwise: Value| match raw.get_mut(name).map(Value::take) {
        None | Some(Value::Null) => otherwise,
        Some(found) => found,
    };
    Echo {
        instructions: request.instructions.clone(),
        max_output_tokens: request.max_output_tokens,
        metadata: request.metadata.clone().unwrap_or_else(|| json!({})),
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        reasoning: or("reasoning", json!({"effort": null, "summary": null})),
        temperature: request.temperature,
        text: or("text", json!({"format": {"type": "text"}})),
        tool_choice: or("tool_choice", json!("auto")),
        tools: or("tools", json!([])),
        top_p: request.top_p,
    }
}
