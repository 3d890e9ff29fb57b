//! The state of a run on the disk: whole, or not there.
//!
//! ```text
//! step-12.tmp/…  write, fsync each    manifest.json with every digest, fsync    fsync the folder
//! step-12.tmp → step-12    fsync the parent    latest (beside, fsync, rename, fsync)    prune
//! ```
//!
//! Whatever moment the power goes, the newest folder without `.tmp` is whole, and what its digests
//! say. What is broken later is named.

mod manifest;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use formats::{Bytes, Weights, safetensors};
use manifest::Manifest;

use crate::optimizer::Moments;

const TMP: &str = ".tmp";
const PREFIX: &str = "step-";
const LATEST: &str = "latest";
const STATE: &str = "state.json";

/// A checkpoint that can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "{path}: the checkpoint of step {step} can't be written, the one before stays: {source}"
    )]
    Write { path: PathBuf, step: u64, source: io::Error },
    #[error("{path}: can't be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {what}; an older checkpoint is used with --allow-rollback")]
    Broken { path: PathBuf, what: String },
    #[error("{path}: it was made with other settings; give them back, or choose another out")]
    OtherRun { path: PathBuf },
    #[error("{path}: another run writes here")]
    Busy { path: PathBuf },
    #[error("{path}: {tensor} has {found} numbers, not {expected}")]
    Shape { path: PathBuf, tensor: String, found: usize, expected: usize },
}

/// Tensors of f32 that go into one file.
pub struct Tensors<'a> {
    /// Its name without the extension.
    pub file: &'static str,
    /// Name, shape, numbers.
    pub tensors: Vec<(String, Vec<usize>, &'a [f32])>,
}

/// What there is to save.
pub struct Snapshot<'a> {
    pub step: u64,
    /// Of the settings.
    pub run: &'a str,
    pub state: serde_json::Value,
    pub tensors: Vec<Tensors<'a>>,
}

/// A checkpoint as it was read.
#[derive(Debug)]
pub struct Loaded {
    pub step: u64,
    pub path: PathBuf,
    pub state: serde_json::Value,
}

/// The checkpoints of one run, which no other run writes meanwhile.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: usize,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it isn't there, and clears what an interrupted run left half written.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], [`Error::Read`].
    pub fn open(path: &Path, keep: usize) -> Result<Folder, Error> {
        let read = |source| Error::Read { path: path.into(), source };
        fs::create_dir_all(path).map_err(read)?;
        let lock = File::create(path.join("lock")).map_err(read)?;
        if lock.try_lock().is_err() {
            return Err(Error::Busy { path: path.into() });
        }
        for entry in fs::read_dir(path).map_err(read)? {
            let entry = entry.map_err(read)?.path();
            if entry.extension().is_some_and(|extension| extension == "tmp") {
                remove(&entry).map_err(read)?;
            }
        }
        Ok(Folder { path: path.into(), keep, _lock: lock })
    }

    /// Steps of which there is a checkpoint, ascending.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn steps(&self) -> Result<Vec<u64>, Error> {
        let read = |source| Error::Read { path: self.path.clone(), source };
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            steps.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Where the checkpoint of a step is.
    pub fn at(&self, step: u64) -> PathBuf {
        self.path.join(format!("{PREFIX}{step}"))
    }

    /// Writes a checkpoint; older ones beyond the kept are removed once it is on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Write`]: what was there before is as it was.
    pub fn save(&self, snapshot: &Snapshot<'_>) -> Result<PathBuf, Error> {
        let saved = self.save_in_steps(snapshot, &mut |_| Ok(()));
        saved.map_err(|source| {
            // Its room may be what others lack; if it stays, the next start removes it.
            let _ = remove(&self.tmp(snapshot.step));
            Error::Write { path: self.path.clone(), step: snapshot.step, source }
        })
    }

    fn tmp(&self, step: u64) -> PathBuf {
        self.path.join(format!("{PREFIX}{step}{TMP}"))
    }

    /// `done` hears of every action after which a machine may stop.
    fn save_in_steps(
        &self,
        snapshot: &Snapshot<'_>,
        done: &mut dyn FnMut(&'static str) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let (tmp, path) = (self.tmp(snapshot.step), self.at(snapshot.step));
        remove(&tmp)?;
        fs::create_dir(&tmp)?;
        done("made the folder")?;
        let mut names = Vec::new();
        for tensors in &snapshot.tensors {
            let name = format!("{}.safetensors", tensors.file);
            let list: Vec<_> = tensors
                .tensors
                .iter()
                .map(|(name, shape, values)| (name.as_str(), shape.as_slice(), *values))
                .collect();
            safetensors::write_f32(&tmp.join(&name), &list).map_err(io::Error::other)?;
            names.push(name);
            done("wrote tensors")?;
        }
        let state = serde_json::to_vec_pretty(&snapshot.state)?;
        write_synced(&tmp.join(STATE), &state)?;
        names.push(STATE.into());
        done("wrote the state")?;
        let manifest = Manifest::of(&tmp, &names, (snapshot.step, snapshot.run))?;
        write_synced(&tmp.join(manifest::FILE), &manifest.to_bytes())?;
        done("wrote the manifest")?;
        sync_folder(&tmp)?;
        done("synced the folder")?;
        // Left by a run that went back to an older step.
        remove(&path)?;
        fs::rename(&tmp, &path)?;
        done("renamed the folder")?;
        sync_folder(&self.path)?;
        done("synced the parent")?;
        let latest = self.path.join(format!("{LATEST}{TMP}"));
        write_synced(&latest, format!("{PREFIX}{}\n", snapshot.step).as_bytes())?;
        done("wrote latest")?;
        fs::rename(&latest, self.path.join(LATEST))?;
        done("renamed latest")?;
        sync_folder(&self.path)?;
        done("synced latest")?;
        self.prune(snapshot.step, done)?;
        Ok(path)
    }

    /// Removes all but the newest so many, and those beyond `step`, which another past led to.
    fn prune(
        &self,
        step: u64,
        done: &mut dyn FnMut(&'static str) -> io::Result<()>,
    ) -> io::Result<()> {
        let steps = self.steps().map_err(io::Error::other)?;
        let (past, beyond): (Vec<u64>, Vec<u64>) = steps.iter().partition(|at| **at <= step);
        let surplus = past.len().saturating_sub(self.keep);
        for at in past[..surplus].iter().chain(&beyond) {
            // Half removed it must not be taken for one.
            fs::rename(self.at(*at), self.tmp(*at))?;
            done("renamed an old one")?;
            remove(&self.tmp(*at))?;
            done("removed an old one")?;
        }
        Ok(())
    }

    /// The newest checkpoint; none if there is none. With `rollback`, an older one in the place of
    /// a broken one.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] names the file; [`Error::OtherRun`].
    pub fn load(&self, run: &str, rollback: bool) -> Result<Option<Loaded>, Error> {
        let mut first = None;
        for step in self.steps()?.into_iter().rev() {
            match load(&self.at(step), step) {
                Ok((manifest, state)) => {
                    let path = self.at(step);
                    if manifest.run != run {
                        return Err(Error::OtherRun { path });
                    }
                    return Ok(Some(Loaded { step, path, state }));
                }
                Err(error) if !rollback => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(None), Err)
    }
}

impl Loaded {
    /// Reads a file of tensors into the places of the same names.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Shape`].
    pub fn read_into(&self, file: &str, places: &mut [(String, &mut [f32])]) -> Result<(), Error> {
        let path = self.path.join(format!("{file}.safetensors"));
        let broken = |what: String| Error::Broken { path: path.clone(), what };
        let bytes = fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let table = safetensors::parse(&path, &Bytes::from(bytes));
        let table = table.map_err(|error| broken(error.to_string()))?;
        for (name, place) in places {
            let tensor = table.tensor(name).map_err(|error| broken(error.to_string()))?;
            let values = tensor.to_f32();
            if values.len() != place.len() {
                let (found, expected) = (values.len(), place.len());
                return Err(Error::Shape { path, tensor: name.clone(), found, expected });
            }
            place.copy_from_slice(&values);
        }
        Ok(())
    }
}

impl Loaded {
    /// What was remembered of the gradients of tensors of these names and lengths.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Shape`].
    pub fn moments(&self, tensors: &[(String, usize)]) -> Result<Vec<Moments>, Error> {
        let path = self.path.join("moments.safetensors");
        let broken = |what: String| Error::Broken { path: path.clone(), what };
        let bytes = fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let table = safetensors::parse(&path, &Bytes::from(bytes));
        let table = table.map_err(|error| broken(error.to_string()))?;
        let read = |name: String, expected: usize| {
            if !table.contains(&name) {
                return Ok(Vec::new());
            }
            let tensor = table.tensor(&name).map_err(|error| broken(error.to_string()))?;
            let values = tensor.to_f32();
            if values.len() == expected {
                return Ok(values);
            }
            let (path, found) = (path.clone(), values.len());
            Err(Error::Shape { path, tensor: name, found, expected })
        };
        let of = |(name, len): &(String, usize)| {
            let first = read(format!("{name}.first"), *len)?;
            Ok(Moments { first, second: read(format!("{name}.second"), *len)? })
        };
        tensors.iter().map(of).collect()
    }
}

/// Compares every file with its digest, and reads the state.
fn load(path: &Path, step: u64) -> Result<(Manifest, serde_json::Value), Error> {
    let manifest = Manifest::read(path)?;
    manifest.check(path)?;
    let broken = |what: String| Error::Broken { path: path.into(), what };
    if manifest.step != step {
        return Err(broken(format!("the manifest is that of step {}", manifest.step)));
    }
    let state = fs::read(path.join(STATE)).map_err(|error| broken(error.to_string()))?;
    let state = serde_json::from_slice(&state).map_err(|error| broken(error.to_string()))?;
    Ok((manifest, state))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What was renamed or made in a folder is on the disk only once the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file or a folder; nothing there is as good.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests;
