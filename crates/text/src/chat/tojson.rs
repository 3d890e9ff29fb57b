//! Values as Python writes them: `tojson` of templates, and `{{ value }}` itself.

use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::marks;

/// How deep a value may nest: a template can build one of any depth.
const DEPTH_MAX: usize = 128;

/// How a value is written.
struct Style {
    /// As `repr` in Python, not as JSON.
    repr: bool,
    /// Strings may hold marked characters; else plane 16 is as a user wrote it.
    marked: bool,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

impl Style {
    fn plain(repr: bool) -> Self {
        Self {
            repr,
            marked: true,
            ensure_ascii: false,
            sort_keys: false,
            indent: None,
            item_separator: ", ".into(),
            key_separator: ": ".into(),
        }
    }
}

/// The filter `tojson` as transformers defines it: `json.dumps` without escapes for HTML.
pub(crate) fn filter(
    state: &State<'_, '_>,
    value: &Value,
    options: Kwargs,
) -> Result<Value, Error> {
    let mut style = Style::plain(false);
    style.ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    style.sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    style.indent = match options.get::<Option<Value>>("indent")? {
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) if !width.is_none() => {
            let width = usize::try_from(width)?;
            // Wider than any page: a template that asks for it wants memory.
            Some(" ".repeat(width.min(64)))
        }
        _ => None,
    };
    if style.indent.is_some() {
        style.item_separator = ",".into();
    }
    if let Some(pair) = options.get::<Option<Vec<String>>>("separators")?
        && let [item, key] = pair.as_slice()
    {
        style.item_separator.clone_from(item);
        style.key_separator.clone_from(key);
    }
    options.assert_all_used()?;
    let mut out = String::new();
    write(&mut out, value, &style, Some(state), 0)?;
    Ok(Value::from(out))
}

/// `{{ value }}` for a value that is no string, as Python's `str` has it.
pub(crate) fn display(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, &Style::plain(true), Some(state), 0)?;
    Ok(out)
}

/// The JSON of a tool call's arguments, for templates that take them as text.
pub(crate) fn of_json(json: &serde_json::Value) -> String {
    let mut out = String::new();
    let style = Style { marked: false, ..Style::plain(false) };
    let written = write(&mut out, &Value::from(Serde(json)), &style, None, 0);
    written.expect("JSON that was checked for depth can be written");
    out
}

/// Writes `value`, paying from the fuel of `state` as it goes: a value may list far more items
/// than it has memory.
fn write(
    out: &mut String,
    value: &Value,
    style: &Style,
    state: Option<&State<'_, '_>>,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value nests too deep"));
    }
    let (yes, no, none) =
        if style.repr { ("True", "False", "None") } else { ("true", "false", "null") };
    let from = out.len();
    match value.kind() {
        ValueKind::None => out.push_str(none),
        ValueKind::Bool => out.push_str(if value.is_true() { yes } else { no }),
        ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
        ValueKind::Number => out.push_str(&float(f64::try_from(value.clone())?)),
        ValueKind::String => write_text(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()? {
                begin_item(out, style, empty, depth);
                write(out, &item, style, state, depth + 1)?;
                empty = false;
            }
            end_items(out, style, empty, depth);
            out.push(']');
        }
        ValueKind::Map => write_map(out, value, style, state, depth)?,
        _ if style.repr => out.push_str(&value.to_string()),
        kind => {
            let what = format!("a value of type {kind} is no JSON");
            return Err(Error::new(ErrorKind::BadSerialization, what));
        }
    }
    if let Some(state) = state {
        // What is inside has paid for itself, but for a share that its depth bounds.
        state.consume_fuel(1 + ((out.len() - from) / 64) as u64)?;
    }
    Ok(())
}

fn write_map(
    out: &mut String,
    map: &Value,
    style: &Style,
    state: Option<&State<'_, '_>>,
    depth: usize,
) -> Result<(), Error> {
    let mut keys: Vec<Value> = map.try_iter()?.collect();
    if style.sort_keys {
        keys.sort_by_cached_key(|key| marks::unmark(&key.to_string()).into_owned());
    }
    out.push('{');
    let empty = keys.is_empty();
    for (index, key) in keys.iter().enumerate() {
        begin_item(out, style, index == 0, depth);
        match key.as_str() {
            Some(text) => write_text(out, text, style),
            None if style.repr => write(out, key, style, state, depth + 1)?,
            None => write_text(out, &key.to_string(), style),
        }
        out.push_str(&style.key_separator);
        write(out, &map.get_item(key)?, style, state, depth + 1)?;
    }
    end_items(out, style, empty, depth);
    out.push('}');
    Ok(())
}

fn begin_item(out: &mut String, style: &Style, first: bool, depth: usize) {
    if !first {
        out.push_str(&style.item_separator);
    }
    new_line(out, style, depth + 1);
}

fn end_items(out: &mut String, style: &Style, empty: bool, depth: usize) {
    if !empty {
        new_line(out, style, depth);
    }
}

fn new_line(out: &mut String, style: &Style, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(indent.as_str(), depth));
    }
}

/// A string in quotes. Marked characters stay marked, escapes are decided by what they stand for.
fn write_text(out: &mut String, text: &str, style: &Style) {
    let quote = match style.repr {
        true if text.contains('"') || !text.contains('\'') => '\'',
        _ => '"',
    };
    out.push(quote);
    for c in text.chars() {
        let plain = if style.marked { marks::unmark_char(c) } else { c };
        let escape = match plain {
            '\\' => Some("\\\\".into()),
            '\n' => Some("\\n".into()),
            '\r' => Some("\\r".into()),
            '\t' => Some("\\t".into()),
            '\u{8}' if !style.repr => Some("\\b".into()),
            '\u{c}' if !style.repr => Some("\\f".into()),
            _ if plain == quote => Some(format!("\\{quote}")),
            '\0'..='\x1f' | '\x7f' if style.repr => Some(format!("\\x{:02x}", u32::from(plain))),
            '\0'..='\x1f' => Some(format!("\\u{:04x}", u32::from(plain))),
            _ if style.ensure_ascii && !plain.is_ascii() => Some(utf16_escapes(plain)),
            _ => None,
        };
        match escape {
            None => out.push(c),
            Some(escape) if plain == c => out.push_str(&escape),
            Some(escape) => out.push_str(&marks::mark(&escape)),
        }
    }
    out.push(quote);
}

fn utf16_escapes(c: char) -> String {
    let mut units = [0; 2];
    c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// A float as Python's `repr` writes it: the shortest digits, an exponent outside 1e-4..1e16.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let size = x.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent was asked for");
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (x, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5e-7, "-2.5e-07"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-4, "0.0001"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(float(x), expected);
        }
    }

    #[test]
    fn json_of_arguments_has_pythons_separators() {
        let json = serde_json::json!({"b": [1, 2.0, null], "a": "é\"\n\u{1}", "c": {}, "d": []});
        assert_eq!(
            of_json(&json),
            r#"{"b": [1, 2.0, null], "a": "é\"\n\u0001", "c": {}, "d": []}"#
        );
    }
}
