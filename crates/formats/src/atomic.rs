//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use crate::error::Shown;
use crate::{Error, TensorLayout};

/// Writes `path` through `fill`: to a file beside it, synced, then renamed over it, then the
/// folder synced. Whatever fails, an old file at `path` stays as it was.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let partial = partial_path(path)?;
    let file = File::create_new(&partial).map_err(Error::io(&partial, "create"))?;
    let written = fill_and_sync(&partial, file, fill)
        .and_then(|()| fs::rename(&partial, path).map_err(Error::io(path, "write")));
    if let Err(error) = written {
        // The first error is the one to report; a left-over partial file does no harm.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    sync_folder(path).map_err(Error::io(path, "sync the folder of"))
}

/// Writes one tensor through `fill`.
///
/// # Errors
/// [`Error::Unfilled`] if it writes more or less than the tensor takes.
pub(crate) fn fill(
    path: &Path,
    out: &mut dyn Write,
    tensor: &TensorLayout,
    fill: &mut impl FnMut(&TensorLayout, &mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let mut counted = Counted { out, bytes: 0 };
    fill(tensor, &mut counted).map_err(Error::io(path, "write"))?;
    let (found, expected) = (counted.bytes, tensor.bytes() as u64);
    if found == expected {
        return Ok(());
    }
    Err(Error::Unfilled { path: path.into(), tensor: Shown::new(&tensor.name), found, expected })
}

/// Counts what goes through.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn fill_and_sync(
    partial: &Path,
    file: File,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    fill(&mut out)?;
    let file = out.into_inner().map_err(|error| error.into_error());
    file.and_then(|file| file.sync_all()).map_err(Error::io(partial, "write"))
}

fn partial_path(path: &Path) -> Result<PathBuf, Error> {
    let Some(name) = path.file_name() else {
        return Err(Error::NotAModel {
            path: path.into(),
            what: "no file name to write to".into(),
        });
    };
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}.partial", process::id()));
    Ok(path.with_file_name(partial))
}

/// The rename is on the disk only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        write(&path, |out| out.write_all(b"old").map_err(Error::io(&path, "write"))).unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"new").unwrap();
            Err(Error::malformed(&path, "the source broke"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&path, |out| out.write_all(b"new").map_err(Error::io(&path, "write"))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
