//! Where a run starts: a model's shape, its weights and its words, from files or from nothing.

use std::path::{Path, PathBuf};

use engine::Vocabulary;
use formats::{Access, Checkpoint, Random, TensorLayout, TextSource, Weights};
use quant::QuantType;
use serde_json::{Map, Value};
use spec::{Dialect, ModelSpec};

use crate::config::{ModelSection, ScratchSection};
use crate::gguf::Renamed;

/// A model before training.
pub struct Start {
    /// What it is called in errors.
    pub path: PathBuf,
    pub spec: ModelSpec,
    /// By Hugging Face's names, wherever they come from.
    pub weights: Box<dyn Weights>,
    /// What `config.json` says, or is to say.
    pub config: Map<String, Value>,
    pub text: TextSource,
    pub vocabulary: Vocabulary,
    /// The files must stay as they are while the weights are read.
    checkpoint: Option<Checkpoint>,
}

/// A model that can't be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Formats(#[from] formats::Error),
    #[error("{path}: {source}")]
    Spec { path: PathBuf, source: spec::Error },
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("{path}: {what}")]
    Config { path: PathBuf, what: String },
    #[error(
        "{path}: its vocabulary can't be written as a tokenizer.json: give model.tokenizer, the \
         folder of one ({source})"
    )]
    GgufText { path: PathBuf, source: Box<engine::Error> },
    #[error("{path}: it has {tokens} tokens, and the model's vocabulary is {vocab}")]
    Vocabulary { path: PathBuf, tokens: usize, vocab: usize },
    #[error("{path}: no token ends an answer, so none would ever end")]
    NoStop { path: PathBuf },
}

/// A config is small.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

impl Start {
    /// Opens what the section names.
    ///
    /// # Errors
    ///
    /// One line that names the file and what is wrong with it.
    pub fn open(section: &ModelSection) -> Result<Start, Error> {
        let start = match (&section.start, &section.scratch) {
            (Some(path), _) => of_files(path, section.tokenizer.as_deref())?,
            (None, Some(scratch)) => {
                let folder = section.tokenizer.as_deref().unwrap_or(Path::new("."));
                of_nothing(scratch, folder)?
            }
            (None, None) => {
                let what = "neither start nor scratch".into();
                return Err(Error::Config { path: "model".into(), what });
            }
        };
        let (tokens, vocab) = (start.vocabulary.tokenizer.vocab_len(), start.spec.vocab);
        let path = section.tokenizer.clone().unwrap_or_else(|| start.path.clone());
        if tokens > vocab {
            return Err(Error::Vocabulary { path, tokens, vocab });
        }
        if start.vocabulary.tokenizer.stops().is_empty() {
            return Err(Error::NoStop { path });
        }
        Ok(start)
    }

    /// Looks whether the files are still those that were opened.
    ///
    /// # Errors
    ///
    /// [`Error::Formats`].
    pub fn check_unchanged(&self) -> Result<(), Error> {
        Ok(self.checkpoint.as_ref().map_or(Ok(()), Checkpoint::check_unchanged)?)
    }
}

fn of_files(path: &Path, tokenizer: Option<&Path>) -> Result<Start, Error> {
    let mut checkpoint = formats::open_with(path, Access::Map)?;
    let of_spec = |source| Error::Spec { path: path.into(), source };
    let mut spec = ModelSpec::from_config(&checkpoint.config).map_err(of_spec)?;
    if let Some(folder) = tokenizer {
        checkpoint.text = formats::open_text(folder)?;
    }
    let of_text = |source| Error::GgufText { path: path.into(), source: Box::new(source) };
    checkpoint.text = engine::as_hugging_face(path, &checkpoint.text).map_err(of_text)?;
    let nothing = || Box::new(Random::new(0, []));
    let mut weights = std::mem::replace(&mut checkpoint.weights, nothing());
    let config = match checkpoint.config.dialect {
        Dialect::HuggingFace => config_json(&path.join("config.json"))?,
        Dialect::Gguf => {
            let of = |what| Error::Config { path: path.into(), what };
            let config = crate::output::config_of(&spec).map_err(of)?;
            let json = serde_json::to_vec(&config).map_err(|error| of(error.to_string()))?;
            let described = formats::hugging_face_config(path, &json)?;
            spec = ModelSpec::from_config(&described).map_err(of_spec)?;
            weights = Box::new(Renamed::new(weights, &spec));
            config
        }
    };
    let text_path = tokenizer.unwrap_or(path);
    let vocabulary = Vocabulary::read(text_path, &checkpoint.text, spec.family)?;
    let text = checkpoint.text.clone();
    let (path, checkpoint) = (path.into(), Some(checkpoint));
    Ok(Start { path, spec, weights, config, text, vocabulary, checkpoint })
}

fn config_json(path: &Path) -> Result<Map<String, Value>, Error> {
    let of = |what: String| Error::Config { path: path.into(), what };
    let metadata = std::fs::metadata(path).map_err(|error| of(error.to_string()))?;
    if metadata.len() > CONFIG_BYTES_MAX {
        return Err(of(format!("longer than {CONFIG_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| of(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| of(error.to_string()))
}

fn of_nothing(scratch: &ScratchSection, folder: &Path) -> Result<Start, Error> {
    let path = PathBuf::from("model.scratch");
    let of = |what: String| Error::Config { path: path.clone(), what };
    let json = serde_json::to_value(&scratch.config).map_err(|error| of(error.to_string()))?;
    let bytes = serde_json::to_vec(&json).map_err(|error| of(error.to_string()))?;
    let config = formats::hugging_face_config(&path, &bytes)?;
    let spec = ModelSpec::from_config(&config)
        .map_err(|source| Error::Spec { path: path.clone(), source })?;
    let layout = |(name, shape)| TensorLayout { name, quant: QuantType::F32, shape };
    let tensors = convert::hugging_face_tensors(&spec).into_iter().map(layout);
    let weights = Box::new(Random::new(scratch.seed, tensors));
    let text = formats::open_text(folder)?;
    let vocabulary = Vocabulary::read(folder, &text, spec.family)?;
    let Value::Object(config) = json else {
        return Err(of("not a table".into()));
    };
    Ok(Start { path, spec, weights, config, text, vocabulary, checkpoint: None })
}
