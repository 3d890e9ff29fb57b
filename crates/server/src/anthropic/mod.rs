//! Anthropic's dialect: messages with thinking blocks, and their tokens counted.
//!
//! `types` and `answers` are what is on the wire, `lower` goes in, `lift` comes out, and
//! `signature` knows a thought again that comes back.

pub(crate) mod answers;
mod lift;
mod lower;
mod signature;
pub(crate) mod types;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::answering::{self, Caller, apart, prompt_tokens};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::incoming::Incoming;
use crate::state::{Server, Shared};
use crate::telling;
use answers::{ErrorBody, Message, TokenCount};
use lift::{Head, MessageTeller};
use lower::Rules;
use types::{Display, How, Talk, Thinking};

pub use signature::SignatureKey;

pub(crate) const DIALECT: Dialect =
    Dialect { paths: &["/v1/messages"], lift_error: lift::error, id_header: Some("request-id") };

/// What holds for messages alone.
#[derive(Clone, Default)]
pub struct Settings {
    /// What thoughts are signed with; one of this start only if none.
    pub signature_key: Option<SignatureKey>,
    /// Tokens of thinking that a budget is at least.
    pub budget_min: u32,
    /// Whether sampling and forced tools are restricted while thinking, as Claude does.
    pub is_strict: bool,
}

impl Settings {
    /// Claude's own rules.
    pub fn claude() -> Settings {
        Settings { signature_key: None, budget_min: 1024, is_strict: true }
    }
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
}

/// Answers a conversation in blocks.
#[utoipa::path(
    post, path = "/v1/messages", tag = "Anthropic",
    request_body = inline(types::MessagesRequest),
    responses(
        (status = 200, description = "The answer, whole or as server-sent events",
         content((Message = "application/json"), (String = "text/event-stream"))),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn messages(
    State(server): State<Shared>,
    headers: HeaderMap,
    incoming: Incoming,
) -> Result<Response, Error> {
    let shared = server.clone();
    let is_interleaved = has_beta(&headers, "interleaved-thinking");
    let (incoming, ask, wants) = apart(move || {
        let (talk, how): (Talk, How) = (incoming.parse()?, incoming.parse()?);
        check_model(&shared, &talk)?;
        let omits = talk.thinking.as_ref().is_some_and(omits_thinking);
        let wants = (how.stream.unwrap_or(false), omits);
        let ask = lower::message(talk, how, &rules(&shared, is_interleaved))?;
        Ok((incoming, ask, wants))
    })
    .await?;
    let (streams, omits_thinking) = wants;
    let head = Head {
        id: incoming.record.id.clone(),
        model: server.name().into(),
        key: server.signature_key.clone(),
        omits_thinking,
    };
    let caller = Caller { who: incoming.who, record: incoming.record, room: incoming.room };
    let answering = answering::begin(&server, caller, vec![ask]).await?;
    if streams {
        let teller = MessageTeller::new(head, answering.prompt_tokens());
        return Ok(telling::response(answering, teller));
    }
    let (answers, totals) = answering.whole().await?;
    let answer = answers.into_iter().next().unwrap_or_default();
    Ok(Json(lift::message(&head, answer, &totals)).into_response())
}

/// Counts the tokens of a conversation.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "Anthropic", request_body = Talk,
    responses(
        (status = 200, description = "Tokens of the prompt", body = TokenCount),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn count_tokens(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Json<TokenCount>, Error> {
    apart(move || {
        let talk: Talk = incoming.parse()?;
        check_model(&server, &talk)?;
        let (conversation, think) = lower::counted(talk, &rules(&server, true))?;
        let think = think.or(server.defaults.think);
        let (tokens, _) = prompt_tokens(&server, &conversation, think)?;
        Ok(Json(TokenCount { input_tokens: tokens.len() }))
    })
    .await
}

fn rules(server: &Server, is_interleaved: bool) -> Rules<'_> {
    Rules {
        settings: &server.messages,
        key: &server.signature_key,
        model: server.name(),
        is_interleaved,
    }
}

fn check_model(server: &Server, talk: &Talk) -> Result<(), Error> {
    talk.model.as_deref().map_or(Ok(()), |model| server.check_model(model))
}

fn omits_thinking(thinking: &Thinking) -> bool {
    thinking.display == Some(Display::Omitted)
}

/// Whether a client asks for a beta, of whichever date.
fn has_beta(headers: &HeaderMap, name: &str) -> bool {
    let lists = headers.get_all("anthropic-beta").iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|beta| beta.trim().starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_are_found_in_one_header_or_several() {
        let mut headers = HeaderMap::new();
        headers.append("anthropic-beta", "a-2025-01-01, interleaved-thinking-x".parse().unwrap());
        headers.append("anthropic-beta", "effort-y".parse().unwrap());
        assert!(has_beta(&headers, "interleaved-thinking"));
        assert!(has_beta(&headers, "effort"));
        assert!(!has_beta(&headers, "thinking"));
    }
}
