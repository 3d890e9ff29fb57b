//! A vocabulary for a model that has none: it spells bytes, and the rest of it are made-up words.

use text::GgufVocab;

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Tokens with a role, at the front.
const MARKS: [(&str, i32); 5] = [
    ("<|endoftext|>", CONTROL),
    ("<|im_start|>", CONTROL),
    ("<|im_end|>", CONTROL),
    ("<think>", USER_DEFINED),
    ("</think>", USER_DEFINED),
];

/// ChatML, with thinking that can be switched off.
pub(super) const CHAT_TEMPLATE: &str = "\
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + \
'<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}\
{%- if enable_thinking is defined and enable_thinking is false %}\
{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}";

/// A byte-level vocabulary of `len` tokens without merges: a text becomes one token a byte.
///
/// Panics if `len` has no room for 256 bytes and the marks.
pub(super) fn vocabulary(len: usize) -> GgufVocab {
    assert!(len >= MARKS.len() + 256, "{len} tokens cannot spell bytes");
    let mut vocab = GgufVocab {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        eos: Some(2),
        pad: Some(0),
        add_bos: Some(false),
        ..GgufVocab::default()
    };
    let mut add = |text: String, ty| {
        vocab.tokens.push(text);
        vocab.token_types.push(ty);
    };
    MARKS.iter().for_each(|&(text, ty)| add(text.into(), ty));
    (0..=255).for_each(|byte| add(letter(byte).into(), NORMAL));
    // Ġ is a space in the alphabet of bytes.
    (MARKS.len() + 256..len).for_each(|id| add(format!("Ġw{id}"), NORMAL));
    vocab
}

/// The printable character that stands for `byte` in GPT-2's alphabet: itself, or one of those that
/// follow U+0100 in order.
fn letter(byte: u8) -> char {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(&byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !printable(b)).count() as u32;
    char::from_u32(0x100 + rank).expect("at most U+0143")
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::{ChatTemplate, Controls, Tokenizer, TokenizerConfig, VocabSource};

    #[test]
    fn any_text_is_spelt_and_read_back() {
        let vocab = vocabulary(300);
        assert_eq!(vocab.tokens.len(), 300);
        let config = TokenizerConfig::default();
        let tokenizer = Tokenizer::new(VocabSource::Gguf(&vocab), &config).unwrap();
        let text = "To chew,\n\tund zu grübeln 反芻 \u{0}\u{7f} <|im_end|>";
        let ids = tokenizer.encode_text(text).unwrap();
        assert_eq!(ids.len(), text.len());
        assert_eq!(tokenizer.decode(&ids, Controls::Keep), text);
        assert_eq!(tokenizer.decode(&[299], Controls::Keep), " w299");
        assert_eq!(tokenizer.stops(), [0, 2]);
        ChatTemplate::parse(CHAT_TEMPLATE, &tokenizer.specials()).unwrap();
    }
}
