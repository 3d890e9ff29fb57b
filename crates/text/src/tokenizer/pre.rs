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
        "[一-龥\u{3040}-ゟ゠-ヿ]+",
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
        // The letters that have a case.
        concat!(
            r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿ",
            r"ᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨ",
            "K",
            r"-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ",
            r"𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
        ),
        "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+",
        r"\s+$",
        "[一-龥ࠀ-一가-\u{d7ff}]+",
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

/// The patterns that a `pre_tokenizer` of a `tokenizer.json` cuts by; none if it does anything else.
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
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for (_, pre) in NAMED {
            pre.pre_tokenizer();
        }
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = Pre::named(Some("tekken")).unwrap_err();
        assert_eq!(error, Error::UnknownPre("tekken".into()));
    }
}
