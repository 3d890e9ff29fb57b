//! Text to tokens and back, as vLLM and llama.cpp offer it.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use text::{Controls, Conversation};
use utoipa::ToSchema;

use crate::answering::{apart, prompt_tokens};
use crate::error::Error;
use crate::incoming::Incoming;
use crate::openai::answers::ErrorBody;
use crate::openai::types::Message;
use crate::openai::{conversation, token_text};
use crate::state::{Server, Shared};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/tokenizer_info", get(info))
}

/// A text, or a conversation up to where its answer begins.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Tokenize {
    model: Option<String>,
    #[serde(alias = "content")]
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Value>>,
    /// Whether a text gets the token that begins one; it does if left out.
    #[serde(alias = "add_special")]
    add_special_tokens: Option<bool>,
    /// Whether to tell each token's text.
    return_token_strs: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tokenized {
    count: usize,
    max_model_len: usize,
    tokens: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_strs: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Detokenize {
    model: Option<String>,
    tokens: Vec<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detokenized {
    prompt: String,
    /// The same.
    content: String,
}

/// What a client needs to know that has no tokenizer of its own.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenizerFacts {
    tokenizer_class: &'static str,
    /// Tokens of prompt and answer together.
    model_max_length: usize,
    bos_token: Option<String>,
    eos_token: Option<String>,
    pad_token: Option<String>,
    chat_template: Option<String>,
}

/// How the tokens that begin and end a text are spelled, and the chat template.
#[utoipa::path(
    get, path = "/tokenizer_info", tag = "Tokens",
    responses((status = 200, description = "The tokenizer", body = TokenizerFacts)),
)]
pub(crate) async fn info(State(server): State<Shared>) -> Json<TokenizerFacts> {
    let specials = server.vocabulary.tokenizer.specials();
    Json(TokenizerFacts {
        tokenizer_class: "ruminate",
        model_max_length: server.context,
        bos_token: specials.bos,
        eos_token: specials.eos,
        pad_token: specials.pad,
        chat_template: server.vocabulary.template.as_ref().map(|it| it.source().to_string()),
    })
}

/// The tokens of a text or of a conversation.
#[utoipa::path(
    post, path = "/tokenize", tag = "Tokens", request_body = Tokenize,
    responses(
        (status = 200, description = "The tokens", body = Tokenized),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn tokenize(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Json<Tokenized>, Error> {
    apart(move || {
        let asked: Tokenize = incoming.parse()?;
        check_model(&server, asked.model.as_deref())?;
        let tokenizer = &server.vocabulary.tokenizer;
        let tokens = match (asked.prompt, asked.messages) {
            (Some(text), None) => {
                let whole = asked.add_special_tokens.unwrap_or(true);
                let encoded = match whole {
                    true => tokenizer.encode_document(&text),
                    false => tokenizer.encode_text(&text),
                };
                encoded.map_err(engine::Error::from)?
            }
            (None, Some(messages)) => {
                let talk: Conversation = conversation(messages, asked.tools)?;
                prompt_tokens(&server, &talk, server.defaults.think)?.0
            }
            _ => return Err(Error::invalid("prompt", "either `prompt` or `messages` is needed")),
        };
        let strings = || tokens.iter().map(|&id| token_text(tokenizer.bytes(id))).collect();
        let token_strs = asked.return_token_strs.unwrap_or(false).then(strings);
        let (count, max_model_len) = (tokens.len(), server.context);
        Ok(Json(Tokenized { count, max_model_len, tokens, token_strs }))
    })
    .await
}

/// The text of tokens.
#[utoipa::path(
    post, path = "/detokenize", tag = "Tokens", request_body = Detokenize,
    responses(
        (status = 200, description = "The text", body = Detokenized),
        (status = "default", description = "What went wrong", body = ErrorBody),
    ),
)]
pub(crate) async fn detokenize(
    State(server): State<Shared>,
    incoming: Incoming,
) -> Result<Json<Detokenized>, Error> {
    apart(move || {
        let asked: Detokenize = incoming.parse()?;
        check_model(&server, asked.model.as_deref())?;
        let tokenizer = &server.vocabulary.tokenizer;
        let vocab = tokenizer.vocab_len();
        if let Some(id) = asked.tokens.iter().find(|&&id| id as usize >= vocab) {
            let message = format!("token {id} is not in the vocabulary of {vocab}");
            return Err(Error::invalid("tokens", message));
        }
        let prompt = tokenizer.decode(&asked.tokens, Controls::Keep);
        Ok(Json(Detokenized { content: prompt.clone(), prompt }))
    })
    .await
}

fn check_model(server: &Server, model: Option<&str>) -> Result<(), Error> {
    model.map_or(Ok(()), |model| server.check_model(model))
}
