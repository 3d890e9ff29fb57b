//! The files of a Hugging Face folder out of the keys of a GGUF file.

use serde_json::{Map, Value, json};

use super::gguf::{blanks, byte_level, markup};
use super::parts::Added;
use super::vocab::GgufVocab;
use crate::Error;

impl GgufVocab {
    /// A `tokenizer.json` that makes the same tokens.
    ///
    /// # Errors
    /// As [`crate::Tokenizer::new`]; [`Error::UnknownModel`] if it is not byte-level BPE.
    pub fn to_tokenizer_json(&self) -> Result<Vec<u8>, Error> {
        if self.model != "gpt2" {
            return Err(Error::UnknownModel(self.model.clone()));
        }
        self.check()?;
        let bad = |e: serde_json::Error| Error::Tokenizer(e.to_string());
        let mut root = serde_json::to_value(byte_level(self)?).map_err(bad)?;
        let added = |id: u32, text: &str, special: bool| {
            json!({
                "id": id, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special,
            })
        };
        let (markup, blanks) = (markup(self)?, blanks(self));
        // Readers number an added token themselves unless the model knows it.
        for Added { id, text, .. } in &markup {
            root["model"]["vocab"][text] = (*id).into();
        }
        let mut all: Vec<(u32, Value)> =
            markup.iter().map(|a| (a.id, added(a.id, &a.text, a.control))).collect();
        all.extend(blanks.iter().map(|(id, text)| (*id, added(*id, text, false))));
        all.sort_by_key(|(id, _)| *id);
        root["added_tokens"] = all.into_iter().map(|(_, token)| token).collect();
        root["decoder"] = json!({
            "type": "ByteLevel",
            "add_prefix_space": false,
            "trim_offsets": true,
            "use_regex": false,
        });
        if let (Some(true), Some(bos)) = (self.add_bos, self.bos) {
            root["post_processor"] = self.begins_with(bos);
        }
        serde_json::to_vec(&root).map_err(bad)
    }

    /// The `tokenizer_config.json` beside it, with a chat template.
    pub fn to_tokenizer_config(&self, template: Option<&str>) -> Vec<u8> {
        let mut root = Map::new();
        root.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        root.insert("clean_up_tokenization_spaces".into(), false.into());
        let roles = [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("unk_token", self.unk),
            ("pad_token", self.pad),
        ];
        for (role, id) in roles {
            if let Some(text) = id.and_then(|id| self.tokens.get(id as usize)) {
                root.insert(role.into(), text.as_str().into());
            }
        }
        for (key, flag) in [("add_bos_token", self.add_bos), ("add_eos_token", self.add_eos)] {
            if let Some(flag) = flag {
                root.insert(key.into(), flag.into());
            }
        }
        if let Some(template) = template {
            root.insert("chat_template".into(), template.into());
        }
        Value::Object(root).to_string().into_bytes()
    }

    /// What puts a token before every text.
    fn begins_with(&self, bos: u32) -> Value {
        let token = &self.tokens[bos as usize];
        let special = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
        let text = |id: &str, type_id: u32| json!({ "Sequence": { "id": id, "type_id": type_id } });
        let mut specials = Map::new();
        specials.insert(token.clone(), json!({ "id": token, "ids": [bos], "tokens": [token] }));
        json!({
            "type": "TemplateProcessing",
            "single": [special, text("A", 0)],
            "pair": [special, text("A", 0), text("B", 1)],
            "special_tokens": specials,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tokenizer, TokenizerConfig, VocabSource};

    fn vocab() -> GgufVocab {
        let tokens = ["<s>", "a", "b", "ab", "Ġ", "  ", "<think>", "[PAD7]"];
        GgufVocab {
            model: "gpt2".into(),
            pre: Some("gpt-2".into()),
            tokens: tokens.map(str::to_owned).to_vec(),
            token_types: vec![3, 1, 1, 1, 1, 4, 4, 5],
            merges: vec!["a b".into()],
            bos: Some(0),
            eos: Some(0),
            add_bos: Some(true),
            ..GgufVocab::default()
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_vocabulary() {
        let vocab = vocab();
        let (json, config) = (vocab.to_tokenizer_json().unwrap(), vocab.to_tokenizer_config(None));
        let config = TokenizerConfig::from_json(&config, None).unwrap();
        let read = Tokenizer::new(VocabSource::TokenizerJson(&json), &config).unwrap();
        let own = Tokenizer::new(VocabSource::Gguf(&vocab), &TokenizerConfig::default()).unwrap();
        for text in ["ab ba", "a  b", "<s>ab", "<think>"] {
            assert_eq!(read.encode_text(text), own.encode_text(text), "{text}");
            assert_eq!(read.encode_document(text), own.encode_document(text), "{text}");
        }
        assert_eq!(read.added("<think>"), Some(6));
        assert_eq!((read.stops(), read.bos()), (own.stops(), own.bos()));
    }

    #[test]
    fn sentence_piece_is_no_tokenizer_json_of_ours() {
        let vocab = GgufVocab { model: "llama".into(), ..vocab() };
        assert!(matches!(vocab.to_tokenizer_json(), Err(Error::UnknownModel(_))));
    }
}
