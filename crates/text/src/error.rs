//! What can be wrong with a vocabulary, a template or a conversation.

/// A fault of untrusted input, in words that name it. The caller adds the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("tokenizer model {0:?} is not supported: only \"gpt2\" and \"llama\" are")]
    UnknownModel(String),
    #[error("pre-tokenizer {0:?} is not known: its tokens would be wrong")]
    UnknownPre(String),
    #[error("the vocabulary has {found} tokens, more than the {limit} allowed")]
    VocabularyTooLarge { found: usize, limit: usize },
    #[error("the vocabulary is empty")]
    VocabularyEmpty,
    #[error("{what} has {found} entries for {expected} tokens")]
    MisshapenVocabulary { what: &'static str, found: usize, expected: usize },
    #[error("{what} is {id}, but the vocabulary has {vocab_len} tokens")]
    IdOutOfRange { what: &'static str, id: u64, vocab_len: usize },
    #[error("token {id} has length {len}, more than the {limit} bytes allowed")]
    TokenTooLong { id: u32, len: usize, limit: usize },
    #[error("tokens {first} and {second} are both {text:?}")]
    DuplicateToken { first: u32, second: u32, text: String },
    #[error("merge {index} is {text:?}, not two tokens and a space between")]
    BadMerge { index: usize, text: String },
    #[error("a merge builds {0:?}, which is a control token: text could forge it")]
    ForgeableControlToken(String),
    #[error("token {id} ({text:?}) is not written in the byte alphabet")]
    NotByteLevel { id: u32, text: String },
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("{what} is not valid: {reason}")]
    Json { what: &'static str, reason: String },
    #[error("the chat template has {found} bytes, more than the {limit} allowed")]
    TemplateTooLarge { found: usize, limit: usize },
    #[error("the chat template is not valid: {0}")]
    TemplateSyntax(String),
    #[error("the chat template failed: {0}")]
    TemplateFailed(String),
    #[error("the chat template refuses the conversation: {0}")]
    TemplateRefused(String),
    #[error("the chat template writes more than {limit} bytes")]
    PromptTooLarge { limit: usize },
    #[error("the chat template does more work than its limit allows")]
    TemplateTooSlow,
    #[error("the conversation has {found} bytes, more than the {limit} allowed")]
    ConversationTooLarge { found: usize, limit: usize },
    #[error("{found} stop strings, more than the {limit} allowed")]
    TooManyStops { found: usize, limit: usize },
    #[error("a stop string of {found} bytes: it must have 1 to {limit}")]
    BadStopLength { found: usize, limit: usize },
}
