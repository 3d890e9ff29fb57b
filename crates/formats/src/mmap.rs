//! Files in memory: mapped read-only, read into our own memory, or read where they are asked for.
//!
//! The only memory map of the project. A mapped file that somebody truncates kills the process
//! (SIGBUS) when the lost pages are touched: [`OpenFile::check_unchanged`] notices it before,
//! [`Access::Read`] is immune to it.

#![expect(unsafe_code, reason = "mapping a file is an unsafe call")]

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::ops::{Deref, Range};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};
use rustix::fs::{Advice, fadvise};

use crate::Error;

/// How the bytes of a file come into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mapped: pages come from the disk when they are first touched.
    Map,
    /// Read at once into memory of our own, which no other process can change.
    Read,
    /// Read tensor by tensor, each when it is asked for, into memory that is free again once the
    /// tensor is dropped: for models larger than memory. Neither maps the file nor leaves it in
    /// the system's cache.
    OnDemand,
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
    Unread(Unread),
}

/// A file of which only the head has been read.
struct Unread {
    path: PathBuf,
    file: File,
    head: Vec<u8>,
}

/// What is read first of a file whose header has an unknown length, and what is read at most.
const HEAD_BYTES: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 256 << 20;

impl Bytes {
    /// Bytes of the range, read or not.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The same bytes in memory: of an unread file they are read now.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Changed`] if the file has become shorter.
    pub(crate) fn fetch(&self) -> Result<Self, Error> {
        let Storage::Unread(unread) = &*self.storage else { return Ok(self.clone()) };
        Ok(Bytes::from(unread.read(self.range.clone())?))
    }

    /// The whole file with more of its head, if it is one of which more can be read.
    fn with_longer_head(&self) -> Result<Option<Self>, Error> {
        let Storage::Unread(Unread { path, file, head }) = &*self.storage else { return Ok(None) };
        let len = self.range.len().min(HEAD_BYTES_MAX).min(4 * head.len());
        if len <= head.len() {
            return Ok(None);
        }
        let file = file.try_clone().map_err(Error::io(path, "open"))?;
        let mut longer = Unread { path: path.clone(), file, head: Vec::new() };
        longer.head = longer.read(0..len)?;
        let storage = Arc::new(Storage::Unread(longer));
        Ok(Some(Bytes { storage, range: self.range.clone() }))
    }

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
            // A parser sees what there is of the head and asks for more; see `parse_head`.
            Storage::Unread(unread) => {
                let end = self.range.end.min(unread.head.len());
                return unread.head.get(self.range.start..end).unwrap_or_default();
            }
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

impl Unread {
    /// The bytes at `range`, which the system then need not keep.
    fn read(&self, range: Range<usize>) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; range.len()];
        let offset = range.start as u64;
        self.file.read_exact_at(&mut bytes, offset).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Changed { path: self.path.clone() },
            _ => Error::io(&self.path, "read")(source),
        })?;
        // A refusal costs the system's cache some room, and no more.
        let _ = fadvise(&self.file, offset, (range.len() as u64).try_into().ok(), Advice::DontNeed);
        Ok(bytes)
    }
}

/// What `parse` makes of a file: of one that is unread, of as much of its head as it needs.
pub(crate) fn parse_head<T>(
    mut bytes: Bytes,
    parse: impl Fn(&Bytes) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match parse(&bytes) {
            Err(Error::Truncated { path, what, at, needed, left }) => {
                match bytes.with_longer_head()? {
                    Some(longer) => bytes = longer,
                    None => return Err(Error::Truncated { path, what, at, needed, left }),
                }
            }
            outcome => return outcome,
        }
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
            Access::OnDemand => {
                let file = file.try_clone().map_err(Error::io(path, "open"))?;
                let mut unread = Unread { path: path.into(), file, head: Vec::new() };
                unread.head = unread.read(0..len.min(HEAD_BYTES))?;
                Storage::Unread(unread)
            }
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
        for access in [Access::Map, Access::Read, Access::OnDemand] {
            let (_, bytes) = OpenFile::open(&path, access).unwrap();
            assert_eq!(&bytes[..], b"0123456789");
            let inner = bytes.slice(2..8);
            drop(bytes);
            assert_eq!(&inner.slice(1..3).fetch().unwrap()[..], b"34");
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
    fn an_unread_file_shows_as_much_of_its_head_as_is_asked_for() {
        let content: Vec<u8> = (0..3 * HEAD_BYTES).map(|i| (i % 251) as u8).collect();
        let (_folder, path) = file_of(&content);
        let (_, bytes) = OpenFile::open(&path, Access::OnDemand).unwrap();
        assert_eq!((bytes.len(), bytes[..].len()), (3 * HEAD_BYTES, HEAD_BYTES));
        let parse = |want: usize| {
            move |bytes: &Bytes| match bytes.get(want - 1) {
                Some(&last) => Ok(last),
                None => {
                    let (path, left) = (PathBuf::new(), bytes[..].len());
                    Err(Error::Truncated { path, what: "it", at: 0, needed: want as u64, left })
                }
            }
        };
        let last = parse_head(bytes.clone(), parse(2 * HEAD_BYTES)).unwrap();
        assert_eq!(last, content[2 * HEAD_BYTES - 1]);
        let error = parse_head(bytes, parse(4 * HEAD_BYTES)).unwrap_err();
        let all = 3 * HEAD_BYTES;
        assert!(matches!(error, Error::Truncated { left, .. } if left == all), "{error}");
    }

    #[test]
    fn a_truncated_file_is_an_error_where_it_is_read_on_demand() {
        let (_folder, path) = file_of(&[7; 20_000]);
        let (_, bytes) = OpenFile::open(&path, Access::OnDemand).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(matches!(bytes.slice(8..16).fetch(), Err(Error::Changed { .. })));
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
