//! A model's text side: tokenizer, chat template, thinking, sampling defaults.

use std::path::Path;
use std::sync::Arc;

use formats::TextSource;
use formats::gguf::Metadata;
use text::{
    ChatTemplate, Conversation, GgufVocab, Prompt, RenderOptions, ThinkLimits, ThinkMode, Thinking,
    Tokenizer, TokenizerConfig, ToolFormat, VocabSource,
};

use crate::Error;
use crate::auto::{Auto, Thresholds};
use crate::request::ThinkStart;
use crate::sampler::{Card, PartialParams};

/// What a user wants of a model that can think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Think {
    /// What its template does.
    #[default]
    Default,
    Off,
    On,
    /// On, for at most so many tokens.
    Budget(u32),
    /// As the engine decides, by the model's own signals.
    Auto,
}

/// Everything between text and tokens.
pub struct Vocabulary {
    pub tokenizer: Arc<Tokenizer>,
    /// None in a model that was never taught to chat.
    pub template: Option<ChatTemplate>,
    /// None in a model that does not think.
    pub thinking: Option<Arc<Thinking>>,
    /// How it calls tools; if its template says nothing of them, how it is asked to.
    pub tools: ToolFormat,
    /// What the files say of sampling.
    file_params: PartialParams,
    family: &'static str,
}

impl Vocabulary {
    /// Reads the text side of a model of `family`.
    pub fn read(path: &Path, source: &TextSource, family: &'static str) -> Result<Self, Error> {
        let of_text = |source| Error::Text { path: path.into(), source };
        let of_sampling = |source| Error::Sampling { path: path.into(), source };
        let (tokenizer, template, file_params) = match source {
            TextSource::Gguf(metadata) => {
                let vocab = gguf_vocab(path, metadata)?;
                let config = TokenizerConfig::default();
                let tokenizer =
                    Tokenizer::new(VocabSource::Gguf(&vocab), &config).map_err(of_text)?;
                let template = metadata.text("tokenizer.chat_template")?.map(str::to_string);
                let number = |key: &str| metadata.float(key).ok().flatten();
                (tokenizer, template, PartialParams::from_gguf(number).map_err(of_sampling)?)
            }
            TextSource::HuggingFace {
                tokenizer,
                tokenizer_config,
                chat_template,
                generation_config,
            } => {
                let missing = || Error::NoText { path: path.into(), what: "tokenizer.json" };
                let tokenizer = tokenizer.as_deref().ok_or_else(missing)?;
                let generation = generation_config.as_deref();
                let config = tokenizer_config.as_deref().unwrap_or(b"{}");
                let config = TokenizerConfig::from_json(config, generation).map_err(of_text)?;
                let source = VocabSource::TokenizerJson(tokenizer);
                let tokenizer = Tokenizer::new(source, &config).map_err(of_text)?;
                let generation = generation.map(serde_json::from_slice).transpose();
                let generation = generation.ok().flatten().unwrap_or(serde_json::Value::Null);
                let params =
                    PartialParams::from_generation_config(&generation).map_err(of_sampling)?;
                (tokenizer, chat_template.clone().or(config.chat_template), params)
            }
        };
        let parse = |source: &String| ChatTemplate::parse(source, &tokenizer.specials());
        let template = template.as_ref().map(parse).transpose().map_err(of_text)?;
        let thinking = match &template {
            Some(template) => Thinking::of(&tokenizer, template).map_err(of_text)?,
            None => None,
        };
        let tools = template.as_ref().and_then(|template| ToolFormat::of(template, &tokenizer));
        let tools = tools.unwrap_or_else(|| ToolFormat::asked(&tokenizer));
        let tokenizer = tokenizer.into();
        Ok(Vocabulary { tokenizer, template, thinking, tools, file_params, family })
    }

    /// The sampling defaults for answers with or without thinking: the file's, and where it is
    /// silent the family's card.
    pub fn params(&self, think: Think) -> PartialParams {
        let qwen3 = self.family.starts_with("qwen3");
        let card = match (&self.thinking, think) {
            (None, _) => return self.file_params,
            // The file's values are for thinking, so the card goes first.
            (Some(_), Think::Off) if qwen3 => {
                return Card::Qwen3Plain.params().or(self.file_params);
            }
            (Some(_), _) if qwen3 => Card::Qwen3Thinking,
            // ChatML on Qwen2 that cannot but think: QwQ. Distills of R1 have R1's own marks.
            (Some(_), _) if self.family == "qwen2" && self.is_chatml() => Card::Qwq,
            (Some(_), _) => Card::DeepseekR1,
        };
        self.file_params.or(card.params())
    }

    fn is_chatml(&self) -> bool {
        self.template.as_ref().is_some_and(|template| template.source().contains("<|im_start|>"))
    }

    /// The tokens of a conversation up to where the answer begins, and how it begins.
    ///
    /// A model without a template gets the last message as it is.
    pub fn prompt(
        &self,
        conversation: &Conversation,
        think: Think,
        now_unix_s: i64,
    ) -> Result<(Vec<u32>, Option<ThinkStart>), Error> {
        let Some(template) = &self.template else {
            let text = conversation.messages.last().map_or("", |message| &message.content);
            return Ok((self.tokenizer.encode_document(text)?, None));
        };
        let conversation = &*self.tools.show(conversation);
        let options = RenderOptions { add_generation_prompt: true, thinking: None, now_unix_s };
        let Some(thinking) = &self.thinking else {
            let prompt = template.render(conversation, &options)?;
            return Ok((self.encode(&prompt)?, None));
        };
        let (mode, budget) = match think {
            Think::Default => (ThinkMode::Auto, None),
            // A model that was taught to choose is asked in the way that leaves it the choice.
            Think::Auto if thinking.leaves_open(template, conversation, &options)? => {
                (ThinkMode::Auto, None)
            }
            Think::Auto => (ThinkMode::On, None),
            Think::Off | Think::Budget(0) => (ThinkMode::Off, None),
            Think::On => (ThinkMode::On, None),
            Think::Budget(n) => (ThinkMode::On, Some(n)),
        };
        let rendered = thinking.render(template, conversation, &options, mode)?;
        let auto = match think {
            Think::Auto => {
                let short = thinking.render(template, conversation, &options, ThinkMode::Off)?;
                let prompt = self.encode(&short.prompt)?;
                Some(Arc::new(Auto { prompt, params: None, thresholds: Thresholds::default() }))
            }
            _ => None,
        };
        let limits = ThinkLimits { budget, min: 0 };
        let start = ThinkStart { limits, inside: rendered.inside, auto, returns: false };
        Ok((self.encode(&rendered.prompt)?, Some(start)))
    }

    /// The tokens of a rendered prompt. Templates write the token that begins a text themselves.
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, Error> {
        Ok(self.tokenizer.encode_prompt(prompt)?)
    }
}

/// A model's text side as the files of a Hugging Face folder, whatever it came as.
///
/// # Errors
/// Keys that are missing or wrong; a vocabulary that is not byte-level BPE.
pub fn as_hugging_face(path: &Path, source: &TextSource) -> Result<TextSource, Error> {
    let TextSource::Gguf(metadata) = source else { return Ok(source.clone()) };
    let vocab = gguf_vocab(path, metadata)?;
    let of_text = |source| Error::Text { path: path.into(), source };
    let template = metadata.text("tokenizer.chat_template")?;
    // Of the two tokens that may end an answer, the folder's main file has room for one.
    let ends: Vec<u32> = vocab.eos.into_iter().chain(vocab.eot).collect();
    let generation = serde_json::json!({ "eos_token_id": ends });
    Ok(TextSource::HuggingFace {
        tokenizer: Some(vocab.to_tokenizer_json().map_err(of_text)?),
        tokenizer_config: Some(vocab.to_tokenizer_config(template)),
        chat_template: None,
        generation_config: Some(generation.to_string().into_bytes()),
    })
}

/// The `tokenizer.ggml.*` keys.
fn gguf_vocab(path: &Path, metadata: &Metadata) -> Result<GgufVocab, Error> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let text = |name: &str| metadata.text(&key(name));
    let missing = |what| Error::NoText { path: path.into(), what };
    let texts = |name: &str| metadata.texts(&key(name));
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_string).collect::<Vec<_>>();
    let id = |name: &str| -> Result<Option<u32>, Error> {
        Ok(metadata.int(&key(name))?.and_then(|id| u32::try_from(id).ok()))
    };
    let flag = |name: &str| metadata.bool(&key(name));
    let types = metadata.ints(&key("token_type"))?.unwrap_or_default();
    let scores = metadata.floats(&key("scores"))?.unwrap_or_default();
    Ok(GgufVocab {
        model: text("model")?.ok_or_else(|| missing("tokenizer.ggml.model"))?.into(),
        pre: text("pre")?.map(str::to_string),
        tokens: texts("tokens")?.map(owned).ok_or_else(|| missing("tokenizer.ggml.tokens"))?,
        token_types: types.into_iter().map(|ty| i32::try_from(ty).unwrap_or(0)).collect(),
        scores: scores.into_iter().map(|score| score as f32).collect(),
        merges: texts("merges")?.map(owned).unwrap_or_default(),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        eot: id("eot_token_id")?,
        unk: id("unknown_token_id")?,
        pad: id("padding_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
    })
}
