//! One model's folders in the cache, laid out as Python's `huggingface_hub` does it:
//!
//! ```text
//! CACHEDIR.TAG
//! .locks/models--org--repo/{etag}.lock
//! models--org--repo/blobs/{etag}                      a file's content
//! models--org--repo/refs/main                         the commit, 40 hex digits, no newline
//! models--org--repo/snapshots/{commit}/config.json    -> ../../blobs/{etag}
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::Etag;
use crate::{Error, Progress, Wait};

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by huggingface_hub.\n\
    # For information about cache directory tags, see:\n\
    #\thttps://bford.info/cachedir/\n";
const LOCK_POLL: Duration = Duration::from_millis(200);
/// A snapshot of a model has few files, and its folders are one or two deep.
const FILES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 4;

pub(crate) struct Repo {
    cache: PathBuf,
    folder: String,
}

impl Repo {
    /// `repo` is the `org/repo` of a `Name`, so it has no separator but the one.
    pub(crate) fn new(cache: &Path, repo: &str) -> Self {
        Self { cache: cache.to_owned(), folder: format!("models--{}", repo.replace('/', "--")) }
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.cache.join(&self.folder).join("blobs")
    }

    pub(crate) fn blob(&self, etag: &Etag) -> PathBuf {
        self.blobs().join(etag.as_str())
    }

    /// Where a blob grows until it's complete.
    pub(crate) fn incomplete(&self, etag: &Etag) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", etag.as_str()))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.join(&self.folder).join("snapshots").join(commit)
    }

    /// Whether a blob of the right size is there.
    pub(crate) fn has_blob(&self, etag: &Etag, size: u64) -> bool {
        fs::metadata(self.blob(etag)).is_ok_and(|meta| meta.len() == size)
    }

    /// The commit that a branch or tag was at when it was last looked at; a commit is itself.
    pub(crate) fn read_ref(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let path = self.cache.join(&self.folder).join("refs").join(revision);
        let commit = fs::read_to_string(path).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// Points a branch or tag to a commit, at once for every reader.
    pub(crate) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if self.read_ref(revision).is_some_and(|known| known == commit) || is_commit(revision) {
            return Ok(());
        }
        let path = self.cache.join(&self.folder).join("refs").join(revision);
        let temporary = path.with_file_name(temporary_name());
        let parent = path.parent().expect("a ref has a folder");
        let written = fs::create_dir_all(parent)
            .and_then(|()| fs::write(&temporary, commit))
            .and_then(|()| fs::rename(&temporary, &path));
        match written.map_err(|cause| (cause.kind(), cause)) {
            // A shared cache that others fill: the snapshot is complete all the same.
            Err((io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, _)) => Ok(()),
            Err((_, cause)) => Err(Error::io("write", &path)(cause)),
            Ok(()) => Ok(()),
        }
    }

    /// The files of a snapshot whose blobs are there, as paths with `/`, sorted.
    pub(crate) fn files(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.snapshot(commit), "", DEPTH_MAX, &mut files);
        files.sort();
        files
    }

    /// Makes the folders that a download needs.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        for folder in [self.blobs(), self.cache.join(".locks").join(&self.folder)] {
            fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        }
        let tag = self.cache.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(&tag, TAG).map_err(Error::io("write", &tag))?;
        }
        Ok(())
    }

    /// Bytes that this user may still write beside the blobs.
    pub(crate) fn free_bytes(&self) -> Result<u64, Error> {
        let blobs = self.blobs();
        let stat = rustix::fs::statvfs(&blobs)
            .map_err(|cause| Error::io("ask for the free space of", &blobs)(cause.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Takes the lock of a blob, the one that Python takes; it's released when dropped.
    pub(crate) fn lock(
        &self,
        etag: &Etag,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<File, Error> {
        let name = format!("{}.lock", etag.as_str());
        let path = self.cache.join(".locks").join(&self.folder).join(name);
        loop {
            // Group-writable, so that users who share a cache can wait for each other.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o664);
            let lock = options.open(&path).map_err(Error::io("open the lock", &path))?;
            match lock.try_lock() {
                Ok(()) if has_name(&lock) => return Ok(lock),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let why = Wait::Locked { file: file.to_owned() };
                    if progress.wait(&why, LOCK_POLL).is_break() {
                        return Err(Error::Cancelled);
                    }
                }
                Err(TryLockError::Error(cause)) => return Err(Error::io("lock", &path)(cause)),
            }
        }
    }

    /// Makes `file` of a snapshot a relative link to its blob.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &Etag) -> Result<(), Error> {
        let pointer = self.snapshot(commit).join(file);
        let parent = pointer.parent().expect("a file has a folder");
        let up = "../".repeat(file.split('/').count() + 1);
        let temporary = parent.join(temporary_name());
        fs::create_dir_all(parent)
            .and_then(|()| remove_if_there(&temporary))
            .and_then(|()| symlink(format!("{up}blobs/{}", etag.as_str()), &temporary))
            .and_then(|()| fs::rename(&temporary, &pointer))
            .map_err(Error::io("link", &pointer))
    }
}

/// Whether a revision is a full commit hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// Whether a lock still guards its name. Python unlinks a lock that it releases, perhaps between
/// our opening and our locking it.
fn has_name(lock: &File) -> bool {
    lock.metadata().is_ok_and(|meta| meta.nlink() > 0)
}

/// A name that no other thread on this machine uses now.
fn temporary_name() -> String {
    format!(".{}.{:?}.tmp", std::process::id(), std::thread::current().id())
}

/// Deletes what a process that had this one's number may have left.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
            continue;
        };
        // Follows links: a link whose blob is gone is not a file of the snapshot.
        let Ok(meta) = fs::metadata(entry.path()) else { continue };
        if files.len() == FILES_MAX {
            return;
        }
        if meta.is_file() {
            files.push(name);
        } else if meta.is_dir() && depth > 1 {
            walk(&entry.path(), &format!("{name}/"), depth - 1, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_unlinked_guards_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etag.lock");
        let lock = File::create(&path).unwrap();
        assert!(has_name(&lock));
        fs::remove_file(&path).unwrap();
        assert!(!has_name(&lock));
        File::create(&path).unwrap();
        assert!(!has_name(&lock), "another file took the name");
    }
}
