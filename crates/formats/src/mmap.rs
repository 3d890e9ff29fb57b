//! Files in memory: mapped read-only, or read into memory of our own.
//!
//! The only memory map of the project. A mapped file that somebody truncates kills the process
//! (SIGBUS) when the lost pages are touched: [`OpenFile::check_unchanged`] notices it before,
//! [`Access::Read`] is immune to it.

#![expect(unsafe_code, reason = "mapping a file is an unsafe call")]

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::ops::{Deref, Range};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use crate::Error;

/// How the bytes of a file come into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mapped: pages come from the disk when they are first touched.
    Map,
    /// Read at once into memory of our own, which no other process can change.
    Read,
}

/// A range of a file or of memory; a clone shares it.
#[derive(Clone)]
pub struct Bytes {
    storage: Arc<Storage>,
    range: Range<usize>,
}

enum Storage {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// The bytes at `range` of these; panics if they are not all there.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "a range inside the bytes");
        let start = self.range.start;
        let range = start + range.start..start + range.end;
        Bytes { storage: Arc::clone(&self.storage), range }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all = match &*self.storage {
            Storage::Mapped(map) => &map[..],
            Storage::Owned(vec) => &vec[..],
        };
        &all[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(vec: Vec<u8>) -> Self {
        let range = 0..vec.len();
        Bytes { storage: Arc::new(Storage::Owned(vec)), range }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.range.len())
    }
}

/// A file that was opened, as it was then.
pub(crate) struct OpenFile {
    path: PathBuf,
    stamp: Stamp,
}

/// What differs once a file was replaced, truncated or written to.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl OpenFile {
    /// Opens a regular file and brings its bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotAModel`] for what is no regular file (a pipe would block, a
    /// device would never end); [`Error::Changed`] if the file changes meanwhile.
    pub(crate) fn open(path: &Path, access: Access) -> Result<(Self, Bytes), Error> {
        let metadata = fs::metadata(path).map_err(Error::io(path, "open"))?;
        if !metadata.is_file() {
            return Err(Error::NotAModel { path: path.into(), what: "not a regular file".into() });
        }
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        let stamp = Stamp::of(&file.metadata().map_err(Error::io(path, "open"))?);
        let len = usize::try_from(stamp.len).expect("files are shorter than the address space");
        let storage = match access {
            // An empty file has nothing to map, and mapping it fails.
            Access::Map if len > 0 => Storage::Mapped(map(&file, len, path)?),
            _ => {
                let mut bytes = Vec::new();
                let mut source = (&mut file).take(stamp.len);
                source.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
                Storage::Owned(bytes)
            }
        };
        // The length again, now that the bytes are here: it may have shrunk since the first look.
        let now = Stamp::of(&file.metadata().map_err(Error::io(path, "open"))?);
        if now != stamp {
            return Err(Error::Changed { path: path.into() });
        }
        let bytes = Bytes { storage: Arc::new(storage), range: 0..len };
        if matches!(&*bytes.storage, Storage::Owned(vec) if vec.len() != len) {
            return Err(Error::Changed { path: path.into() });
        }
        Ok((OpenFile { path: path.into(), stamp }, bytes))
    }

    /// # Errors
    /// [`Error::Changed`] if the path now leads to another file or to one of another length or
    /// time of change, [`Error::Io`] if it leads nowhere.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        let metadata = fs::metadata(&self.path).map_err(Error::io(&self.path, "open"))?;
        if Stamp::of(&metadata) == self.stamp {
            return Ok(());
        }
        Err(Error::Changed { path: self.path.clone() })
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

fn map(file: &File, len: usize, path: &Path) -> Result<Mmap, Error> {
    let mut options = MmapOptions::new();
    options.len(len);
    // SAFETY: the map is read-only, and nothing here writes the file. If another process does, the
    // bytes change: every byte is a valid u8, no reader trusts one that it read twice, and text is
    // checked after it was copied out. If another process truncates the file, a touch of the lost
    // pages ends the process by SIGBUS; no memory but the map's is ever read.
    unsafe { options.map(file) }.map_err(Error::io(path, "map"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn a_slice_of_a_slice_is_the_same_bytes_mapped_or_read() {
        let (_folder, path) = file_of(b"0123456789");
        for access in [Access::Map, Access::Read] {
            let (_, bytes) = OpenFile::open(&path, access).unwrap();
            assert_eq!(&bytes[..], b"0123456789");
            let inner = bytes.slice(2..8);
            drop(bytes);
            assert_eq!(&inner.slice(1..3)[..], b"34");
            assert!(inner.slice(6..6).is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "a range inside the bytes")]
    fn a_slice_never_leaves_its_parent() {
        Bytes::from(b"0123456789".to_vec()).slice(2..4).slice(0..3);
    }

    #[test]
    fn an_empty_file_is_empty() {
        let (_folder, path) = file_of(b"");
        let (_, bytes) = OpenFile::open(&path, Access::Map).unwrap();
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_file_truncated_or_replaced_under_the_map_is_noticed_before_it_is_touched() {
        let (folder, path) = file_of(&[7; 20_000]);
        let (opened, _bytes) = OpenFile::open(&path, Access::Map).unwrap();
        opened.check_unchanged().unwrap();
        File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(matches!(opened.check_unchanged(), Err(Error::Changed { .. })));

        let (opened, _bytes) = OpenFile::open(&path, Access::Map).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, [7; 10]).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(matches!(opened.check_unchanged(), Err(Error::Changed { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(opened.check_unchanged(), Err(Error::Io { .. })));
    }

    #[test]
    fn bytes_that_were_read_survive_a_truncated_file() {
        let (_folder, path) = file_of(&[7; 20_000]);
        let (_, bytes) = OpenFile::open(&path, Access::Read).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_blocking() {
        let error = OpenFile::open(Path::new("/dev/zero"), Access::Read).err().unwrap();
        assert_eq!(error.to_string(), "/dev/zero: not a regular file");
    }
}
