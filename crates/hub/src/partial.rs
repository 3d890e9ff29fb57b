//! A blob that grows on disk, hashed as it grows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::digest::Hasher;
use crate::remote::Remote;
use crate::{Error, Progress};

pub(crate) const CHUNK_BYTES: usize = 256 << 10;

pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    empty: Hasher,
    /// Bytes that are on disk and in the hash.
    len: u64,
    /// Bytes that the blob will have.
    size: u64,
}

impl Partial {
    /// Takes up what an earlier pull left of a blob, if it left anything.
    pub(crate) fn open(
        path: &Path,
        remote: &Remote,
        progress: &mut dyn Progress,
    ) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io("open", path))?;
        let found = file.metadata().map_err(Error::io("look at", path))?.len();
        let empty = remote.etag.hasher(remote.size);
        let hasher = empty.clone();
        let mut partial =
            Self { path: path.into(), file, hasher, empty, len: 0, size: remote.size };
        if found > remote.size {
            partial.restart()?;
        } else {
            partial.hash_again(found, &remote.path, progress)?;
        }
        Ok(partial)
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.len == self.size
    }

    /// Adds bytes that follow those that are there.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // At our own offset, not at the file's end: where a network file system doesn't honour
        // the lock, two processes write the same bytes to the same place.
        let written =
            self.file.seek(SeekFrom::Start(self.len)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|cause| self.full(cause))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets everything that came.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(Error::io("empty", &self.path))?;
        self.hasher = self.empty.clone();
        self.len = 0;
        Ok(())
    }

    /// The hash of what is there, in hex.
    pub(crate) fn hex(&self) -> String {
        self.hasher.hex()
    }

    /// Gives a complete blob its name, once it's safe on disk.
    pub(crate) fn commit(self, blob: &Path) -> Result<(), Error> {
        self.file.sync_all().map_err(|cause| self.full(cause))?;
        drop(self.file);
        fs::rename(&self.path, blob).map_err(Error::io("rename", &self.path))?;
        let folder = blob.parent().expect("a blob has a folder");
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::io("write", folder))
    }

    /// Leaves nothing behind.
    pub(crate) fn discard(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(Error::io("delete", &self.path))
    }

    fn hash_again(
        &mut self,
        found: u64,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.len < found {
            let n = self.file.read(&mut chunk).map_err(Error::io("read", &self.path))?;
            if n == 0 {
                break;
            }
            self.hasher.update(&chunk[..n]);
            self.len += n as u64;
            if progress.advance(name, self.len, self.size).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    /// A failure to write, said in bytes if the disk is full.
    fn full(&self, cause: io::Error) -> Error {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if ![StorageFull, QuotaExceeded].contains(&cause.kind()) {
            return Error::io("write", &self.path)(cause);
        }
        let free = rustix::fs::fstatvfs(&self.file)
            .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        Error::DiskFull { path: self.path.clone(), needed: self.size - self.len, free }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::digest::Etag;

    #[test]
    fn a_full_disk_is_told_with_the_path_and_the_bytes_that_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob.incomplete");
        // Every write to this device fails as on a full disk.
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let etag = Etag::parse(&"0".repeat(64)).unwrap();
        let remote = Remote { path: "m.gguf".into(), etag, size: 1000 };
        let mut silent = |_: &str, _, _| ControlFlow::Continue(());
        let mut partial = Partial::open(&path, &remote, &mut silent).unwrap();
        match partial.append(&[1; 100]) {
            Err(Error::DiskFull { path: named, needed: 1000, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}
