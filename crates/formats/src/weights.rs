//! Tensors by name, wherever they come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quant::QuantType;

use crate::error::Shown;
use crate::{Bytes, Error};

/// A source of tensors: [`Table`] for files, [`crate::Random`] for made-up ones.
pub trait Weights: Send + Sync {
    /// The names of all tensors, sorted.
    fn names(&self) -> Vec<&str>;

    fn contains(&self, name: &str) -> bool;

    /// The tensor of that name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::UnsupportedType`].
    fn tensor(&self, name: &str) -> Result<Tensor, Error>;

    /// What the tensor of that name is and where it lies, without its bytes: none of them are
    /// read from a file that was opened for access on demand.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    fn locate(&self, name: &str) -> Result<(TensorLayout, Option<Origin>), Error> {
        let Tensor { name, quant, shape, origin, .. } = self.tensor(name)?;
        Ok((TensorLayout { name, quant, shape }, origin))
    }

    /// Bytes that all tensors take together.
    fn bytes(&self) -> u64;
}

/// A weight as it is stored.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub quant: QuantType,
    /// Outermost first, as Hugging Face writes it: a matrix is (rows, columns). Empty for a
    /// single number.
    pub shape: Vec<usize>,
    /// Row after row, each `quant.row_bytes(columns)` long.
    pub bytes: Bytes,
    /// Where the bytes lie; none if they lie in no file.
    pub origin: Option<Origin>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub path: Arc<Path>,
    /// Of the tensor's first byte, from the start of the file.
    pub offset: u64,
}

/// What a tensor is to be: one that is written, or made up.
#[derive(Clone, Debug)]
pub struct TensorLayout {
    pub name: String,
    pub quant: QuantType,
    /// Outermost first.
    pub shape: Vec<usize>,
}

impl TensorLayout {
    /// Bytes that the tensor takes; panics if its rows are not whole blocks.
    pub fn bytes(&self) -> usize {
        let columns = self.shape.last().copied().unwrap_or(1);
        let rows: usize = self.shape.iter().rev().skip(1).product();
        rows * self.quant.row_bytes(columns).expect("rows of whole blocks")
    }
}

impl Tensor {
    /// Numbers in the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never: no file may hold a tensor with a dimension of zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every number decoded, in the order of the shape. (len)
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        quant::decode(self.quant, &self.bytes, &mut out);
        out
    }

    /// # Errors
    /// [`Error::Misshapen`] if the shape is not `expected`.
    pub fn check_shape(&self, expected: &[usize]) -> Result<(), Error> {
        if self.shape == expected {
            return Ok(());
        }
        let path =
            self.origin.as_ref().map_or_else(PathBuf::new, |origin| origin.path.to_path_buf());
        let (found, expected) = (self.shape.clone(), expected.to_vec());
        Err(Error::Misshapen { path, tensor: Shown::new(&self.name), found, expected })
    }
}

/// The tensors of one model in files, every extent of them checked.
#[derive(Debug)]
pub struct Table {
    /// What errors name when a tensor is missing.
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

/// A tensor of a type that we read, or one that is only an error once somebody asks for it.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Ready(Tensor),
    Unsupported { path: Arc<Path>, dtype: String, bytes: u64 },
}

impl Table {
    pub(crate) fn new(path: &Path) -> Self {
        Table { path: path.into(), entries: BTreeMap::new() }
    }

    /// # Errors
    /// [`Error::Duplicate`], naming `path`, if the name is taken.
    pub(crate) fn insert(&mut self, path: &Path, name: String, entry: Entry) -> Result<(), Error> {
        if self.entries.contains_key(&name) {
            return Err(Error::twice(path, "tensor", &name));
        }
        self.entries.insert(name, entry);
        Ok(())
    }

    /// Takes over all tensors of `other`.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if both have one.
    pub(crate) fn join(&mut self, other: Table) -> Result<(), Error> {
        for (name, entry) in other.entries {
            self.insert(&other.path, name, entry)?;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        self.entries.remove(name)
    }

    /// The tensor as the header has it, its bytes maybe unread.
    fn entry(&self, name: &str) -> Result<&Tensor, Error> {
        match self.entries.get(name) {
            Some(Entry::Ready(tensor)) => Ok(tensor),
            Some(Entry::Unsupported { path, dtype, .. }) => Err(Error::UnsupportedType {
                path: path.to_path_buf(),
                tensor: Shown::new(name),
                found: dtype.clone(),
            }),
            None => {
                let tensor = Shown::new(name);
                Err(Error::MissingTensor { path: self.path.clone(), tensor })
            }
        }
    }
}

impl Weights for Table {
    fn names(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let tensor = self.entry(name)?;
        Ok(Tensor { bytes: tensor.bytes.fetch()?, ..tensor.clone() })
    }

    fn locate(&self, name: &str) -> Result<(TensorLayout, Option<Origin>), Error> {
        let Tensor { name, quant, shape, origin, .. } = self.entry(name)?;
        let (name, shape) = (name.clone(), shape.clone());
        Ok((TensorLayout { name, quant: *quant, shape }, origin.clone()))
    }

    fn bytes(&self) -> u64 {
        let of = |entry: &Entry| match entry {
            Entry::Ready(tensor) => tensor.bytes.len() as u64,
            Entry::Unsupported { bytes, .. } => *bytes,
        };
        self.entries.values().map(of).sum()
    }
}
