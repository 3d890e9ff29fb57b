//! Vocabularies as files hold them, before anybody believes them.

use serde_json::Value;

use crate::Error;

/// Tokens of the largest vocabulary that is accepted; the largest in use has 262,144.
pub(crate) const VOCAB_LEN_MAX: usize = 1 << 20;
/// Bytes of the longest token that is accepted.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;
/// Merges of the largest list that is accepted.
pub(crate) const MERGES_MAX: usize = 1 << 22;

/// Where a tokenizer comes from.
#[derive(Debug, Clone, Copy)]
pub enum VocabSource<'a> {
    /// The bytes of a Hugging Face `tokenizer.json`.
    TokenizerJson(&'a [u8]),
    /// The `tokenizer.ggml.*` keys of a GGUF file.
    Gguf(&'a GgufVocab),
}

/// The `tokenizer.ggml.*` keys of a GGUF file, with V tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocab {
    /// `model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE).
    pub model: String,
    /// `pre`: which pre-tokenizer a `gpt2` vocabulary was made with.
    pub pre: Option<String>,
    /// `tokens` (V): the text of each token, in the byte alphabet or with `▁` for a space.
    pub tokens: Vec<String>,
    /// `token_type` (V) or empty: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// `scores` (V) or empty: a `llama` vocabulary merges the pair of the highest score first.
    pub scores: Vec<f32>,
    /// `merges`: two tokens and a space between, first come first merged.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`.
    pub eot: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
}

/// What stands beside a vocabulary: `tokenizer_config.json` and `generation_config.json`.
///
/// A GGUF file has all of it but the template among the keys of [`GgufVocab`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// The source of the chat template.
    pub chat_template: Option<String>,
    /// `bos_token`.
    pub bos_token: Option<String>,
    /// `eos_token`.
    pub eos_token: Option<String>,
    /// `unk_token`.
    pub unk_token: Option<String>,
    /// `pad_token`.
    pub pad_token: Option<String>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `eos_token_id` of `generation_config.json`: tokens that end an answer.
    pub eos_ids: Vec<u32>,
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json` and, if there is one, `generation_config.json`.
    ///
    /// A missing key is `None`; a key of the wrong type is an error.
    pub fn from_json(tokenizer: &[u8], generation: Option<&[u8]>) -> Result<Self, Error> {
        const WHAT: &str = "tokenizer_config.json";
        let root = object(WHAT, tokenizer)?;
        let mut config = Self {
            chat_template: chat_template(&root)?,
            bos_token: token_text(&root, "bos_token")?,
            eos_token: token_text(&root, "eos_token")?,
            unk_token: token_text(&root, "unk_token")?,
            pad_token: token_text(&root, "pad_token")?,
            add_bos: root.get("add_bos_token").and_then(Value::as_bool),
            add_eos: root.get("add_eos_token").and_then(Value::as_bool),
            eos_ids: Vec::new(),
        };
        if let Some(generation) = generation {
            const WHAT: &str = "generation_config.json";
            let root = object(WHAT, generation)?;
            let ids = match root.get("eos_token_id") {
                None | Some(Value::Null) => &[],
                Some(Value::Array(ids)) => ids.as_slice(),
                Some(id) => std::slice::from_ref(id),
            };
            for id in ids {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let bad = || Error::Json { what: WHAT, reason: "eos_token_id is no id".into() };
                config.eos_ids.push(id.ok_or_else(bad)?);
            }
        }
        Ok(config)
    }
}

fn object(what: &'static str, bytes: &[u8]) -> Result<Value, Error> {
    let root: Value =
        serde_json::from_slice(bytes).map_err(|e| Error::Json { what, reason: e.to_string() })?;
    if !root.is_object() {
        return Err(Error::Json { what, reason: "it is not an object".into() });
    }
    Ok(root)
}

/// A token named by its text or by an object that holds it.
fn token_text(root: &Value, key: &str) -> Result<Option<String>, Error> {
    match root.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(token) => match token.get("content").and_then(Value::as_str) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(Error::Json {
                what: "tokenizer_config.json",
                reason: format!("{key} is no token"),
            }),
        },
    }
}

/// The template, or the one called `default` of several.
fn chat_template(root: &Value) -> Result<Option<String>, Error> {
    match root.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(Value::Array(named)) => {
            let named_default = |t: &&Value| t.get("name").is_some_and(|n| n == "default");
            let default = named.iter().find(named_default).or(named.first());
            let source = default.and_then(|t| t.get("template")).and_then(Value::as_str);
            Ok(source.map(str::to_owned))
        }
        Some(_) => Err(Error::Json {
            what: "tokenizer_config.json",
            reason: "chat_template is neither text nor a list".into(),
        }),
    }
}

/// What a token is for, as GGUF numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl GgufVocab {
    /// Checks lengths and ids, so that what follows may index.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let vocab_len = self.tokens.len();
        if vocab_len == 0 {
            return Err(Error::VocabularyEmpty);
        }
        if vocab_len > VOCAB_LEN_MAX {
            return Err(Error::VocabularyTooLarge { found: vocab_len, limit: VOCAB_LEN_MAX });
        }
        let lists = [("token_type", self.token_types.len()), ("scores", self.scores.len())];
        for (what, found) in lists {
            if found != 0 && found != vocab_len {
                return Err(Error::MisshapenVocabulary { what, found, expected: vocab_len });
            }
        }
        if self.merges.len() > MERGES_MAX {
            let found = self.merges.len();
            return Err(Error::VocabularyTooLarge { found, limit: MERGES_MAX });
        }
        for (what, id) in [
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("unknown_token_id", self.unk),
            ("padding_token_id", self.pad),
        ] {
            check_id(what, id, vocab_len)?;
        }
        for (id, token) in (0..).zip(&self.tokens) {
            check_len(id, token)?;
        }
        Ok(())
    }

    pub(crate) fn token_type(&self, index: usize) -> TokenType {
        match self.token_types.get(index) {
            Some(2) => TokenType::Unknown,
            Some(3) => TokenType::Control,
            Some(4) => TokenType::UserDefined,
            Some(5) => TokenType::Unused,
            Some(6) => TokenType::Byte,
            // ggml treats a number it does not know as a token of text, and so do we.
            _ => TokenType::Normal,
        }
    }
}

pub(crate) fn check_id(what: &'static str, id: Option<u32>, vocab_len: usize) -> Result<(), Error> {
    match id {
        Some(id) if id as usize >= vocab_len => {
            Err(Error::IdOutOfRange { what, id: id.into(), vocab_len })
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_len(id: u32, token: &str) -> Result<(), Error> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Error::TokenTooLong { id, len: token.len(), limit: TOKEN_BYTES_MAX });
    }
    Ok(())
}
