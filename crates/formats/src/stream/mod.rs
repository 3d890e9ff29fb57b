//! Parts of files read into memory while the caller does something else.
//!
//! Past the system's cache where the file system allows it (`O_DIRECT`), so that what is read
//! takes the memory of its buffer and no other. By io_uring, or by a few threads where the system
//! refuses that. Never through a map.

mod buffer;
mod threads;
mod uring;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, OFlags, fadvise};

use crate::Error;

pub use buffer::ReadBuffer;
use buffer::{SECTOR, Span};

/// A part of one of a stream's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which of the paths that the stream was opened with.
    pub file: usize,
    pub offset: u64,
    pub len: usize,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    IoUring,
    Threads,
}

/// A reading that has ended.
#[derive(Debug)]
pub struct Finished {
    /// As it was submitted.
    pub ticket: u64,
    pub buffer: ReadBuffer,
    pub outcome: Result<(), Error>,
}

/// Files that are read in parts.
pub struct Stream {
    files: Arc<[Source]>,
    backend: Backend,
    n_submitted: usize,
}

enum Backend {
    Uring(Box<uring::Uring>),
    Threads(threads::Threads),
}

/// A file of a stream.
struct Source {
    path: Arc<Path>,
    file: File,
    /// Whether reads pass the system's cache.
    is_direct: bool,
}

/// Parts of files on their way into a buffer.
struct Reading {
    ticket: u64,
    buffer: ReadBuffer,
}

impl Stream {
    /// Opens `paths` for up to `depth` readings at a time, by the best method that works.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be opened.
    pub fn open(paths: &[Arc<Path>], depth: usize) -> Result<Stream, Error> {
        Stream::open_with(paths, depth, Method::IoUring)
            .or_else(|_| Stream::open_with(paths, depth, Method::Threads))
    }

    /// The same by one method only.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be opened, or the system has no io_uring for us.
    pub fn open_with(paths: &[Arc<Path>], depth: usize, method: Method) -> Result<Stream, Error> {
        let files = paths.iter().map(Source::open).collect::<Result<_, _>>()?;
        let backend = match method {
            Method::IoUring => {
                let ring = uring::Uring::new(Arc::clone(&files), depth);
                let path: &Path = paths.first().map_or(Path::new(""), |path| path);
                Backend::Uring(Box::new(ring.map_err(Error::io(path, "be read by io_uring"))?))
            }
            Method::Threads => Backend::Threads(threads::Threads::new(&files, depth)),
        };
        Ok(Stream { files, backend, n_submitted: 0 })
    }

    pub fn method(&self) -> Method {
        match self.backend {
            Backend::Uring(_) => Method::IoUring,
            Backend::Threads(_) => Method::Threads,
        }
    }

    /// Whether all files are read past the system's cache.
    pub fn is_direct(&self) -> bool {
        self.files.iter().all(|source| source.is_direct)
    }

    /// Readings that were submitted and have not come back.
    pub fn n_submitted(&self) -> usize {
        self.n_submitted
    }

    /// Starts to read `extents` into `buffer`, which comes back by [`Stream::next`].
    ///
    /// # Panics
    /// If the buffer is smaller than [`ReadBuffer::room_for`] says, or a file is not there.
    pub fn submit(&mut self, ticket: u64, mut buffer: ReadBuffer, extents: &[Extent]) {
        buffer.lay_out(extents);
        self.n_submitted += 1;
        let reading = Reading { ticket, buffer };
        match &mut self.backend {
            Backend::Uring(ring) => ring.submit(reading),
            Backend::Threads(threads) => threads.submit(reading),
        }
    }

    /// A reading that has ended, in any order; waits for one if `wait`. None if there is none, or
    /// none yet.
    pub fn next(&mut self, wait: bool) -> Option<Finished> {
        if self.n_submitted == 0 {
            return None;
        }
        let (reading, outcome) = match &mut self.backend {
            Backend::Uring(ring) => ring.next(wait),
            Backend::Threads(threads) => threads.next(wait),
        }?;
        self.n_submitted -= 1;
        let outcome = outcome.map_err(|(file, source)| {
            let path = self.files[file].path.to_path_buf();
            match source.kind() {
                io::ErrorKind::UnexpectedEof => Error::Changed { path },
                _ => Error::Io { path, doing: "read", source },
            }
        });
        Some(Finished { ticket: reading.ticket, buffer: reading.buffer, outcome })
    }
}

/// What a reading came to: nothing to say, or the file that failed and how.
type Outcome = Result<(), (usize, io::Error)>;

impl Source {
    fn open(path: &Arc<Path>) -> Result<Source, Error> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a small flag");
        let file = OpenOptions::new().read(true).custom_flags(direct).open(path);
        // Some file systems refuse at the first read only.
        let works = |file: &File| file.read_at(ReadBuffer::new(SECTOR).memory_mut(), 0).is_ok();
        if let Some(file) = file.ok().filter(works) {
            return Ok(Source { path: Arc::clone(path), file, is_direct: true });
        }
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        Ok(Source { path: Arc::clone(path), file, is_direct: false })
    }

    /// Tells the system that it need not keep what was read.
    fn forget(&self, span: &Span) {
        if !self.is_direct {
            // A refusal costs the system's cache some room, and no more.
            let len = (span.len as u64).try_into().ok();
            let _ = fadvise(&self.file, span.offset, len, Advice::DontNeed);
        }
    }
}
