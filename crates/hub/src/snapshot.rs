//! A model on disk.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use crate::digest::Etag;
use crate::partial::CHUNK_BYTES;
use crate::{Error, Progress};

/// The files of one commit that make a model. All of them were there when this was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub folder: PathBuf,
    /// Absolute if the cache's path is; companions first, then weights, each in order.
    pub files: Vec<PathBuf>,
    pub commit: String,
    /// Which GGUF was chosen, by its label; none for safetensors.
    pub quant: Option<String>,
    /// Whether the hub said just now that this is the commit. If not, the copy may be an old one.
    pub is_current: bool,
}

impl Snapshot {
    /// What a loader opens: the first GGUF file, or the folder of safetensors.
    pub fn model_path(&self) -> PathBuf {
        let gguf = self.files.iter().find(|file| file.extension().is_some_and(|e| e == "gguf"));
        gguf.unwrap_or(&self.folder).clone()
    }

    /// Reads every file again and compares it with the hash that names its blob.
    ///
    /// # Errors
    /// `Error::Damaged` names the first blob whose hash is another, `Error::Cancelled` if
    /// `progress` breaks, `Error::Io` if a file can't be read.
    pub fn verify(&self, progress: &mut dyn Progress) -> Result<(), Error> {
        for file in &self.files {
            let blob = fs::canonicalize(file).map_err(Error::io("find", file))?;
            // The link's own target, not the end of a chain: a blob may be a link as well.
            let target = fs::read_link(file).ok();
            let etag = target.as_ref().and_then(|target| target.file_name()?.to_str());
            let Some(etag) = etag.and_then(Etag::parse) else {
                let reason = "no link to a blob, so its hash is unknown".to_owned();
                return Err(Error::Damaged { path: file.clone(), reason });
            };
            let name = file.strip_prefix(&self.folder).unwrap_or(file).to_string_lossy();
            let found = hash(&blob, &etag, &name, progress)?;
            if found != etag.as_str() {
                let reason = format!("its hash is {found}");
                return Err(Error::Damaged { path: blob, reason });
            }
        }
        Ok(())
    }
}

fn hash(
    path: &std::path::Path,
    etag: &Etag,
    name: &str,
    progress: &mut dyn Progress,
) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("look at", path))?.len();
    let mut hasher = etag.hasher(size);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let n = file.read(&mut chunk).map_err(Error::io("read", path))?;
        if n == 0 {
            return Ok(hasher.hex());
        }
        hasher.update(&chunk[..n]);
        done += n as u64;
        if progress.advance(name, done, size).is_break() {
            return Err(Error::Cancelled);
        }
    }
}
