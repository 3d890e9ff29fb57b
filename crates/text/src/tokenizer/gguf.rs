//! A tokenizer out of the keys of a GGUF file.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::Replace;

use super::parts::{Added, DummyPrefix, Ids, Parts};
use super::pieces::{Alphabet, Pieces, Speller, byte_piece};
use super::pre::Pre;
use super::vocab::{GgufVocab, TokenType};
use crate::Error;

/// Bytes of the longest piece of a `llama` vocabulary. Every way to cut each piece in two is
/// tried, so a long one is work; SentencePiece itself stops at 16 characters unless told.
const SENTENCE_PIECE_BYTES_MAX: usize = 128;

pub(crate) fn build(vocab: &GgufVocab) -> Result<Parts, Error> {
    vocab.check()?;
    let (alphabet, inner, prefix) = match vocab.model.as_str() {
        "gpt2" => (Alphabet::Bytes, byte_level(vocab)?, prefix(vocab, false)),
        "llama" => (Alphabet::SentencePiece, sentence_piece(vocab)?, prefix(vocab, true)),
        other => return Err(Error::UnknownModel(other.to_owned())),
    };
    let mut parts = Parts {
        inner,
        pieces: pieces(vocab, alphabet)?,
        added: markup(vocab)?,
        prefix,
        ids: Ids { bos: vocab.bos, eos: vocab.eos, unk: vocab.unk, pad: vocab.pad },
        stops: vocab.eot.into_iter().collect(),
        // llama.cpp's defaults, for files that lack the keys.
        add_bos: vocab.add_bos.or(Some(alphabet == Alphabet::SentencePiece)),
        add_eos: vocab.add_eos,
    };
    parts.match_blanks(blanks(vocab))?;
    Ok(parts)
}

fn prefix(vocab: &GgufVocab, default: bool) -> DummyPrefix {
    if vocab.add_space_prefix.unwrap_or(default) {
        DummyPrefix::EverySegment
    } else {
        DummyPrefix::None
    }
}

/// Whether a token is markup: matched in what templates write, never in what users write.
fn is_markup(kind: TokenType, text: &str) -> bool {
    match kind {
        TokenType::Control | TokenType::Unknown => true,
        TokenType::UserDefined => !text.trim().is_empty(),
        TokenType::Normal | TokenType::Unused | TokenType::Byte => false,
    }
}

pub(super) fn markup(vocab: &GgufVocab) -> Result<Vec<Added>, Error> {
    let mut id_of = HashMap::new();
    let mut added = Vec::new();
    for (id, text) in (0..).zip(&vocab.tokens) {
        let kind = vocab.token_type(id as usize);
        if !is_markup(kind, text) || text.is_empty() {
            continue;
        }
        if let Some(first) = id_of.insert(text.as_str(), id) {
            return Err(Error::DuplicateToken { first, second: id, text: text.clone() });
        }
        let control = kind != TokenType::UserDefined;
        added.push(Added { id, text: text.clone(), control, lstrip: false, rstrip: false });
    }
    Ok(added)
}

/// Whether a token is white space that the file calls user-defined.
fn is_blank(kind: TokenType, text: &str) -> bool {
    kind == TokenType::UserDefined && text.trim().is_empty() && !text.is_empty()
}

/// Runs of white space that the file calls user-defined tokens: text, matched before all else.
pub(super) fn blanks(vocab: &GgufVocab) -> Vec<(u32, String)> {
    (0..)
        .zip(&vocab.tokens)
        .filter(|(id, text)| is_blank(vocab.token_type(*id as usize), text))
        .map(|(id, text)| (id, text.clone()))
        .collect()
}

fn pieces(vocab: &GgufVocab, alphabet: Alphabet) -> Result<Pieces, Error> {
    let speller = Speller::new(alphabet);
    let mut pieces = Pieces::default();
    for (id, text) in (0..).zip(&vocab.tokens) {
        match vocab.token_type(id as usize) {
            TokenType::Normal | TokenType::Byte => pieces.push(&speller.spell(id, text)?),
            TokenType::Unused => pieces.push(b""),
            // Written as they are.
            _ => pieces.push(text.as_bytes()),
        }
    }
    Ok(pieces)
}

/// The tokens that text may become, with their ids.
fn text_tokens(vocab: &GgufVocab) -> Result<HashMap<String, u32>, Error> {
    let mut id_of = HashMap::with_capacity(vocab.tokens.len());
    for (id, text) in (0..).zip(&vocab.tokens) {
        let kind = vocab.token_type(id as usize);
        if !matches!(kind, TokenType::Normal | TokenType::Byte) && !is_blank(kind, text) {
            continue;
        }
        if let Some(first) = id_of.insert(text.clone(), id) {
            return Err(Error::DuplicateToken { first, second: id, text: text.clone() });
        }
    }
    Ok(id_of)
}

/// Byte-level BPE, as GPT-2 has it.
pub(super) fn byte_level(vocab: &GgufVocab) -> Result<tokenizers::Tokenizer, Error> {
    let pre = Pre::named(vocab.pre.as_deref())?;
    let id_of = text_tokens(vocab)?;
    let forbidden: BTreeSet<String> = markup(vocab)?.into_iter().map(|a| a.text).collect();
    let mut merges = Vec::with_capacity(vocab.merges.len());
    for (index, text) in vocab.merges.iter().enumerate() {
        let bad = || Error::BadMerge { index, text: text.clone() };
        let (left, right) = text.split_once(' ').ok_or_else(bad)?;
        let product = format!("{left}{right}");
        if forbidden.contains(&product) {
            return Err(Error::ForgeableControlToken(product));
        }
        if ![left, right, product.as_str()].iter().all(|part| id_of.contains_key(*part)) {
            return Err(bad());
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    // Real vocabularies lack tokens for bytes that their training text never held (SmolLM2: most
    // control characters). Such a byte leaves no token, as in the `tokenizers` package.
    let model = BPE::builder()
        .vocab_and_merges(id_of.into_iter().collect::<Vocab>(), merges)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(|e| Error::Tokenizer(e.to_string()))?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner
        .with_normalizer(pre.normalizer())
        .map_err(|e| Error::Tokenizer(e.to_string()))?
        .with_pre_tokenizer(Some(pre.pre_tokenizer()));
    Ok(inner)
}

/// SentencePiece BPE: the pair whose piece has the highest score merges first.
fn sentence_piece(vocab: &GgufVocab) -> Result<tokenizers::Tokenizer, Error> {
    if vocab.scores.len() != vocab.tokens.len() {
        return Err(Error::MisshapenVocabulary {
            what: "scores",
            found: vocab.scores.len(),
            expected: vocab.tokens.len(),
        });
    }
    let mut id_of = text_tokens(vocab)?;
    let merges = scored_merges(vocab, &id_of)?;
    let has_bytes = vocab.tokens.iter().filter(|t| byte_piece(t).is_some()).count() >= 256;
    let mut model = BPE::builder().byte_fallback(has_bytes).fuse_unk(true);
    if let Some(unk) = vocab.unk {
        let text = vocab.tokens[unk as usize].clone();
        id_of.insert(text.clone(), unk);
        model = model.unk_token(text);
    }
    let model = model
        .vocab_and_merges(id_of.into_iter().collect::<Vocab>(), merges)
        .build()
        .map_err(|e| Error::Tokenizer(e.to_string()))?;
    let spaces = Replace::new(" ", "▁").map_err(|e| Error::Tokenizer(e.to_string()))?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_normalizer(Some(spaces)).map_err(|e| Error::Tokenizer(e.to_string()))?;
    Ok(inner)
}

/// Every pair of pieces that makes a piece, best first, as transformers derives them.
fn scored_merges(
    vocab: &GgufVocab,
    id_of: &HashMap<String, u32>,
) -> Result<Vec<(String, String)>, Error> {
    struct Pair<'a> {
        score: f32,
        left: &'a str,
        right: &'a str,
        ids: (u32, u32),
    }
    let normal = |id: &u32| vocab.token_type(*id as usize) == TokenType::Normal;
    let mut pairs = Vec::new();
    for (id, (piece, &score)) in (0..).zip(vocab.tokens.iter().zip(&vocab.scores)) {
        if !normal(&id) {
            continue;
        }
        if piece.len() > SENTENCE_PIECE_BYTES_MAX {
            let limit = SENTENCE_PIECE_BYTES_MAX;
            return Err(Error::TokenTooLong { id, len: piece.len(), limit });
        }
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            let ids = id_of.get(left).filter(|id| normal(id)).zip(id_of.get(right));
            if let Some((&left_id, &right_id)) = ids.filter(|(_, right)| normal(right)) {
                pairs.push(Pair { score, left, right, ids: (left_id, right_id) });
            }
        }
    }
    let chars = |text: &str| text.chars().count();
    pairs.sort_by(|a, b| {
        b.score
            .partial_cmp(&a.score)
            .unwrap_or(Ordering::Equal)
            .then_with(|| chars(b.left).cmp(&chars(a.left)))
            .then_with(|| chars(b.right).cmp(&chars(a.right)))
            .then_with(|| a.ids.cmp(&b.ids))
    });
    Ok(pairs.into_iter().map(|pair| (pair.left.to_owned(), pair.right.to_owned())).collect())
}
