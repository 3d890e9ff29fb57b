//! The pre-tokenizers that GGUF names: how text is cut before any merge.
//!
//! A pattern cuts each piece that the patterns before it left, into its matches and what lies
//! between. Sources: the `tokenizer.json` of SmolLM2, Qwen2.5 and Qwen3, Llama 3, DeepSeek-V3 and
//! DeepSeek-LLM; for `default`, llama.cpp, which invented the name.

use serde_json::Value;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::Error;

/// How a named pre-tokenizer treats text.
#[derive(Debug)]
pub(crate) struct Pre {
    patterns: &'static [&'static str],
    /// Text is brought to Unicode's composed form first.
    nfc: bool,
    /// A piece that is a token as it stands is not merged up to it.
    pub(crate) ignore_merges: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const SMOLLM: Pre = Pre { patterns: &[r"\p{N}", GPT2], nfc: false, ignore_merges: false };

const QWEN2: Pre = Pre {
    patterns: &[concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )],
    nfc: true,
    ignore_merges: false,
};

const LLAMA_BPE: Pre = Pre {
    patterns: &[concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )],
    nfc: false,
    ignore_merges: true,
};

const DEEPSEEK_V3: Pre = Pre {
    patterns: &[
        r"\p{N}{1,3}",
        "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
            r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
            r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ],
    nfc: false,
    ignore_merges: false,
};

const DEEPSEEK_LLM: Pre = Pre {
    patterns: &[
        r"[\r\n]",
        // Letters as the file lists them. Escaped, for some have twins that editors prefer.
        concat!(
            "\\s?[A-Za-z",
            "\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}",
            "\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}",
            "\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}",
            "\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}",
            "\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}",
            "\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}",
            "\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}",
            "\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}",
            "\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}",
            "\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}",
            "\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}",
            "\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}",
            "\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}",
            "\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}",
            "\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}",
            "\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}",
            "\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}",
            "]+",
        ),
        "\\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+",
        r"\s+$",
        "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
        r"\p{N}",
    ],
    nfc: false,
    ignore_merges: false,
};

const DEFAULT: Pre = Pre {
    patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
    nfc: false,
    ignore_merges: false,
};

const GPT_2: Pre = Pre { patterns: &[GPT2], nfc: false, ignore_merges: false };

/// By the names that `tokenizer.ggml.pre` gives them.
const NAMED: &[(&str, &Pre)] = &[
    ("gpt-2", &GPT_2),
    ("smollm", &SMOLLM),
    ("qwen2", &QWEN2),
    ("deepseek-r1-qwen", &QWEN2),
    ("llama-bpe", &LLAMA_BPE),
    ("deepseek-v3", &DEEPSEEK_V3),
    ("deepseek-llm", &DEEPSEEK_LLM),
    ("default", &DEFAULT),
];

impl Pre {
    /// The pre-tokenizer that `tokenizer.ggml.pre` names; none is `default`, as in llama.cpp.
    pub(crate) fn named(name: Option<&str>) -> Result<&'static Self, Error> {
        let name = name.unwrap_or("default");
        let pre = NAMED.iter().find(|named| named.0 == name).map(|named| named.1);
        pre.ok_or_else(|| Error::UnknownPre(name.to_owned()))
    }

    /// The first name of what the `pre_tokenizer` of a `tokenizer.json` does.
    pub(crate) fn name_in_json(pre: &Value) -> Result<&'static str, Error> {
        let unknown = || Error::UnknownPre(pre.to_string().chars().take(200).collect());
        let cuts = patterns(pre).ok_or_else(unknown)?;
        let named = NAMED.iter().find(|(_, pre)| pre.patterns == cuts);
        named.map(|named| named.0).ok_or_else(unknown)
    }

    pub(crate) fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.nfc.then(|| NFC.into())
    }

    pub(crate) fn pre_tokenizer(&self) -> PreTokenizerWrapper {
        let splits = self.patterns.iter().map(|pattern| {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .expect("the patterns above are valid, as a test shows")
                .into()
        });
        let bytes = ByteLevel::new(false, false, false).into();
        Sequence::new(splits.chain([bytes]).collect()).into()
    }
}

/// The patterns that a `pre_tokenizer` of a `tokenizer.json` cuts by; none if it does more.
fn patterns(pre: &Value) -> Option<Vec<String>> {
    let several = pre.get("pretokenizers").and_then(Value::as_array);
    let steps = several.map_or(std::slice::from_ref(pre), Vec::as_slice);
    let mut patterns = Vec::new();
    for step in steps {
        let flag = |key: &str| step.get(key).and_then(Value::as_bool);
        match step.get("type").and_then(Value::as_str)? {
            "Split" if step["behavior"] == "Isolated" && flag("invert") != Some(true) => {
                // Some files escape line ends in the pattern, some have them as they are.
                let pattern = step["pattern"].get("Regex")?.as_str()?;
                patterns.push(pattern.replace('\r', r"\r").replace('\n', r"\n"));
            }
            "Digits" if flag("individual_digits") == Some(true) => patterns.push(r"\p{N}".into()),
            "ByteLevel" if flag("add_prefix_space") != Some(true) => {
                // Left out, it means yes.
                patterns.extend((flag("use_regex") != Some(false)).then(|| GPT2.into()));
            }
            _ => return None,
        }
    }
    Some(patterns)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for (_, pre) in NAMED {
            pre.pre_tokenizer();
        }
    }

    #[test]
    fn text_is_cut_where_another_engine_cuts_it() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/text");
        let corpus = std::fs::read_to_string(fixtures.join("corpus.txt")).unwrap();
        let cuts = std::fs::read_to_string(fixtures.join("pre.json")).unwrap();
        let cuts: serde_json::Map<String, Value> = serde_json::from_str(&cuts).unwrap();
        assert_eq!(cuts.len(), 6);
        for (name, lens) in cuts {
            let mut text = PreTokenizedString::from(corpus.as_str());
            Pre::named(Some(&name)).unwrap().pre_tokenizer().pre_tokenize(&mut text).unwrap();
            let pieces = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let found: Vec<&str> = pieces.iter().map(|(_, (a, b), _)| &corpus[*a..*b]).collect();
            let mut rest = corpus.as_str();
            for (index, len) in lens.as_array().unwrap().iter().enumerate() {
                let (piece, after) = rest.split_at(len.as_u64().unwrap() as usize);
                assert_eq!(found.get(index), Some(&piece), "{name}");
                rest = after;
            }
            assert_eq!(rest, "");
        }
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = Pre::named(Some("tekken")).unwrap_err();
        assert_eq!(error, Error::UnknownPre("tekken".into()));
    }
}
