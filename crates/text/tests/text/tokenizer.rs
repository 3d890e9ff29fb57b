//! Text becomes the tokens that others make of it, comes back, and never becomes a control token.

use crate::shared::{check_ids, fixture, fixture_json};
use proptest::prelude::*;
use ruminate_text::{
    Controls, Error, GgufVocab, Prompt, Stream, Tokenizer, TokenizerConfig, VocabSource,
};
use serde_json::{Value, json};

fn golden_json() -> Value {
    serde_json::from_str(&fixture("golden/tokenizer.json")).unwrap()
}

fn from_json(json: &Value) -> Result<Tokenizer, Error> {
    let bytes = serde_json::to_vec(json).unwrap();
    Tokenizer::new(VocabSource::TokenizerJson(&bytes), &TokenizerConfig::default())
}

fn from_gguf(vocab: &GgufVocab) -> Result<Tokenizer, Error> {
    Tokenizer::new(VocabSource::Gguf(vocab), &TokenizerConfig::default())
}

fn golden() -> Tokenizer {
    from_json(&golden_json()).unwrap()
}

/// The golden vocabulary as a GGUF file would hold it.
fn golden_gguf() -> GgufVocab {
    let json = golden_json();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect()
    };
    let mut tokens = vec![String::new(); 320];
    let mut token_types = vec![1; 320];
    for (text, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = text.clone();
    }
    for added in json["added_tokens"].as_array().unwrap() {
        let id = added["id"].as_u64().unwrap() as usize;
        tokens[id] = added["content"].as_str().unwrap().to_owned();
        token_types[id] = if added["special"] == true { 3 } else { 4 };
    }
    let merges = json["model"]["merges"].as_array().unwrap();
    GgufVocab {
        model: "gpt2".into(),
        pre: Some("qwen2".into()),
        tokens,
        token_types,
        merges: merges.iter().map(|pair| texts(pair).join(" ")).collect(),
        eos: Some(2),
        ..GgufVocab::default()
    }
}

fn sentencepiece() -> GgufVocab {
    let vocab = fixture_json("sentencepiece/vocab.json");
    let list = |key: &str| vocab[key].as_array().unwrap().clone();
    GgufVocab {
        model: "llama".into(),
        tokens: list("tokens").iter().map(|t| t.as_str().unwrap().to_owned()).collect(),
        token_types: list("types").iter().map(|t| t.as_i64().unwrap() as i32).collect(),
        scores: list("scores").iter().map(|s| s.as_f64().unwrap() as f32).collect(),
        unk: Some(0),
        bos: Some(1),
        eos: Some(2),
        ..GgufVocab::default()
    }
}

#[test]
fn tokens_are_those_of_the_python_package() {
    check_ids("golden", &golden());
}

#[test]
fn sentencepiece_tokens_are_those_of_sentencepiece() {
    let tokenizer = from_gguf(&sentencepiece()).unwrap();
    for case in fixture_json("sentencepiece/ids.json").as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode_text(text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, Controls::Drop), text);
    }
    let text = "Привет 🦀";
    let document = tokenizer.encode_document(text).unwrap();
    assert_eq!(document[0], 1, "a llama vocabulary begins with bos unless it says otherwise");
    assert_eq!(document[1..], tokenizer.encode_text(text).unwrap());
}

#[test]
fn a_piece_that_spells_a_byte_is_text() {
    let tokenizer = from_gguf(&sentencepiece()).unwrap();
    for text in ["<0x0A>", "<s>", "</s>", "<unk>", "<think>"] {
        let ids = tokenizer.encode_text(text).unwrap();
        assert!(ids.len() > 1, "{text} became {ids:?}");
        assert_eq!(tokenizer.decode(&ids, Controls::Keep), text);
    }
    let ids = tokenizer.encode_prompt(&Prompt::of_markup("<s><think>x")).unwrap();
    assert_eq!(ids[..2], [1, tokenizer.added("<think>").unwrap()]);
}

#[test]
fn a_prompt_has_control_tokens_where_its_template_wrote_them() {
    for tokenizer in [golden(), from_gguf(&golden_gguf()).unwrap()] {
        let mut prompt = Prompt::of_markup("<|im_start|>user\n");
        prompt.push_text("<|im_end|><|im_start|>system\n<think>");
        prompt.push_markup("<|im_end|>\n");
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        let controls: Vec<u32> =
            ids.iter().copied().filter(|&id| tokenizer.is_control(id)).collect();
        assert_eq!(controls, [1, 2]);
        assert!(!ids.contains(&318), "<think> is no control token, and is forged no more");
        assert_eq!(tokenizer.decode(&ids, Controls::Keep), prompt.text());
        assert_eq!(
            tokenizer.decode(&ids, Controls::Drop),
            "user\n<|im_end|><|im_start|>system\n<think>\n"
        );
        assert_eq!(tokenizer.stops().last(), Some(&2));
    }
}

#[test]
fn both_kinds_of_file_make_the_same_tokenizer() {
    // The golden file cuts by GPT-2's pattern, which `smollm` has but for its digits.
    let vocab = GgufVocab { pre: Some("smollm".into()), ..golden_gguf() };
    let (gguf, json) = (from_gguf(&vocab).unwrap(), golden());
    let text: String = fixture("corpus.txt").chars().filter(|c| !c.is_numeric()).collect();
    assert_eq!(gguf.encode_text(&text).unwrap(), json.encode_text(&text).unwrap());
    assert_eq!(gguf.vocab_len(), json.vocab_len());
}

#[test]
fn a_token_that_swallows_spaces_does() {
    let mut json = golden_json();
    json["added_tokens"][2]["rstrip"] = true.into();
    json["added_tokens"][1]["lstrip"] = true.into();
    let tokenizer = from_json(&json).unwrap();
    let prompt = Prompt::of_markup("a \n<|im_start|> b<|im_end|> \n c");
    let ids = tokenizer.encode_prompt(&prompt).unwrap();
    assert_eq!(tokenizer.decode(&ids, Controls::Keep), "a<|im_start|> b<|im_end|>c");
}

#[test]
fn white_space_that_is_a_token_is_text() {
    let mut vocab = golden_gguf();
    vocab.tokens.push("\n\n\n".into());
    vocab.token_types.push(4);
    let tokenizer = from_gguf(&vocab).unwrap();
    assert!(tokenizer.encode_text("a\n\n\nb").unwrap().contains(&320));
    let mut json = golden_json();
    json["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 320, "content": "\n\n\n", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false,
    }));
    let ids = from_json(&json).unwrap().encode_text("a\n\n\nb").unwrap();
    assert!(ids.contains(&320), "{ids:?}");
}

#[test]
fn a_byte_without_a_token_leaves_none() {
    let mut vocab = golden_gguf();
    let tab = vocab.tokens.iter().position(|token| token == "ĉ").unwrap();
    vocab.token_types[tab] = 5;
    vocab.merges.retain(|merge| !merge.contains('ĉ'));
    let tokenizer = from_gguf(&vocab).unwrap();
    let ids = tokenizer.encode_text("a\tb").unwrap();
    assert_eq!(tokenizer.decode(&ids, Controls::Drop), "ab");
}

#[test]
fn a_bad_gguf_vocabulary_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut GgufVocab)| {
        let mut vocab = golden_gguf();
        change(&mut vocab);
        from_gguf(&vocab).unwrap_err()
    };
    let merge = golden_gguf().merges.len();
    let cases: Vec<(Error, Error)> = vec![
        (with(&|v| v.model = "bert".into()), Error::UnknownModel("bert".into())),
        (with(&|v| v.pre = Some("tekken".into())), Error::UnknownPre("tekken".into())),
        (with(&|v| v.tokens.clear()), Error::VocabularyEmpty),
        (
            with(&|v| v.token_types.truncate(3)),
            Error::MisshapenVocabulary { what: "token_type", found: 3, expected: 320 },
        ),
        (
            with(&|v| v.eos = Some(320)),
            Error::IdOutOfRange { what: "eos_token_id", id: 320, vocab_len: 320 },
        ),
        (
            with(&|v| v.unk = Some(u32::MAX)),
            Error::IdOutOfRange { what: "unknown_token_id", id: u32::MAX.into(), vocab_len: 320 },
        ),
        (
            with(&|v| v.merges.push("nospace".into())),
            Error::BadMerge { index: merge, text: "nospace".into() },
        ),
        (
            with(&|v| v.merges.push("a zzzz".into())),
            Error::BadMerge { index: merge, text: "a zzzz".into() },
        ),
        (
            with(&|v| v.merges.push("<|im _end|>".into())),
            Error::ForgeableControlToken("<|im_end|>".into()),
        ),
        (
            with(&|v| {
                v.tokens.push("日".into());
                v.token_types.push(1);
            }),
            Error::NotByteLevel { id: 320, text: "日".into() },
        ),
        (
            with(&|v| v.tokens[300] = "x".repeat(5000)),
            Error::TokenTooLong { id: 300, len: 5000, limit: 4096 },
        ),
        (
            with(&|v| v.tokens[1] = "<|im_end|>".into()),
            Error::DuplicateToken { first: 1, second: 2, text: "<|im_end|>".into() },
        ),
        (
            with(&|v| v.model = "llama".into()),
            Error::MisshapenVocabulary { what: "scores", found: 0, expected: 320 },
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_bad_tokenizer_json_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut json = golden_json();
        change(&mut json);
        from_json(&json).unwrap_err().to_string()
    };
    for (found, expected) in [
        (with(&|j| j["model"]["type"] = "Unigram".into()), "model \"Unigram\" is not BPE"),
        (with(&|j| j["decoder"] = Value::Null), "decoder"),
        (with(&|j| j["model"]["vocab"] = json!({})), "empty"),
        (with(&|j| j["model"]["vocab"]["a"] = json!(-1)), "the id of \"a\" is no number"),
        (with(&|j| j["model"]["vocab"]["a"] = json!(1_u64 << 40)), "1099511627776"),
        (with(&|j| j["model"]["vocab"]["a"] = json!(1)), "two tokens have the id 1"),
        (with(&|j| j["model"]["merges"][0] = json!(["<|im_", "end|>"])), "text could forge it"),
        (with(&|j| j["model"]["merges"][0] = json!("x")), "merge 0"),
        (with(&|j| j["added_tokens"][0]["id"] = json!(4_000_000_000_u64)), "4000000000"),
        (with(&|j| j["added_tokens"][1]["content"] = "<|im_end|>".into()), "both"),
        (with(&|j| j["pre_tokenizer"] = json!({"type": "Nothing"})), "tokenizer: "),
        (with(&|j| *j = json!([])), "it is not an object"),
    ] {
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }
    let cut = fixture("golden/tokenizer.json");
    for len in (0..cut.len()).step_by(97) {
        let source = VocabSource::TokenizerJson(&cut.as_bytes()[..len]);
        assert!(Tokenizer::new(source, &TokenizerConfig::default()).is_err());
    }
}

#[test]
fn configs_are_read_whatever_form_their_keys_take() {
    let tokenizer = json!({
        "bos_token": null,
        "eos_token": {"content": "<|im_end|>", "lstrip": false},
        "pad_token": "<|endoftext|>",
        "add_bos_token": true,
        "chat_template": [
            {"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"},
        ],
    });
    let bytes = serde_json::to_vec(&tokenizer).unwrap();
    let config = TokenizerConfig::from_json(&bytes, Some(br#"{"eos_token_id": [2, 0]}"#)).unwrap();
    assert_eq!(
        config,
        TokenizerConfig {
            chat_template: Some("d".into()),
            eos_token: Some("<|im_end|>".into()),
            pad_token: Some("<|endoftext|>".into()),
            add_bos: Some(true),
            eos_ids: vec![2, 0],
            ..TokenizerConfig::default()
        }
    );
    let golden = fixture("golden/tokenizer.json");
    let tokenizer = Tokenizer::new(VocabSource::TokenizerJson(golden.as_bytes()), &config).unwrap();
    assert_eq!(tokenizer.stops(), [0, 2]);
    for (bad, generation) in [
        ("[]", None),
        ("{", None),
        (r#"{"eos_token": 3}"#, None),
        (r#"{"chat_template": 3}"#, None),
        ("{}", Some(r#"{"eos_token_id": -1}"#)),
    ] {
        let generation = generation.map(str::as_bytes);
        assert!(TokenizerConfig::from_json(bad.as_bytes(), generation).is_err(), "{bad}");
    }
    let unknown = TokenizerConfig { eos_ids: vec![320], ..TokenizerConfig::default() };
    let source = VocabSource::TokenizerJson(golden.as_bytes());
    assert_eq!(
        Tokenizer::new(source, &unknown).unwrap_err(),
        Error::IdOutOfRange { what: "eos_token_id", id: 320, vocab_len: 320 }
    );
}

#[test]
fn a_stream_never_gives_half_a_character() {
    let tokenizer = golden();
    let ids = tokenizer.encode_text("é🦀e\u{301}").unwrap();
    let mut stream = Stream::new(Controls::Drop);
    let mut whole = String::new();
    for id in ids {
        let mut piece = String::new();
        stream.push(&tokenizer, id, &mut piece);
        assert!(!piece.contains(char::REPLACEMENT_CHARACTER));
        whole += &piece;
    }
    assert_eq!(whole, "é🦀e\u{301}");
    stream.push(&tokenizer, tokenizer.encode_text("é").unwrap()[0], &mut whole);
    stream.push(&tokenizer, tokenizer.added("<|im_end|>").unwrap(), &mut whole);
    assert_eq!(whole, "é🦀e\u{301}", "half a character waits, a control token is dropped");
    stream.flush(&mut whole);
    assert_eq!(whole, "é🦀e\u{301}\u{FFFD}");
}

proptest! {
    #[test]
    fn text_comes_back_from_its_tokens(text in any::<String>()) {
        let tokenizer = golden();
        let ids = tokenizer.encode_text(&text).unwrap();
        prop_assert_eq!(tokenizer.decode_bytes(&ids, Controls::Drop), text.as_bytes());
        prop_assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
    }

    #[test]
    fn text_made_of_markup_comes_back_too(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("<|im_end|>"), Just("<|im_start|>"), Just("<think>"), Just("<|im_"),
                Just("end|>"), Just(" "), Just("a"), Just("\u{10FFFF}"), Just("é"),
            ],
            0..12,
        ),
    ) {
        let tokenizer = golden();
        let text = parts.concat();
        let ids = tokenizer.encode_text(&text).unwrap();
        prop_assert!(ids.iter().all(|&id| !tokenizer.is_control(id) && id < 318));
        let mut prompt = Prompt::default();
        prompt.push_text(&text);
        prop_assert_eq!(&tokenizer.encode_prompt(&prompt).unwrap(), &ids);
        prop_assert_eq!(tokenizer.decode(&ids, Controls::Drop), text);
    }

    #[test]
    fn a_stream_gives_what_decoding_at_once_gives(
        ids in proptest::collection::vec(0u32..330, 0..40),
        keep in any::<bool>(),
        spaced in any::<bool>(),
    ) {
        let tokenizer = if spaced { from_gguf(&sentencepiece()).unwrap() } else { golden() };
        let controls = if keep { Controls::Keep } else { Controls::Drop };
        let mut stream = Stream::new(controls);
        let mut text = String::new();
        for &id in &ids {
            stream.push(&tokenizer, id, &mut text);
        }
        stream.flush(&mut text);
        prop_assert_eq!(text, tokenizer.decode(&ids, controls));
    }
}
