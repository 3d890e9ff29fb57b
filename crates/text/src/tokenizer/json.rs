//! A tokenizer out of a Hugging Face `tokenizer.json`.
//!
//! The file's added tokens are taken out before the `tokenizers` crate sees it, so that its
//! tokenizer reads everything as text; `Tokenizer` matches them itself, where a template wrote.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::parts::{Added, DummyPrefix, Ids, Parts};
use super::pieces::{Alphabet, Pieces, Speller};
use super::pre::Pre;
use super::vocab::{
    GgufVocab, MERGES_MAX, TOKEN_BYTES_MAX, TokenType, TokenizerConfig, VOCAB_LEN_MAX, check_id,
    check_len,
};
use crate::Error;

pub(crate) fn build(bytes: &[u8], config: &TokenizerConfig) -> Result<Parts, Error> {
    let mut root: Value = serde_json::from_slice(bytes).map_err(|e| bad(&e.to_string()))?;
    let root = root.as_object_mut().ok_or_else(|| bad("it is not an object"))?;
    let alphabet = alphabet(root)?;
    let (added, blanks) = take_added(root)?;
    let starts_with = post_processor_bos(root);
    let prefix = take_prefix(root);

    let model = root.get_mut("model").and_then(Value::as_object_mut);
    let model = model.ok_or_else(|| bad("it has no model"))?;
    let tokens = tokens(model, &added, &blanks)?;
    let pieces = pieces(&tokens, &added, &blanks, alphabet)?;
    check_merges(model, &added)?;
    isolate(model, &added, &blanks)?;
    for key in ["post_processor", "decoder", "truncation", "padding"] {
        root.insert(key.into(), Value::Null);
    }
    let isolated = serde_json::to_vec(root).map_err(|e| bad(&e.to_string()))?;
    let inner =
        tokenizers::Tokenizer::from_bytes(isolated).map_err(|e| Error::Tokenizer(e.to_string()))?;

    let id_of = |text: &Option<String>| {
        let text = text.as_ref()?;
        let added = added.iter().find(|a| &a.text == text).map(|a| a.id);
        added.or_else(|| tokens.get(text.as_str()).copied())
    };
    let ids = Ids {
        bos: id_of(&config.bos_token).or_else(|| id_of(&starts_with)),
        eos: id_of(&config.eos_token),
        unk: id_of(&config.unk_token),
        pad: id_of(&config.pad_token),
    };
    let mut parts = Parts {
        inner,
        pieces,
        added,
        prefix,
        ids,
        stops: Vec::new(),
        add_bos: config.add_bos.or(Some(starts_with.is_some())),
        add_eos: config.add_eos,
    };
    for &id in &config.eos_ids {
        check_id("eos_token_id", Some(id), parts.pieces.len())?;
    }
    parts.stops.extend(&config.eos_ids);
    parts.match_blanks(blanks)?;
    Ok(parts)
}

impl GgufVocab {
    /// The keys by which a GGUF file holds the vocabulary of a `tokenizer.json`.
    ///
    /// Ids that the file leaves out become tokens of no text.
    ///
    /// # Errors
    /// As [`crate::Tokenizer::new`]; [`Error::UnknownPre`] if GGUF has no name for how the file
    /// cuts text; [`Error::UnknownModel`] if it is not byte-level BPE.
    pub fn from_tokenizer_json(bytes: &[u8], config: &TokenizerConfig) -> Result<Self, Error> {
        let mut root: Value = serde_json::from_slice(bytes).map_err(|e| bad(&e.to_string()))?;
        let root = root.as_object_mut().ok_or_else(|| bad("it is not an object"))?;
        if alphabet(root)? != Alphabet::Bytes {
            return Err(Error::UnknownModel("SentencePiece in a tokenizer.json".into()));
        }
        let pre = Pre::name_in_json(root.get("pre_tokenizer").unwrap_or(&Value::Null))?;
        let (added, blanks) = take_added(root)?;
        let starts_with = post_processor_bos(root);
        let model = root.get("model").and_then(Value::as_object);
        let model = model.ok_or_else(|| bad("it has no model"))?;
        let mut vocab =
            GgufVocab { model: "gpt2".into(), pre: Some(pre.into()), ..Self::default() };
        for (id, (text, ty)) in typed(&tokens(model, &added, &blanks)?, &added, &blanks) {
            vocab.pad_to(id as usize);
            vocab.tokens.push(text.into());
            vocab.token_types.push(ty as i32);
        }
        for pair in merges(model)? {
            let (left, right) = pair?;
            vocab.merges.push(format!("{left} {right}"));
        }
        vocab.bos = vocab.id_of(&config.bos_token).or_else(|| vocab.id_of(&starts_with));
        vocab.eos = vocab.id_of(&config.eos_token);
        vocab.unk = vocab.id_of(&config.unk_token);
        vocab.pad = vocab.id_of(&config.pad_token);
        vocab.eot = config.eos_ids.iter().copied().find(|&id| !vocab.is_known_end(id));
        vocab.add_bos = config.add_bos.or(Some(starts_with.is_some()));
        vocab.add_eos = config.add_eos;
        vocab.check()?;
        Ok(vocab)
    }

    /// Adds tokens of no text until there are `len`.
    pub fn pad_to(&mut self, len: usize) {
        while self.tokens.len() < len {
            self.tokens.push(format!("[PAD{}]", self.tokens.len()));
            self.token_types.push(TokenType::Unused as i32);
        }
    }

    fn id_of(&self, text: &Option<String>) -> Option<u32> {
        let text = text.as_ref()?;
        self.tokens.iter().position(|token| token == text).map(|id| id as u32)
    }

    /// Whether a reader of the keys knows without being told that this token ends an answer.
    fn is_known_end(&self, id: u32) -> bool {
        let text = self.tokens.get(id as usize);
        self.eos == Some(id) || text.is_some_and(|text| super::ENDS.contains(&text.as_str()))
    }
}

/// All tokens by their ids, each with what it is for.
fn typed<'a>(
    ordinary: &'a BTreeMap<String, u32>,
    added: &'a [Added],
    blanks: &'a [(u32, String)],
) -> BTreeMap<u32, (&'a str, TokenType)> {
    let mut typed = BTreeMap::new();
    typed.extend(ordinary.iter().map(|(text, &id)| (id, (text.as_str(), TokenType::Normal))));
    typed.extend(blanks.iter().map(|(id, t)| (*id, (t.as_str(), TokenType::UserDefined))));
    typed.extend(added.iter().map(|added| {
        let ty = if added.control { TokenType::Control } else { TokenType::UserDefined };
        (added.id, (added.text.as_str(), ty))
    }));
    typed
}

fn bad(reason: &str) -> Error {
    Error::Json { what: "tokenizer.json", reason: reason.to_owned() }
}

/// How tokens are written, which the decoder tells.
fn alphabet(root: &Map<String, Value>) -> Result<Alphabet, Error> {
    let decoder = root.get("decoder").unwrap_or(&Value::Null);
    let several = decoder.get("decoders").and_then(Value::as_array);
    let steps = several.map_or(std::slice::from_ref(decoder), Vec::as_slice);
    let has = |name: &str| steps.iter().any(|s| s.get("type").is_some_and(|t| t == name));
    if has("ByteLevel") {
        Ok(Alphabet::Bytes)
    } else if has("ByteFallback") || has("Metaspace") {
        Ok(Alphabet::SentencePiece)
    } else {
        Err(bad("its decoder is neither ByteLevel nor SentencePiece's"))
    }
}

/// Removes the added tokens: those that are markup, and those that are mere white space.
#[expect(clippy::type_complexity, reason = "two lists, each named by its use")]
fn take_added(root: &mut Map<String, Value>) -> Result<(Vec<Added>, Vec<(u32, String)>), Error> {
    let mut added = Vec::new();
    let mut blanks = Vec::new();
    let mut seen = BTreeMap::new();
    let entries = match root.insert("added_tokens".into(), Value::Array(Vec::new())) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(bad("added_tokens is not a list")),
    };
    for entry in entries {
        let flag = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(false);
        let id = entry.get("id").and_then(Value::as_u64);
        let id = id.ok_or_else(|| bad("an added token has no id"))?;
        let text = entry.get("content").and_then(Value::as_str);
        let text = text.ok_or_else(|| bad("an added token has no content"))?.to_owned();
        let limit = VOCAB_LEN_MAX;
        let out_of_range = Error::IdOutOfRange { what: "an added token", id, vocab_len: limit };
        let id = u32::try_from(id).ok().filter(|&id| (id as usize) < limit).ok_or(out_of_range)?;
        check_len(id, &text)?;
        if let Some(first) = seen.insert(text.clone(), id) {
            return Err(Error::DuplicateToken { first, second: id, text });
        }
        if text.is_empty() {
            continue;
        }
        if text.trim().is_empty() && !flag("special") {
            blanks.push((id, text));
        } else {
            let (control, lstrip, rstrip) = (flag("special"), flag("lstrip"), flag("rstrip"));
            added.push(Added { id, text, control, lstrip, rstrip });
        }
    }
    Ok((added, blanks))
}

/// The token that the post-processor puts before a text.
fn post_processor_bos(root: &Map<String, Value>) -> Option<String> {
    let post = root.get("post_processor")?;
    let several = post.get("processors").and_then(Value::as_array);
    let steps = several.map_or(std::slice::from_ref(post), Vec::as_slice);
    let template = steps.iter().find_map(|step| step.get("single"))?;
    let first = template.get(0)?.get("SpecialToken")?.get("id")?;
    first.as_str().map(str::to_owned)
}

/// How spaces are put before text. Where that is only before the first segment, the job is taken
/// from the inner tokenizer, to which each segment looks like the first.
fn take_prefix(root: &mut Map<String, Value>) -> DummyPrefix {
    let prepends = |step: &Value| step.get("type").is_some_and(|t| t == "Prepend");
    let normalizer = root.get("normalizer").unwrap_or(&Value::Null);
    let several = normalizer.get("normalizers").and_then(Value::as_array);
    let steps = several.map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    if steps.iter().any(prepends) {
        return DummyPrefix::Inner;
    }
    let Some(pre) = root.get_mut("pre_tokenizer") else {
        return DummyPrefix::None;
    };
    let steps: Vec<&mut Value> = match pre.get("pretokenizers").is_some() {
        true => pre["pretokenizers"].as_array_mut().into_iter().flatten().collect(),
        false => vec![pre],
    };
    for step in steps {
        if step.get("type").is_some_and(|t| t == "Metaspace") {
            let scheme = step.get("prepend_scheme").and_then(Value::as_str).unwrap_or("always");
            match scheme {
                "first" => {
                    step["prepend_scheme"] = "never".into();
                    return DummyPrefix::FirstSegment;
                }
                "always" => return DummyPrefix::Inner,
                _ => return DummyPrefix::None,
            }
        }
    }
    DummyPrefix::None
}

/// The tokens of the model with their ids, all of them checked.
fn tokens(
    model: &Map<String, Value>,
    added: &[Added],
    blanks: &[(u32, String)],
) -> Result<BTreeMap<String, u32>, Error> {
    if model.get("type").is_some_and(|t| t != "BPE") {
        return Err(Error::Tokenizer(format!("model {} is not BPE", model["type"])));
    }
    let vocab = model.get("vocab").and_then(Value::as_object);
    let vocab = vocab.ok_or_else(|| bad("its model has no vocab"))?;
    if vocab.is_empty() {
        return Err(Error::VocabularyEmpty);
    }
    let found = vocab.len() + added.len() + blanks.len();
    if found > VOCAB_LEN_MAX {
        return Err(Error::VocabularyTooLarge { found, limit: VOCAB_LEN_MAX });
    }
    let mut text_of: BTreeMap<u32, &str> = BTreeMap::new();
    let mut tokens = BTreeMap::new();
    for (text, id) in vocab {
        let id = id.as_u64().ok_or_else(|| bad(&format!("the id of {text:?} is no number")))?;
        let limit = VOCAB_LEN_MAX;
        let out_of_range = Error::IdOutOfRange { what: "a token", id, vocab_len: limit };
        let id = u32::try_from(id).ok().filter(|&id| (id as usize) < limit).ok_or(out_of_range)?;
        check_len(id, text)?;
        tokens.insert(text.clone(), id);
        if text_of.insert(id, text).is_some() {
            return Err(bad(&format!("two tokens have the id {id}")));
        }
    }
    let extra = added.iter().map(|a| (a.id, &a.text)).chain(blanks.iter().map(|(id, t)| (*id, t)));
    for (id, text) in extra {
        if let Some(&other) = tokens.get(text).filter(|&&other| other != id) {
            return Err(Error::DuplicateToken { first: other, second: id, text: text.clone() });
        }
        if text_of.insert(id, text).is_some_and(|other| other != text) {
            return Err(bad(&format!("two tokens have the id {id}")));
        }
    }
    Ok(tokens)
}

fn pieces(
    tokens: &BTreeMap<String, u32>,
    added: &[Added],
    blanks: &[(u32, String)],
    alphabet: Alphabet,
) -> Result<Pieces, Error> {
    let speller = Speller::new(alphabet);
    let as_is: BTreeMap<u32, &str> = added
        .iter()
        .map(|a| (a.id, a.text.as_str()))
        .chain(blanks.iter().map(|(id, text)| (*id, text.as_str())))
        .collect();
    let mut bytes_of: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (text, &id) in tokens {
        if !as_is.contains_key(&id) {
            bytes_of.insert(id, speller.spell(id, text)?);
        }
    }
    bytes_of.extend(as_is.into_iter().map(|(id, text)| (id, text.as_bytes().to_vec())));
    let mut pieces = Pieces::default();
    for (id, bytes) in bytes_of {
        // Ids that the file leaves out stand for nothing.
        while pieces.len() < id as usize {
            pieces.push(b"");
        }
        pieces.push(&bytes);
    }
    Ok(pieces)
}

/// Refuses merges by which text could become markup.
fn check_merges(model: &Map<String, Value>, added: &[Added]) -> Result<(), Error> {
    let forbidden: BTreeSet<&str> = added.iter().map(|a| a.text.as_str()).collect();
    let mut product = String::new();
    for pair in merges(model)? {
        let (left, right) = pair?;
        product.clear();
        product.push_str(left);
        product.push_str(right);
        if forbidden.contains(product.as_str()) {
            return Err(Error::ForgeableControlToken(product));
        }
    }
    Ok(())
}

/// The pairs of tokens that merge, first come first merged.
fn merges(
    model: &Map<String, Value>,
) -> Result<impl Iterator<Item = Result<(&str, &str), Error>>, Error> {
    let merges = model.get("merges").and_then(Value::as_array);
    let merges = merges.ok_or_else(|| bad("its model has no merges"))?;
    if merges.len() > MERGES_MAX {
        return Err(Error::VocabularyTooLarge { found: merges.len(), limit: MERGES_MAX });
    }
    Ok(merges.iter().enumerate().map(|(index, merge)| {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            other => other.get(0).and_then(Value::as_str).zip(other.get(1).and_then(Value::as_str)),
        };
        pair.filter(|(left, right)| left.len() + right.len() <= TOKEN_BYTES_MAX)
            .ok_or_else(|| Error::BadMerge { index, text: merge.to_string() })
    }))
}

/// Takes the markup out of the model's vocabulary, so that no way leads from text to it.
fn isolate(
    model: &mut Map<String, Value>,
    added: &[Added],
    blanks: &[(u32, String)],
) -> Result<(), Error> {
    let unk = model.get("unk_token").and_then(Value::as_str).map(str::to_owned);
    let vocab = model.get_mut("vocab").and_then(Value::as_object_mut);
    let vocab = vocab.ok_or_else(|| bad("its model has no vocab"))?;
    let dropped: BTreeSet<&str> = added.iter().map(|a| a.text.as_str()).collect();
    // The model asks for its unknown token by name; no merge leads to it (`check_merges`).
    vocab.retain(|text, _| Some(text) == unk.as_ref() || !dropped.contains(text.as_str()));
    for (id, text) in blanks {
        vocab.insert(text.clone(), (*id).into());
    }
    Ok(())
}
