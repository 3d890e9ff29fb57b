//! Reads one safetensors file.
//!
//! The crate `safetensors` keeps the last of two tensors of one name and copies the header several
//! times over; so its list of types is used here, and the checks are ours.

use std::path::Path;
use std::sync::Arc;

use ::safetensors::Dtype;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use super::TYPES;
use crate::checkpoint::refuse_pointer;
use crate::error::Shown;
use crate::json::Entries;
use crate::mmap::{OpenFile, parse_head};
use crate::weights::Entry;
use crate::{Access, Bytes, Error, Origin, Table, Tensor};

/// As the reference reader: a header of 100 MB describes far more tensors than any model has.
const HEADER_BYTES_MAX: u64 = 100_000_000;
const TENSORS_MAX: u64 = 1 << 20;
const NAME_LEN_MAX: u64 = 512;
const DIMS_MAX: usize = 8;

/// What the header says of a tensor.
#[derive(Deserialize)]
struct Row {
    dtype: String,
    /// Outermost first.
    shape: Vec<u64>,
    /// From the end of the header.
    data_offsets: (u64, u64),
}

/// Opens one file with all its tensors.
pub(crate) fn open(path: &Path, access: Access) -> Result<(Table, OpenFile), Error> {
    let (file, bytes) = OpenFile::open(path, access)?;
    Ok((parse_head(bytes, |bytes| parse(path, bytes))?, file))
}

/// Reads the table of tensors of one file; `path` is what errors name.
///
/// # Errors
/// Whatever is wrong with the file: see [`Error`]. Nothing is half accepted.
pub fn parse(path: &Path, bytes: &Bytes) -> Result<Table, Error> {
    refuse_pointer(path, bytes)?;
    let (header, data_start) = header(path, bytes)?;
    let Entries(mut rows) = serde_json::from_slice::<Entries<Row>>(header)
        .map_err(|error| Error::json(path, &error))?;
    limit(path, "the number of tensors", rows.len() as u64, TENSORS_MAX)?;
    rows.sort_by_key(|(_, row)| row.data_offsets);
    let shared: Arc<Path> = path.into();
    let mut table = Table::new(path);
    let mut previous = (0, String::new());
    for (name, row) in rows {
        limit(path, "the length of a tensor's name", name.len() as u64, NAME_LEN_MAX)?;
        let (dtype, len_bytes) = check(path, &name, &row)?;
        let (start, end) = row.data_offsets;
        if end > (bytes.len() - data_start) as u64 {
            let end = end.saturating_add(data_start as u64);
            let (path, tensor) = (path.into(), Shown::new(&name));
            return Err(Error::PastEnd { path, tensor, end, len: bytes.len() });
        }
        adjoin(path, &previous, &name, start)?;
        previous = (end, name.clone());
        let range = data_start + start as usize..data_start + end as usize;
        let entry = match TYPES.iter().find(|(known, _)| *known == dtype) {
            None => {
                let dtype = dtype.to_string();
                Entry::Unsupported { path: Arc::clone(&shared), dtype, bytes: len_bytes }
            }
            Some(&(_, quant)) => Entry::Ready(Tensor {
                name: name.clone(),
                quant,
                shape: row.shape.iter().map(|&dim| dim as usize).collect(),
                origin: Some(Origin { path: Arc::clone(&shared), offset: range.start as u64 }),
                bytes: bytes.slice(range),
            }),
        };
        table.insert(path, name, entry)?;
    }
    adjoin(path, &previous, "", (bytes.len() - data_start) as u64)?;
    Ok(table)
}

/// The JSON of the header, and where the data begins.
fn header<'a>(path: &Path, bytes: &'a Bytes) -> Result<(&'a [u8], usize), Error> {
    let truncated = |what, at, needed| {
        let left = bytes.len() - at;
        Error::Truncated { path: path.into(), what, at, needed, left }
    };
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated("the length of the header", 0, 8));
    };
    let len = u64::from_le_bytes(*len);
    limit(path, "the length of the header", len, HEADER_BYTES_MAX)?;
    let header = rest.get(..len as usize).ok_or_else(|| truncated("the header", 8, len))?;
    Ok((header, 8 + header.len()))
}

/// The type and the bytes of a tensor, whose extent must be as long as its shape asks for.
fn check(path: &Path, name: &str, row: &Row) -> Result<(Dtype, u64), Error> {
    let dtype =
        Dtype::deserialize(row.dtype.as_str().into_deserializer()).map_err(|_: ValueError| {
            let found = Shown::new(&row.dtype).to_string();
            Error::UnsupportedType { path: path.into(), tensor: Shown::new(name), found }
        })?;
    let fault = |fault: String| {
        let shape = row.shape.iter().copied().take(DIMS_MAX).collect();
        Error::Shape { path: path.into(), tensor: Shown::new(name), shape, fault }
    };
    if row.shape.len() > DIMS_MAX {
        let what = format!("{} dimensions are more than {DIMS_MAX}", row.shape.len());
        return Err(fault(what));
    }
    if row.shape.contains(&0) {
        return Err(fault("no dimension may be zero".into()));
    }
    let bits = row.shape.iter().try_fold(dtype.bitsize() as u64, |n, &dim| n.checked_mul(dim));
    let bits = bits.ok_or_else(|| fault("its size overflows".into()))?;
    if !bits.is_multiple_of(8) {
        return Err(fault(format!("{bits} bits are not whole bytes")));
    }
    let (start, end) = row.data_offsets;
    if end.checked_sub(start) != Some(bits / 8) {
        let what = format!("{dtype} takes {} bytes; its offsets are {start} and {end}", bits / 8);
        return Err(fault(what));
    }
    Ok((dtype, bits / 8))
}

/// Tensors follow each other without overlap and without a hole that could hide something.
fn adjoin(
    path: &Path,
    (previous_end, previous): &(u64, String),
    name: &str,
    start: u64,
) -> Result<(), Error> {
    if start < *previous_end {
        let (first, second) = (Shown::new(previous), Shown::new(name));
        return Err(Error::Overlap { path: path.into(), first, second });
    }
    if start > *previous_end {
        let what = format!("bytes {previous_end} to {start} of the data belong to no tensor");
        return Err(Error::malformed(path, what));
    }
    Ok(())
}

fn limit(path: &Path, what: &'static str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit {
        return Err(Error::Limit { path: path.into(), what, found, limit });
    }
    Ok(())
}
