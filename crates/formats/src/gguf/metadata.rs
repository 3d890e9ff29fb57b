//! The keys of a GGUF file and their values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::read::Reader;
use crate::Error;
use crate::error::Shown;

/// Lists of at most this many scalars are settings; longer ones (vocabularies) aren't.
pub(crate) const LIST_LEN_MAX: usize = 256;

/// Scalars in all lists of a file that count as settings together. In memory each takes up to 32
/// times its bytes in the file, so a file may not have as many of them as it likes.
const LISTED_MAX: usize = 1 << 16;

/// The kind of a value, as GGUF numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(id as usize).copied()
    }

    /// Bytes of a value; none if they differ from value to value.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }

    fn is_int(self) -> bool {
        !matches!(self, Self::F32 | Self::F64 | Self::Bool | Self::Text | Self::Array)
    }
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A list of values of one type, kept as the file has it: a vocabulary costs what it cost there.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub(super) element: ValueType,
    pub(super) len: usize,
    /// The elements one after the other, checked by [`super::read`].
    pub(super) bytes: Vec<u8>,
}

/// The keys of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    path: PathBuf,
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// No keys yet; `path` is what errors will name.
    pub fn new(path: &Path) -> Self {
        Metadata { path: path.into(), entries: BTreeMap::new() }
    }

    /// The file that the keys come from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a key, and returns what it was.
    pub fn insert(&mut self, key: &str, value: Value) -> Option<Value> {
        self.entries.insert(key.into(), value)
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All keys, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The text of a key; none if the key is absent.
    ///
    /// # Errors
    /// Like all getters below: [`Error::Metadata`] if the key holds something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.find(key, "a text", Value::as_text)
    }

    /// The integer of a key, of whichever width.
    pub fn int(&self, key: &str) -> Result<Option<i64>, Error> {
        self.find(key, "an integer below 2^63", Value::as_int)
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.find(key, "a number", Value::as_float)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.find(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        self.find(key, "a list of texts", |value| value.as_array()?.texts())
    }

    pub fn ints(&self, key: &str) -> Result<Option<Vec<i64>>, Error> {
        self.find(key, "a list of integers", |value| value.as_array()?.ints())
    }

    pub fn floats(&self, key: &str) -> Result<Option<Vec<f64>>, Error> {
        self.find(key, "a list of numbers", |value| value.as_array()?.floats())
    }

    fn find<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        if let Some(found) = read(value) {
            return Ok(Some(found));
        }
        let (key, found) = (Shown::new(key), value.describe());
        Err(Error::Metadata { path: self.path.clone(), key, found, expected })
    }

    /// Every key as `spec` reads it.
    pub(crate) fn config_values(&self) -> BTreeMap<String, spec::Value> {
        let mut left = LISTED_MAX;
        let read = |(key, value): (&String, &Value)| (key.clone(), value.config_value(&mut left));
        self.entries.iter().map(read).collect()
    }
}

impl Value {
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Text(_) => ValueType::Text,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer; none if it is none or beyond an i64.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::I8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::I16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::I32(n) => Some(n.into()),
            Value::U64(n) => n.try_into().ok(),
            Value::I64(n) => Some(n),
            _ => None,
        }
    }

    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            Value::U64(n) => Some(n as f64),
            _ => self.as_int().map(|n| n as f64),
        }
    }

    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            Value::Bool(value) => value.to_string(),
            Value::Text(text) => Shown::new(text).to_string(),
            Value::Array(array) => format!("a list of {} {:?}", array.len, array.element),
            Value::U64(n) => n.to_string(),
            _ => self.as_int().map_or_else(
                || self.as_float().expect("the scalars that are left are numbers").to_string(),
                |n| n.to_string(),
            ),
        }
    }

    /// As `spec` reads it; the elements of a list come out of `left`.
    fn config_value(&self, left: &mut usize) -> spec::Value {
        match self {
            Value::Bool(value) => spec::Value::Bool(*value),
            Value::Text(text) => spec::Value::Text(text.clone()),
            Value::Array(array) => array.config_value(left),
            _ => self.as_int().map_or_else(
                || spec::Value::Float(self.as_float().expect("the rest are numbers")),
                spec::Value::Int,
            ),
        }
    }
}

impl Array {
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut len, mut bytes) = (0, Vec::new());
        for text in texts {
            len += 1;
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        Array { element: ValueType::Text, len, bytes }
    }

    pub fn from_i32s(ints: &[i32]) -> Self {
        let bytes = ints.iter().flat_map(|n| n.to_le_bytes()).collect();
        Array { element: ValueType::I32, len: ints.len(), bytes }
    }

    pub fn from_f32s(floats: &[f32]) -> Self {
        let bytes = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        Array { element: ValueType::F32, len: floats.len(), bytes }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn element(&self) -> ValueType {
        self.element
    }

    /// The texts; none if it is a list of something else.
    pub fn texts(&self) -> Option<Vec<&str>> {
        if self.element != ValueType::Text {
            return None;
        }
        let mut reader = Reader::new(Path::new(""), &self.bytes);
        let mut texts = Vec::with_capacity(self.len);
        for _ in 0..self.len {
            let text = reader.borrowed_text().expect("an array's texts are checked when it's made");
            texts.push(text);
        }
        Some(texts)
    }

    /// The integers; none if it is a list of something else, or if one is beyond an i64.
    pub fn ints(&self) -> Option<Vec<i64>> {
        if !self.element.is_int() {
            return None;
        }
        self.scalars()?.iter().map(Value::as_int).collect()
    }

    /// The numbers, integers too; none if it is a list of something else.
    pub fn floats(&self) -> Option<Vec<f64>> {
        self.scalars()?.iter().map(Value::as_float).collect()
    }

    fn scalars(&self) -> Option<Vec<Value>> {
        let size = self.element.size()?;
        let read = |bytes: &[u8]| {
            Reader::new(Path::new(""), bytes).scalar(self.element).expect("a whole element")
        };
        Some(self.bytes.chunks_exact(size).map(read).collect())
    }

    fn config_value(&self, left: &mut usize) -> spec::Value {
        if self.len > LIST_LEN_MAX.min(*left) {
            return spec::Value::LongList(self.len);
        }
        *left -= self.len;
        if let Some(texts) = self.texts() {
            let texts = texts.into_iter().map(|text| spec::Value::Text(text.into()));
            return spec::Value::List(texts.collect());
        }
        match self.scalars() {
            Some(scalars) => {
                spec::Value::List(scalars.iter().map(|scalar| scalar.config_value(left)).collect())
            }
            // Lists of lists are no setting of any family.
            None => spec::Value::LongList(self.len),
        }
    }
}
