//! A file of lines that grows, read as it does.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A longer line is nobody's who writes such files.
const LINE_BYTES_MAX: usize = 4 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// How far a file was read.
pub(super) struct Tail {
    path: PathBuf,
    /// Which file that was: another one may have its name by now.
    file: u64,
    at: u64,
    /// A line without its end.
    rest: Vec<u8>,
    /// It is too long, and nothing of it is kept.
    is_skipping: bool,
}

/// What a look at the file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All lines that are there were read.
    End,
    /// There is more.
    More,
    /// It is another file than before, or shorter: nothing of what was read holds.
    Another,
}

impl Tail {
    pub(super) fn new(path: &Path) -> Tail {
        Tail { path: path.into(), file: 0, at: 0, rest: Vec::new(), is_skipping: false }
    }

    /// Reads lines that are new, with the bytes of the file that they are, until about `budget`
    /// bytes were read. A file that isn't there has no lines.
    pub(super) fn read(
        &mut self,
        budget: usize,
        each: &mut dyn FnMut(Range<u64>, &[u8]),
    ) -> io::Result<Found> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.another(0)),
            file => file?,
        };
        let metadata = file.metadata()?;
        if self.file != metadata.ino() || self.at > metadata.len() {
            let found = self.another(metadata.ino());
            if found == Found::Another {
                return Ok(found);
            }
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = budget;
        loop {
            let n = file.read(&mut chunk)?;
            if n == 0 {
                return Ok(Found::End);
            }
            self.take(&chunk[..n], each);
            left = left.saturating_sub(n);
            if left == 0 {
                return Ok(Found::More);
            }
        }
    }

    fn another(&mut self, file: u64) -> Found {
        let found = if self.at == 0 { Found::End } else { Found::Another };
        *self = Tail { file, ..Tail::new(&self.path) };
        found
    }

    fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(Range<u64>, &[u8])) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.at += part.len() as u64;
            if !self.is_skipping {
                self.rest.extend_from_slice(part);
            }
            self.is_skipping |= self.rest.len() > LINE_BYTES_MAX;
            if self.is_skipping {
                self.rest = Vec::new();
            }
            if part.ends_with(b"\n") {
                let from = self.at - self.rest.len() as u64;
                if !self.is_skipping {
                    each(from..self.at, &self.rest);
                }
                self.rest.clear();
                self.is_skipping = false;
            }
        }
    }

    /// The bytes of a range, if the file is still the one that was read.
    pub(super) fn bytes(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.ino() != self.file {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(range.start))?;
        let n = (range.end - range.start).min(bytes_max as u64);
        let mut bytes = Vec::new();
        file.take(n).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    fn lines(tail: &mut Tail, budget: usize) -> (Found, Vec<String>) {
        let mut lines = Vec::new();
        let mut each = |range: Range<u64>, line: &[u8]| {
            assert_eq!(range.end - range.start, line.len() as u64);
            lines.push(String::from_utf8(line.to_vec()).unwrap().trim_end().to_string());
        };
        let found = tail.read(budget, &mut each).unwrap();
        (found, lines)
    }

    #[test]
    fn lines_are_read_once_and_only_when_they_have_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut tail = Tail::new(&path);
        assert_eq!(lines(&mut tail, 100), (Found::End, vec![]));
        fs::write(&path, "one\ntw").unwrap();
        assert_eq!(lines(&mut tail, 100), (Found::End, vec!["one".into()]));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(lines(&mut tail, 100), (Found::End, vec!["two".into(), "three".into()]));
        assert_eq!(tail.bytes(4..8, 100).unwrap(), b"two\n");
        assert_eq!(tail.bytes(4..8, 2).unwrap(), b"tw");
    }

    #[test]
    fn a_file_that_was_replaced_or_cut_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one\ntwo\n").unwrap();
        let mut tail = Tail::new(&path);
        lines(&mut tail, 100);
        fs::write(folder.path().join("b"), "one\n").unwrap();
        fs::rename(folder.path().join("b"), &path).unwrap();
        assert_eq!(tail.bytes(0..4, 100).unwrap(), b"", "it is another file");
        assert_eq!(lines(&mut tail, 100), (Found::Another, vec![]));
        assert_eq!(lines(&mut tail, 100), (Found::End, vec!["one".into()]));
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(lines(&mut tail, 100).0, Found::Another);
        fs::write(&path, "three\n").unwrap();
        assert_eq!(lines(&mut tail, 100), (Found::End, vec!["three".into()]));
        fs::remove_file(&path).unwrap();
        assert_eq!(lines(&mut tail, 100).0, Found::Another);
        assert_eq!(lines(&mut tail, 100).0, Found::End);
    }

    #[test]
    fn a_line_without_end_takes_no_room_and_the_next_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let long = "x".repeat(LINE_BYTES_MAX + 10);
        fs::write(&path, format!("{long}\nnext\n")).unwrap();
        let mut tail = Tail::new(&path);
        let mut all = Vec::new();
        let mut n_looks = 0;
        loop {
            let (found, mut found_lines) = lines(&mut tail, 1 << 20);
            all.append(&mut found_lines);
            n_looks += 1;
            assert!(tail.rest.len() <= LINE_BYTES_MAX);
            if found == Found::End {
                break;
            }
        }
        assert_eq!((all, n_looks), (vec!["next".to_string()], 5));
    }
}
