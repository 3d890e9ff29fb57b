//! Folders: Hugging Face checkpoints, or the one GGUF model that a folder holds.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::gguf::SplitName;
use crate::{Error, TextSource, json};

/// Far more than a config says; lists in it are read whole.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The largest tokenizers have 35 MB.
const TOKENIZER_BYTES_MAX: u64 = 128 << 20;
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Names that an error lists.
const LISTED_MAX: usize = 8;

/// What the files of a folder make it.
pub(crate) enum Folder {
    HuggingFace { weights: PathBuf },
    HuggingFaceShards { index: PathBuf },
    Gguf(PathBuf),
}

/// Finds the model in a folder.
///
/// # Errors
/// [`Error::NotAModel`] if there is none or more than one, [`Error::Pickle`] if its weights are
/// pickled.
pub(crate) fn look(folder: &Path) -> Result<Folder, Error> {
    let not_a_model = |what: String| Error::NotAModel { path: folder.into(), what };
    let has_config = folder.join("config.json").is_file();
    let weights = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if has_config && weights.is_file() {
        return Ok(Folder::HuggingFace { weights });
    }
    if has_config && index.is_file() {
        return Ok(Folder::HuggingFaceShards { index });
    }
    let names = names(folder)?;
    let ggufs = gguf_models(&names);
    if let [only] = &ggufs[..] {
        return Ok(Folder::Gguf(folder.join(only)));
    }
    if !ggufs.is_empty() {
        let mut list = ggufs[..ggufs.len().min(LISTED_MAX)].join(", ");
        if ggufs.len() > LISTED_MAX {
            list.push_str(", …");
        }
        return Err(not_a_model(format!("{} models are here, choose one: {list}", ggufs.len())));
    }
    if let Some(pickle) = names.iter().find(|name| is_pickle(Path::new(name))) {
        return Err(Error::Pickle { path: folder.join(pickle) });
    }
    Err(not_a_model(
        match (has_config, weights.is_file() || index.is_file()) {
            (true, _) => {
                "config.json is here, but neither model.safetensors nor an index of shards"
            }
            (false, true) => "safetensors are here, but no config.json",
            (false, false) => "no model here (config.json with safetensors, or a .gguf file)",
        }
        .into(),
    ))
}

/// Whether a file's name says that it holds pickled weights.
pub(crate) fn is_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    ["bin", "pt", "pth", "ckpt", "pkl"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The names of the files in a folder, sorted.
fn names(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let entry = entry.map_err(Error::io(folder, "list"))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.insert(name);
        }
    }
    Ok(names)
}

/// One name for each GGUF model: of a split one, the part that is there and comes first.
fn gguf_models(names: &BTreeSet<String>) -> Vec<String> {
    let mut splits = BTreeSet::new();
    let is_model = |name: &&String| {
        let first_seen = SplitName::parse(name)
            .is_none_or(|split| splits.insert((split.stem.clone(), split.count)));
        name.ends_with(".gguf") && first_seen
    };
    names.iter().filter(is_model).cloned().collect()
}

/// The settings of `config.json`, nested maps joined by dots.
pub(crate) fn config(
    folder: &Path,
) -> Result<std::collections::BTreeMap<String, spec::Value>, Error> {
    let path = folder.join("config.json");
    let json = read_file(&path, CONFIG_BYTES_MAX)?;
    json::flatten(&path, &json.ok_or_else(|| Error::malformed(&path, "missing"))?)
}

/// The files beside the weights that say how text becomes tokens.
pub(crate) fn text_source(folder: &Path) -> Result<TextSource, Error> {
    let template = folder.join("chat_template.jinja");
    let chat_template = match read_file(&template, TEXT_BYTES_MAX)? {
        None => None,
        Some(bytes) => {
            Some(String::from_utf8(bytes).map_err(|_| Error::malformed(&template, "not UTF-8"))?)
        }
    };
    Ok(TextSource::HuggingFace {
        tokenizer: read_file(&folder.join("tokenizer.json"), TOKENIZER_BYTES_MAX)?,
        tokenizer_config: read_file(&folder.join("tokenizer_config.json"), TEXT_BYTES_MAX)?,
        chat_template,
        generation_config: read_file(&folder.join("generation_config.json"), TEXT_BYTES_MAX)?,
    })
}

/// A file of at most `limit` bytes; none if it isn't there.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(Error::io(path, "open"))?,
    };
    if !metadata.is_file() {
        return Err(Error::NotAModel { path: path.into(), what: "not a regular file".into() });
    }
    let too_long = |found| Error::Limit { path: path.into(), what: "its length", found, limit };
    if metadata.len() > limit {
        return Err(too_long(metadata.len()));
    }
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(Error::io(path, "open"))?.take(limit + 1);
    file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    // It may have grown since its length was read.
    if bytes.len() as u64 > limit {
        return Err(too_long(bytes.len() as u64));
    }
    Ok(Some(bytes))
}
