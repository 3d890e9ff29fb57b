//! JSON of bounded size: maps whose keys must differ, and nested maps flattened to dotted keys.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use spec::Value;

use crate::Error;
use crate::error::Shown;
use crate::gguf::LIST_LEN_MAX;

/// The key of a safetensors header that is no tensor.
const NOTES_KEY: &str = "__metadata__";

/// Deeper than any config is nested.
const DEPTH_MAX: usize = 16;

/// The entries of a map in the order of the file, a key that is there twice included: the usual
/// map would keep the last of them in silence. Free-form notes are left out.
pub(crate) struct Entries<T>(pub(crate) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == NOTES_KEY {
                map.next_value::<IgnoredAny>()?;
            } else {
                entries.push((key, map.next_value()?));
            }
        }
        Ok(Entries(entries))
    }
}

/// The settings of a JSON config, nested maps joined by dots.
///
/// # Errors
/// [`Error::Json`] if it isn't JSON, [`Error::Malformed`] if it isn't a map or is nested too
/// deep, [`Error::Duplicate`] if two keys are one once they are joined.
pub(crate) fn flatten(path: &Path, json: &[u8]) -> Result<BTreeMap<String, Value>, Error> {
    let root: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| Error::json(path, &error))?;
    let serde_json::Value::Object(root) = root else {
        return Err(Error::malformed(path, "not a map of settings"));
    };
    let mut values = BTreeMap::new();
    flatten_map(path, "", root, 1, &mut values)?;
    Ok(values)
}

fn flatten_map(
    path: &Path,
    prefix: &str,
    map: serde_json::Map<String, serde_json::Value>,
    depth: usize,
    values: &mut BTreeMap<String, Value>,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        let what = format!("{} is nested deeper than {DEPTH_MAX}", Shown::new(prefix));
        return Err(Error::malformed(path, what));
    }
    for (key, value) in map {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let value = match value {
            serde_json::Value::Object(inner) => {
                flatten_map(path, &key, inner, depth + 1, values)?;
                continue;
            }
            serde_json::Value::Array(list) => list_value(list),
            scalar => scalar_value(scalar),
        };
        if values.contains_key(&key) {
            return Err(Error::twice(path, "key", &key));
        }
        values.insert(key, value);
    }
    Ok(())
}

fn list_value(list: Vec<serde_json::Value>) -> Value {
    // Lists of lists or of maps are no setting of any family.
    if list.len() > LIST_LEN_MAX || list.iter().any(|value| value.is_array() || value.is_object()) {
        return Value::LongList(list.len());
    }
    Value::List(list.into_iter().map(scalar_value).collect())
}

/// A scalar; panics if it is a list or a map.
fn scalar_value(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(
            || Value::Float(number.as_f64().expect("JSON numbers fit an f64")),
            Value::Int,
        ),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => unreachable!("no scalar"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(json: &str) -> Result<BTreeMap<String, Value>, String> {
        flatten(Path::new("config.json"), json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_maps_become_dotted_keys() {
        let values = flat(
            r#"{"hidden_size": 96, "rope_parameters": {"rope_theta": 5e5, "inner": {"on": true}},
                "architectures": ["LlamaForCausalLM"], "q_lora_rank": null,
                "experts": [{"id": 1}, {"id": 2}], "big": 18446744073709551615}"#,
        )
        .unwrap();
        let expected = [
            ("architectures", Value::List(vec![Value::Text("LlamaForCausalLM".into())])),
            ("big", Value::Float(18446744073709551615.0)),
            ("experts", Value::LongList(2)),
            ("hidden_size", Value::Int(96)),
            ("q_lora_rank", Value::Null),
            ("rope_parameters.inner.on", Value::Bool(true)),
            ("rope_parameters.rope_theta", Value::Float(5e5)),
        ];
        assert_eq!(values, expected.map(|(key, value)| (key.into(), value)).into());
    }

    #[test]
    fn a_list_longer_than_a_setting_is_only_its_length() {
        let list = |n: usize| format!(r#"{{"list": [{}]}}"#, vec!["1"; n].join(","));
        assert!(
            matches!(&flat(&list(256)).unwrap()["list"], Value::List(list) if list.len() == 256)
        );
        assert_eq!(flat(&list(257)).unwrap()["list"], Value::LongList(257));
    }

    #[test]
    fn a_bad_config_is_one_line() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
        let cases = [
            ("{", "config.json: bad JSON: EOF while parsing an object at line 1 column 1"),
            ("[1]", "config.json: not a map of settings"),
            (r#"{"a": {"b": 1}, "a.b": 2}"#, r#"config.json: key "a.b" is there twice"#),
            (
                deep.as_str(),
                r#"config.json: "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a" is nested deeper than 16"#,
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(flat(json).unwrap_err(), expected);
        }
    }
}
