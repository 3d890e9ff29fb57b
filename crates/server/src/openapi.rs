//! The OpenAPI document: what each module says of its own paths, put together.

use serde::Deserialize;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::openai::types::{Chat, Completion, How};
use crate::{anthropic, ollama, openai, page, responses, status, tokens};

/// The body of a chat.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "described, and read as its two halves")]
pub(crate) struct ChatRequest {
    #[serde(flatten)]
    chat: Chat,
    #[serde(flatten)]
    how: How,
}

/// The body of a completion.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "described, and read as its two halves")]
pub(crate) struct CompletionRequest {
    #[serde(flatten)]
    completion: Completion,
    #[serde(flatten)]
    how: How,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "ruminate", description = "An engine for open reasoning models"),
    paths(
        openai::chat, openai::completions, openai::models, openai::model,
        responses::responses,
        anthropic::messages, anthropic::count_tokens,
        ollama::chat, ollama::generate, ollama::tags, ollama::show, ollama::version,
        tokens::tokenize, tokens::detokenize, tokens::info,
        page::page, status::health, status::ready, status::metrics, status::live,
        status::openapi,
    ),
    security(("bearer" = []), ("x-api-key" = [])),
    modifiers(&Schemes),
)]
struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
        components.add_security_scheme("x-api-key", header);
    }
}

/// All paths.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
