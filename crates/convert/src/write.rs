//! Writes a planned file: run by run of rows, each made by all threads.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use formats::TensorLayout;
use formats::gguf::{self, Metadata};
use par::Pool;
use quant::QuantType;

use crate::Error;

/// Bytes of rows that are in memory at a time, unless one unit of rows has more.
const RUN_BYTES: usize = 16 << 20;
/// Weights that a task makes: enough to hide the cost of handing it out.
const TASK_WEIGHTS: usize = 1 << 17;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Bytes of the file.
    pub bytes: u64,
    /// Numbers in all tensors.
    pub weights: u64,
    /// Tensors of each type, and their bytes.
    pub types: BTreeMap<QuantType, (usize, u64)>,
    /// Tensors whose rows were not whole blocks of the type meant for them.
    pub fell_back: Vec<FellBack>,
}

/// A tensor that got another type than was meant for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    pub name: String,
    pub columns: usize,
    pub wished: QuantType,
    pub quant: QuantType,
}

impl Summary {
    /// Bits that a weight takes in the file, headers included.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.weights as f64
    }
}

/// Makes the rows of one tensor.
pub(crate) trait Rows: Sync {
    /// Rows that must be made together.
    fn unit(&self) -> usize;

    /// out = the encoded rows from `first` on, a multiple of `unit` of them.
    fn make(&self, first: usize, out: &mut [u8]);
}

/// An output file, and whether it may replace another.
pub(crate) struct Destination<'a> {
    pub(crate) path: &'a Path,
    pub(crate) replace: bool,
}

impl Destination<'_> {
    /// Refuses to replace a file that nobody asked to replace.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.path.try_exists() {
            Ok(true) if !self.replace => Err(Error::Exists { path: self.path.into() }),
            _ => Ok(()),
        }
    }
}

/// Writes tensors whose rows `rows` make; `progress` is told bytes written of bytes in all.
///
/// # Errors
/// [`Error::DiskFull`] before anything is written; whatever keeps a file from being written.
pub(crate) fn write(
    destination: &Destination<'_>,
    metadata: &Metadata,
    tensors: &[(TensorLayout, &dyn Rows)],
    pool: &Pool,
    progress: &dyn Fn(u64, u64),
) -> Result<u64, Error> {
    destination.check()?;
    let layouts: Vec<TensorLayout> = tensors.iter().map(|tensor| tensor.0.clone()).collect();
    let total: u64 = layouts.iter().map(|layout| layout.bytes() as u64).sum();
    check_free(destination.path, total)?;
    let mut done = 0;
    let mut rest = tensors.iter();
    gguf::write(destination.path, metadata, &layouts, |layout, out| {
        let (_, rows) = rest.next().expect("a tensor for each layout");
        write_tensor(layout, *rows, pool, &mut |bytes| {
            out.write_all(bytes)?;
            done += bytes.len() as u64;
            progress(done, total);
            Ok(())
        })
    })?;
    let written = fs::metadata(destination.path);
    let of_io = |source| Error::Io { path: destination.path.into(), doing: "look at", source };
    Ok(written.map_err(of_io)?.len())
}

fn write_tensor(
    layout: &TensorLayout,
    rows: &dyn Rows,
    pool: &Pool,
    put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let columns = layout.shape.last().copied().unwrap_or(1);
    let row_bytes = layout.quant.row_bytes(columns).expect("the plan chose whole blocks");
    let n_rows = layout.bytes() / row_bytes;
    let unit = rows.unit();
    let task_rows = (TASK_WEIGHTS / columns / unit).max(1) * unit;
    let run_rows = (RUN_BYTES / row_bytes / task_rows).max(1) * task_rows;
    let mut buffer = vec![0; run_rows.min(n_rows) * row_bytes];
    for first in (0..n_rows).step_by(run_rows) {
        let run = &mut buffer[..run_rows.min(n_rows - first) * row_bytes];
        pool.for_chunks(run, task_rows * row_bytes, |i, out| rows.make(first + i * task_rows, out));
        put(run)?;
    }
    Ok(())
}

/// Refuses to start what the disk has no room for. A disk that does not say is believed.
fn check_free(path: &Path, needed: u64) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(stat) = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if needed > free {
        return Err(Error::DiskFull { path: path.into(), needed, free });
    }
    Ok(())
}

/// What a file of these tensors is, once it has `bytes`.
pub(crate) fn summarise<'a>(
    bytes: u64,
    tensors: impl IntoIterator<Item = (&'a TensorLayout, QuantType)>,
) -> Summary {
    let mut summary = Summary { bytes, weights: 0, types: BTreeMap::new(), fell_back: Vec::new() };
    for (layout, wished) in tensors {
        let of_type = summary.types.entry(layout.quant).or_default();
        of_type.0 += 1;
        of_type.1 += layout.bytes() as u64;
        summary.weights += layout.shape.iter().product::<usize>() as u64;
        if layout.quant != wished {
            let columns = layout.shape.last().copied().unwrap_or(1);
            let (name, quant) = (layout.name.clone(), layout.quant);
            summary.fell_back.push(FellBack { name, columns, wished, quant });
        }
    }
    summary
}
