//! Reads one GGUF file. Everything in it is untrusted; [`Reader`] alone knows how far it goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use quant::QuantType;

use super::metadata::{Array, Metadata, Value, ValueType};
use super::{ALIGNMENT_DEFAULT, Gguf, MAGIC};
use crate::checkpoint::refuse_pointer;
use crate::error::Shown;
use crate::weights::Entry;
use crate::{Bytes, Error, Origin, Table, Tensor, TensorLayout};

// What real files stay far below; a count above these is a lie or an attack.
const KEYS_MAX: u64 = 1 << 16;
const KEY_LEN_MAX: u64 = (1 << 16) - 1;
const TENSORS_MAX: u64 = 1 << 20;
const TENSOR_NAME_LEN_MAX: u64 = 512;
const TEXT_LEN_MAX: u64 = 64 << 20;
const DIMS_MAX: u32 = 4;
const DEPTH_MAX: usize = 4;
const ALIGNMENT_MAX: i64 = 1 << 20;

/// The least bytes that a key with its value takes: two lengths or more, and a type.
const KEY_BYTES_MIN: u64 = 8 + 4 + 1;
/// The least bytes that a row of the tensor table takes: name, one dimension, type, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;

/// Reads the metadata and the table of tensors of one file; `path` is what errors name.
///
/// # Errors
/// Whatever is wrong with the file: see [`Error`]. Nothing is half accepted.
pub fn parse(path: &Path, bytes: &Bytes) -> Result<Gguf, Error> {
    let mut reader = Reader::new(path, bytes);
    let (metadata, n_tensors) = read_head(&mut reader)?;
    let alignment = alignment(&metadata)?;
    reader.expect("the table of tensors", n_tensors, TENSOR_BYTES_MIN)?;
    let mut rows = Vec::new();
    for _ in 0..n_tensors {
        rows.push(read_row(&mut reader, alignment)?);
    }
    let data_start = reader.at.next_multiple_of(alignment);
    let tensors = place(path, bytes, rows, data_start)?;
    Ok(Gguf { metadata, tensors })
}

/// Reads only the keys: of a file whose tensors are not all there, a header that was downloaded.
///
/// # Errors
/// As [`parse`], for the part that is read.
pub fn parse_metadata(path: &Path, bytes: &Bytes) -> Result<Metadata, Error> {
    Ok(read_head(&mut Reader::new(path, bytes))?.0)
}

/// Reads the keys and the table of tensors, in its order, of a file whose tensors may be missing.
///
/// # Errors
/// As [`parse`], for the part that is read.
pub fn parse_header(path: &Path, bytes: &Bytes) -> Result<(Metadata, Vec<TensorLayout>), Error> {
    let mut reader = Reader::new(path, bytes);
    let (metadata, n_tensors) = read_head(&mut reader)?;
    let alignment = alignment(&metadata)?;
    reader.expect("the table of tensors", n_tensors, TENSOR_BYTES_MIN)?;
    let mut names = BTreeSet::new();
    let mut layouts = Vec::new();
    for _ in 0..n_tensors {
        let Row { name, quant, shape, .. } = read_row(&mut reader, alignment)?;
        if !names.insert(name.clone()) {
            return Err(Error::twice(path, "tensor", &name));
        }
        layouts.push(TensorLayout { name, quant, shape });
    }
    Ok((metadata, layouts))
}

/// The keys, and how many tensors the table after them is to have.
fn read_head(reader: &mut Reader<'_>) -> Result<(Metadata, u64), Error> {
    refuse_pointer(reader.path, reader.bytes)?;
    read_version(reader)?;
    let n_tensors = reader.count("the number of tensors", TENSORS_MAX)?;
    let n_keys = reader.count("the number of keys", KEYS_MAX)?;
    reader.expect("the table of keys", n_keys, KEY_BYTES_MIN)?;
    Ok((read_metadata(reader, n_keys)?, n_tensors))
}

fn read_version(reader: &mut Reader<'_>) -> Result<(), Error> {
    let magic = reader.array("the magic number")?;
    if magic != MAGIC {
        let found = Shown::new(&String::from_utf8_lossy(&magic));
        return Err(Error::Magic { path: reader.path.into(), found });
    }
    let version = u32::from_le_bytes(reader.array("the version")?);
    let found = match version {
        2 | 3 => return Ok(()),
        // A big-endian file shows its version with the bytes the wrong way round.
        _ if (1..=0xFFFF).contains(&version.swap_bytes()) => {
            format!("a big-endian GGUF {} file", version.swap_bytes())
        }
        _ => format!("GGUF {version}"),
    };
    Err(Error::Version { path: reader.path.into(), found })
}

fn read_metadata(reader: &mut Reader<'_>, n_keys: u64) -> Result<Metadata, Error> {
    let mut metadata = Metadata::new(reader.path);
    for _ in 0..n_keys {
        let key = reader.text("the length of a key", KEY_LEN_MAX)?;
        let ty = reader.value_type(&key)?;
        let value = reader.value(ty, &key)?;
        if metadata.insert(&key, value).is_some() {
            return Err(Error::twice(reader.path, "key", &key));
        }
    }
    Ok(metadata)
}

pub(super) fn alignment(metadata: &Metadata) -> Result<usize, Error> {
    match metadata.int("general.alignment")? {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(n) if (1..=ALIGNMENT_MAX).contains(&n) && n.count_ones() == 1 => Ok(n as usize),
        Some(n) => Err(Error::Metadata {
            path: metadata.path().into(),
            key: Shown::new("general.alignment"),
            found: n.to_string(),
            expected: "a power of two up to 1048576",
        }),
    }
}

/// A row of the table of tensors, its shape and size checked, its place not yet.
struct Row {
    name: String,
    quant: QuantType,
    /// Outermost first.
    shape: Vec<usize>,
    len_bytes: u64,
    /// From the start of the data.
    offset: u64,
}

fn read_row(reader: &mut Reader<'_>, alignment: usize) -> Result<Row, Error> {
    let name = reader.text("the length of a tensor's name", TENSOR_NAME_LEN_MAX)?;
    let n_dims = u32::from_le_bytes(reader.array("the number of dimensions")?);
    if !(1..=DIMS_MAX).contains(&n_dims) {
        let what = format!("tensor {} has {n_dims} dimensions, not 1 to 4", Shown::new(&name));
        return Err(Error::malformed(reader.path, what));
    }
    // Innermost first, as GGUF has them.
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        dims.push(u64::from_le_bytes(reader.array("a dimension")?));
    }
    let id = u32::from_le_bytes(reader.array("the type of a tensor")?);
    let offset = u64::from_le_bytes(reader.array("the offset of a tensor")?);
    let Some(quant) = QuantType::from_ggml_id(id) else {
        let known = quant::ggml_type_name(id).map(str::to_uppercase);
        let found = known.unwrap_or_else(|| format!("number {id}"));
        let (path, tensor) = (reader.path.into(), Shown::new(&name));
        return Err(Error::UnsupportedType { path, tensor, found });
    };
    let len_bytes = tensor_bytes(quant, &dims).map_err(|fault| Error::Shape {
        path: reader.path.into(),
        tensor: Shown::new(&name),
        shape: dims.iter().rev().copied().collect(),
        fault,
    })?;
    if !offset.is_multiple_of(alignment as u64) {
        let tensor = Shown::new(&name);
        let what = format!("tensor {tensor} at offset {offset} is not aligned to {alignment}");
        return Err(Error::malformed(reader.path, what));
    }
    let shape = dims.iter().rev().map(|&dim| dim as usize).collect();
    Ok(Row { name, quant, shape, len_bytes, offset })
}

/// Bytes of a tensor of these dimensions, innermost first; or why there is none.
fn tensor_bytes(quant: QuantType, dims: &[u64]) -> Result<u64, String> {
    if dims.contains(&0) {
        return Err("no dimension may be zero".into());
    }
    let overflow = || "its size overflows".to_string();
    let n_weights = dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    n_weights.filter(|&n| i64::try_from(n).is_ok()).ok_or_else(overflow)?;
    let columns = dims[0];
    if !columns.is_multiple_of(quant.block_len() as u64) {
        let (name, len) = (quant.name(), quant.block_len());
        return Err(format!("rows of {columns} are not whole blocks of {len} ({name})"));
    }
    let row_bytes = usize::try_from(columns).ok().and_then(|columns| quant.row_bytes(columns));
    let bytes = dims[1..]
        .iter()
        .try_fold(row_bytes.ok_or_else(overflow)? as u64, |n, &dim| n.checked_mul(dim));
    bytes.filter(|&n| i64::try_from(n).is_ok()).ok_or_else(overflow)
}

/// Finds the bytes of every row: inside the file, and no two rows share one.
fn place(path: &Path, bytes: &Bytes, rows: Vec<Row>, data_start: usize) -> Result<Table, Error> {
    let mut extents = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let start = row.offset.checked_add(data_start as u64);
        let end = start.and_then(|start| start.checked_add(row.len_bytes)).unwrap_or(u64::MAX);
        if end > bytes.len() as u64 {
            let (path, tensor) = (path.into(), Shown::new(&row.name));
            return Err(Error::PastEnd { path, tensor, end, len: bytes.len() });
        }
        extents.push(((end - row.len_bytes) as usize..end as usize, index));
    }
    let mut order: Vec<&(std::ops::Range<usize>, usize)> = extents.iter().collect();
    order.sort_by_key(|(range, _)| range.start);
    for pair in order.windows(2) {
        if pair[1].0.start < pair[0].0.end {
            let [first, second] = [pair[0].1, pair[1].1].map(|row| Shown::new(&rows[row].name));
            return Err(Error::Overlap { path: path.into(), first, second });
        }
    }
    let mut table = Table::new(path);
    let shared: Arc<Path> = path.into();
    for (row, (range, _)) in rows.into_iter().zip(extents) {
        let origin = Origin { path: Arc::clone(&shared), offset: range.start as u64 };
        let tensor = Tensor {
            name: row.name.clone(),
            quant: row.quant,
            shape: row.shape,
            bytes: bytes.slice(range),
            origin: Some(origin),
        };
        table.insert(path, row.name, Entry::Ready(tensor))?;
    }
    Ok(table)
}

/// A place in the bytes of a header. All bounds of GGUF are checked here and nowhere else.
pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Reader { path, bytes, at: 0 }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes.
    fn take(&mut self, what: &'static str, len: u64) -> Result<&'a [u8], Error> {
        let left = self.left();
        if len > left as u64 {
            let (path, at) = (self.path.into(), self.at);
            return Err(Error::Truncated { path, what, at, needed: len, left });
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    /// Refuses `count` things of at least `each` bytes that cannot all be there.
    fn expect(&self, what: &'static str, count: u64, each: u64) -> Result<(), Error> {
        let (needed, left) = (count.saturating_mul(each), self.left());
        if needed > left as u64 {
            let (path, at) = (self.path.into(), self.at);
            return Err(Error::Truncated { path, what, at, needed, left });
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let bytes = self.take(what, N as u64)?;
        Ok(bytes.try_into().expect("take gives the length that was asked"))
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Error> {
        let found = u64::from_le_bytes(self.array(what)?);
        if found > limit {
            return Err(Error::Limit { path: self.path.into(), what, found, limit });
        }
        Ok(found)
    }

    /// A text with its length before it, copied before it is checked.
    fn text(&mut self, what: &'static str, limit: u64) -> Result<String, Error> {
        let len = self.count(what, limit)?;
        let bytes = self.take("a text", len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| self.not_utf8())
    }

    /// A text with its length before it, of bytes that are our own.
    pub(super) fn borrowed_text(&mut self) -> Result<&'a str, Error> {
        let len = self.count("the length of a text", TEXT_LEN_MAX)?;
        let bytes = self.take("a text", len)?;
        std::str::from_utf8(bytes).map_err(|_| self.not_utf8())
    }

    fn not_utf8(&self) -> Error {
        Error::malformed(self.path, format!("the text before byte {} is not UTF-8", self.at))
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, Error> {
        let id = u32::from_le_bytes(self.array("the type of a value")?);
        ValueType::from_id(id).ok_or_else(|| {
            let what = format!("key {} has the unknown type {id}", Shown::new(key));
            Error::malformed(self.path, what)
        })
    }

    fn value(&mut self, ty: ValueType, key: &str) -> Result<Value, Error> {
        match ty {
            ValueType::Text => Ok(Value::Text(self.text("the length of a text", TEXT_LEN_MAX)?)),
            ValueType::Array => Ok(Value::Array(self.list(key)?)),
            scalar => self.scalar(scalar),
        }
    }

    pub(super) fn scalar(&mut self, ty: ValueType) -> Result<Value, Error> {
        let what = "a value";
        Ok(match ty {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(self.array(what)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            // As ggml reads it: whatever is not zero is true.
            ValueType::Bool => Value::Bool(self.array(what)? != [0]),
            ValueType::U64 => Value::U64(u64::from_le_bytes(self.array(what)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            ValueType::Text | ValueType::Array => unreachable!("{ty:?} is no scalar"),
        })
    }

    /// A list, copied out of the file and then checked once more: the copy cannot change.
    fn list(&mut self, key: &str) -> Result<Array, Error> {
        let element = self.value_type(key)?;
        let len = u64::from_le_bytes(self.array("the length of a list")?);
        let start = self.at;
        self.skip(element, len, key, 1)?;
        let bytes = self.bytes[start..self.at].to_vec();
        Reader::new(self.path, &bytes).skip(element, len, key, 1)?;
        Ok(Array { element, len: len as usize, bytes })
    }

    /// Passes over the `len` elements of a list, checking each.
    fn skip(&mut self, ty: ValueType, len: u64, key: &str, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            let what = format!("key {} has lists nested deeper than {DEPTH_MAX}", Shown::new(key));
            return Err(Error::malformed(self.path, what));
        }
        match ty {
            ValueType::Text => {
                self.expect("a list of texts", len, 8)?;
                for _ in 0..len {
                    self.borrowed_text()?;
                }
            }
            ValueType::Array => {
                self.expect("a list of lists", len, 12)?;
                for _ in 0..len {
                    let inner = self.value_type(key)?;
                    let len = u64::from_le_bytes(self.array("the length of a list")?);
                    self.skip(inner, len, key, depth + 1)?;
                }
            }
            scalar => {
                let size = scalar.size().expect("only texts and lists have no size") as u64;
                self.take("a list", len.saturating_mul(size))?;
            }
        }
        Ok(())
    }
}
