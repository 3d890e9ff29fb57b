//! One view over `config.json` and GGUF keys.
//!
//! Readers of files turn what they find into a [`Config`]; families read nothing else. Keys keep
//! the file's own names: `hidden_size` or `rope_parameters.rope_theta` in a Hugging Face config,
//! `qwen2.embedding_length` in GGUF.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;

/// The largest count that a config may give for anything: beyond every model, below any overflow.
const COUNT_MAX: i64 = 1 << 30;

/// Which naming a config and its tensors follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    HuggingFace,
    Gguf,
}

/// A value of a config.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    /// A list too long to be a setting (a vocabulary), by its length.
    LongList(usize),
}

/// The settings of a model file and the names of its tensors.
#[derive(Clone, Debug)]
pub struct Config {
    pub dialect: Dialect,
    /// Nested keys are joined by dots.
    pub values: BTreeMap<String, Value>,
    /// GGUF says some things by a tensor being there: `output.weight`, `rope_freqs.weight`.
    pub tensors: BTreeSet<String>,
}

impl Config {
    /// The value of the first of `keys` that is there and not null.
    pub fn find(&self, keys: &[&str]) -> Option<(&str, &Value)> {
        keys.iter().find_map(|key| {
            let (key, value) = self.values.get_key_value(*key)?;
            (*value != Value::Null).then_some((key.as_str(), value))
        })
    }

    /// A count of at least one.
    pub fn count(&self, keys: &[&str]) -> Result<usize, Error> {
        match self.count_or(keys, 0)? {
            0 if self.find(keys).is_none() => Err(missing(keys)),
            0 => Err(unexpected(keys[0], "0", "at least 1")),
            n => Ok(n),
        }
    }

    /// A count that may be absent or zero.
    pub fn count_or(&self, keys: &[&str], default: usize) -> Result<usize, Error> {
        match self.find(keys) {
            None => Ok(default),
            Some((key, value)) => as_count(key, value),
        }
    }

    /// A count for each of `n_layers` layers, from one number or a list of them.
    pub fn counts(&self, keys: &[&str], n_layers: usize) -> Result<Vec<usize>, Error> {
        match self.find(keys) {
            None => Err(missing(keys)),
            Some((key, Value::List(list))) if list.len() == n_layers => {
                list.iter().map(|value| as_count(key, value)).collect()
            }
            Some((key, Value::List(list))) => {
                let found = format!("a list of {}", list.len());
                Err(unexpected(key, &found, "one number a layer"))
            }
            Some((key, value)) => Ok(vec![as_count(key, value)?; n_layers]),
        }
    }

    pub fn float(&self, keys: &[&str]) -> Result<f64, Error> {
        self.find(keys).map_or_else(|| Err(missing(keys)), |(key, value)| as_float(key, value))
    }

    pub fn float_or(&self, keys: &[&str], default: f64) -> Result<f64, Error> {
        self.find(keys).map_or(Ok(default), |(key, value)| as_float(key, value))
    }

    pub fn bool_or(&self, keys: &[&str], default: bool) -> Result<bool, Error> {
        match self.find(keys) {
            None => Ok(default),
            Some((_, Value::Bool(value))) => Ok(*value),
            Some((key, value)) => Err(unexpected(key, &value.describe(), "true or false")),
        }
    }

    pub fn text(&self, keys: &[&str]) -> Result<Option<&str>, Error> {
        match self.find(keys) {
            None => Ok(None),
            Some((_, Value::Text(text))) => Ok(Some(text)),
            Some((key, value)) => Err(unexpected(key, &value.describe(), "a text")),
        }
    }

    /// The first text of a list of texts.
    pub fn first_text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => match list.first() {
                Some(Value::Text(text)) => Ok(Some(text)),
                _ => Err(unexpected(key, "a list without texts", "a list of texts")),
            },
            Some(value) => Err(unexpected(key, &value.describe(), "a list of texts")),
        }
    }

    /// The length of a list, such as a vocabulary.
    pub fn length(&self, key: &str) -> Option<usize> {
        match self.values.get(key)? {
            Value::List(list) => Some(list.len()),
            Value::LongList(len) => Some(*len),
            _ => None,
        }
    }

    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains(name)
    }
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            Value::List(list) => format!("a list of {}", list.len()),
            Value::LongList(len) => format!("a list of {len}"),
        }
    }
}

fn as_count(key: &str, value: &Value) -> Result<usize, Error> {
    match *value {
        Value::Int(n) if (0..=COUNT_MAX).contains(&n) => Ok(n as usize),
        Value::Float(x) if x.fract() == 0.0 && (0.0..=COUNT_MAX as f64).contains(&x) => {
            Ok(x as usize)
        }
        _ => Err(unexpected(key, &value.describe(), "a count below 2^30")),
    }
}

fn as_float(key: &str, value: &Value) -> Result<f64, Error> {
    match *value {
        Value::Int(n) => Ok(n as f64),
        Value::Float(x) if x.is_finite() => Ok(x),
        _ => Err(unexpected(key, &value.describe(), "a finite number")),
    }
}

fn missing(keys: &[&str]) -> Error {
    Error::Missing { key: keys.join(" or ") }
}

fn unexpected(key: &str, found: &str, expected: &'static str) -> Error {
    Error::Unexpected { key: key.into(), found: found.into(), expected }
}
