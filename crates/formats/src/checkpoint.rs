//! The one door: a path to a model, whatever its format.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use spec::{Config, Dialect};

use crate::folder::{self, Folder};
use crate::gguf::{self, Metadata};
use crate::mmap::{OpenFile, parse_head};
use crate::{Access, Error, Table, TensorLayout, Weights, safetensors};

/// A model as its files have it: settings, tensors, and how its text becomes tokens.
pub struct Checkpoint {
    /// What was opened: of a split GGUF model its first part, else a file or a folder.
    pub path: PathBuf,
    pub config: Config,
    pub weights: Box<dyn Weights>,
    pub text: TextSource,
    files: Vec<OpenFile>,
}

/// Where the tokenizer and the chat template come from: raw, to be read by `text`.
#[derive(Clone, Debug)]
pub enum TextSource {
    /// The keys `tokenizer.*` of a GGUF file.
    Gguf(Metadata),
    /// Files beside the weights, each as it is; none where there is no such file.
    HuggingFace {
        tokenizer: Option<Vec<u8>>,
        tokenizer_config: Option<Vec<u8>>,
        chat_template: Option<String>,
        generation_config: Option<Vec<u8>>,
    },
}

/// What a model's files say without the bytes of its tensors.
#[derive(Debug)]
pub struct Header {
    pub path: PathBuf,
    pub config: Config,
    pub tensors: Vec<TensorLayout>,
    pub text: TextSource,
}

/// Reads the header of one GGUF file, which may end anywhere after it.
///
/// # Errors
/// As [`open`]; [`Error::NotAModel`] for a part of a split model, which lists its own tensors only.
pub fn open_header(path: &Path) -> Result<Header, Error> {
    let (_, bytes) = OpenFile::open(path, Access::OnDemand)?;
    let (metadata, tensors) = parse_head(bytes, |bytes| gguf::parse_header(path, bytes))?;
    if metadata.int("split.count")?.is_some_and(|count| count > 1) {
        let what = "one part of a split model, whose header is not the whole model's".into();
        return Err(Error::NotAModel { path: path.into(), what });
    }
    let names = tensors.iter().map(|tensor| tensor.name.clone()).collect();
    let config = gguf_config(&metadata, names);
    Ok(Header { path: path.into(), config, tensors, text: TextSource::Gguf(metadata) })
}

/// What a `config.json` says of a model whose tensors are nowhere yet; `path` is what errors name.
///
/// # Errors
/// [`Error::Json`], [`Error::Malformed`], [`Error::Duplicate`].
pub fn hugging_face_config(path: &Path, json: &[u8]) -> Result<Config, Error> {
    let values = crate::json::flatten(path, json)?;
    Ok(Config { dialect: Dialect::HuggingFace, values, tensors: BTreeSet::new() })
}

/// The files of a folder that say how text becomes tokens; its weights need not be there.
///
/// # Errors
/// One that is too long, or cannot be read.
pub fn open_text(folder: &Path) -> Result<TextSource, Error> {
    folder::text_source(folder)
}

/// Opens a model, mapping its weights: a `.gguf` file (any part of a split one), a Hugging Face
/// folder, or a folder that holds exactly one GGUF model.
///
/// # Errors
/// One line that names the file and the fault; see [`Error`].
pub fn open(path: &Path) -> Result<Checkpoint, Error> {
    open_with(path, Access::Map)
}

/// Opens a model as [`open`] does, its weights mapped or read into memory.
pub fn open_with(path: &Path, access: Access) -> Result<Checkpoint, Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if !metadata.is_dir() {
        return open_file(path, access);
    }
    match folder::look(path)? {
        Folder::Gguf(file) => open_gguf(&file, access),
        Folder::HuggingFace { weights } => {
            let (table, file) = safetensors::open(&weights, access)?;
            hugging_face(path, table, vec![file])
        }
        Folder::HuggingFaceShards { index } => {
            let (table, files) = safetensors::open_index(&index, access)?;
            hugging_face(path, table, files)
        }
    }
}

impl Checkpoint {
    /// What the files say, the weights left where they are.
    ///
    /// # Errors
    /// [`Error::UnsupportedType`] for a tensor that cannot be read.
    pub fn header(&self) -> Result<Header, Error> {
        let names = self.weights.names().into_iter();
        let tensors = names.map(|name| Ok(self.weights.locate(name)?.0));
        Ok(Header {
            path: self.path.clone(),
            config: self.config.clone(),
            tensors: tensors.collect::<Result<_, Error>>()?,
            text: self.text.clone(),
        })
    }

    /// Looks whether the files are still those that were opened. A mapped file that shrank kills
    /// the process once its lost pages are touched: ask before a long load, and on an error that
    /// makes no sense.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::Io`].
    pub fn check_unchanged(&self) -> Result<(), Error> {
        self.files.iter().try_for_each(OpenFile::check_unchanged)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("path", &self.path).finish_non_exhaustive()
    }
}

fn open_file(path: &Path, access: Access) -> Result<Checkpoint, Error> {
    if folder::is_pickle(path) {
        return Err(Error::Pickle { path: path.into() });
    }
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        let what = "safetensors hold no config: give the folder that holds config.json".into();
        return Err(Error::NotAModel { path: path.into(), what });
    }
    open_gguf(path, access)
}

fn open_gguf(path: &Path, access: Access) -> Result<Checkpoint, Error> {
    let (gguf, files) = gguf::open(path, access)?;
    Ok(Checkpoint {
        path: gguf.metadata.path().into(),
        config: gguf_config(
            &gguf.metadata,
            gguf.tensors.names().into_iter().map(String::from).collect(),
        ),
        weights: Box::new(gguf.tensors),
        text: TextSource::Gguf(gguf.metadata),
        files,
    })
}

fn gguf_config(metadata: &Metadata, tensors: BTreeSet<String>) -> Config {
    Config { dialect: Dialect::Gguf, values: metadata.config_values(), tensors }
}

fn hugging_face(folder: &Path, table: Table, files: Vec<OpenFile>) -> Result<Checkpoint, Error> {
    Ok(Checkpoint {
        path: folder.into(),
        config: Config {
            dialect: Dialect::HuggingFace,
            values: folder::config(folder)?,
            tensors: table.names().into_iter().map(String::from).collect(),
        },
        weights: Box::new(table),
        text: folder::text_source(folder)?,
        files,
    })
}

/// Refuses what a clone without Git LFS leaves in the place of a large file.
pub(crate) fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if bytes.starts_with(b"version https://git-lfs") {
        let what = "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder";
        return Err(Error::malformed(path, what));
    }
    Ok(())
}
