//! Python's string methods, blind to marks: they act on what characters stand for, and keep marks.
//!
//! Strings without marks go to minijinja's own Python methods, but for those that it lacks.

use minijinja::value::{Kwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use crate::marks;

/// The widest field that `'{:>N}'.format` may ask for.
const FORMAT_WIDTH_MAX: usize = 4096;

/// Called for `value.method(args)` where the engine knows no such method.
pub(crate) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, args);
    };
    if method == "format" {
        check_widths(text)?;
        return pycompat::unknown_method_callback(state, value, method, args);
    }
    let marked =
        marks::has_marks(text) || args.iter().any(|arg| arg.as_str().is_some_and(marks::has_marks));
    let missing =
        matches!(method, "rsplit" | "removeprefix" | "removesuffix" | "partition" | "rpartition");
    if (marked || missing) && method != "join" {
        state.consume_fuel((text.len() / 64) as u64)?;
        if let Some(result) = aware(state, text, method, args)? {
            return Ok(result);
        }
        // Case, counting, tests of character: on what the text stands for. A string that comes of
        // it is marked as a whole, which at worst makes text of markup.
        let plain = Value::from(marks::unmark(text));
        let args: Vec<Value> = args.iter().map(plain_arg).collect();
        let result = pycompat::unknown_method_callback(state, &plain, method, &args)?;
        return Ok(result.as_str().map(|text| Value::from(marks::mark(text))).unwrap_or(result));
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

fn plain_arg(arg: &Value) -> Value {
    arg.as_str().map(|text| Value::from(marks::unmark(text))).unwrap_or_else(|| arg.clone())
}

/// A format string that asks for wide fields asks for memory.
fn check_widths(format: &str) -> Result<(), Error> {
    let numbers = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    for digits in numbers {
        if digits.parse::<usize>().is_ok_and(|width| width <= FORMAT_WIDTH_MAX) {
            continue;
        }
        return Err(Error::new(ErrorKind::InvalidOperation, "a format asks for a wide field"));
    }
    Ok(())
}

/// A text with marks beside what it stands for.
struct Aligned<'a> {
    marked: &'a str,
    plain: String,
    /// Where in `marked` each byte of `plain` comes from, and the end. (bytes + 1)
    at: Vec<usize>,
}

impl<'a> Aligned<'a> {
    fn new(marked: &'a str) -> Self {
        let mut plain = String::with_capacity(marked.len());
        let mut at = Vec::with_capacity(marked.len() + 1);
        for (from, c) in marked.char_indices() {
            // A pair of the last plane stays a pair: it must only compare equal to itself.
            plain.push(marks::unmark_char(c));
            at.resize(plain.len(), from);
        }
        at.push(marked.len());
        Self { marked, plain, at }
    }

    /// The marked text of a range of `plain`.
    fn slice(&self, from: usize, to: usize) -> &'a str {
        &self.marked[self.at[from]..self.at[to]]
    }
}

fn plain(text: &str) -> String {
    text.chars().map(marks::unmark_char).collect()
}

/// The methods that cut a string or look at its ends.
fn aware(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    let aligned = Aligned::new(text);
    let result = match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Value::from(strip(&aligned, chars, method))
        }
        "startswith" | "endswith" => {
            let (ends,): (&Value,) = from_args(args)?;
            let ends: Vec<String> = match ends.as_str() {
                Some(end) => vec![plain(end)],
                None => {
                    let ends = ends.try_iter()?;
                    ends.map(|end| plain(end.as_str().unwrap_or_default())).collect()
                }
            };
            let whole = &aligned.plain;
            Value::from(ends.iter().any(|end| match method {
                "startswith" => whole.starts_with(end.as_str()),
                _ => whole.ends_with(end.as_str()),
            }))
        }
        "removeprefix" | "removesuffix" => {
            let (end,): (&str,) = from_args(args)?;
            let (whole, end) = (&aligned.plain, plain(end));
            Value::from(match method {
                "removeprefix" if whole.starts_with(&end) => aligned.slice(end.len(), whole.len()),
                "removesuffix" if whole.ends_with(&end) => {
                    aligned.slice(0, whole.len() - end.len())
                }
                _ => text,
            })
        }
        "split" | "rsplit" => {
            let (separator, limit, options): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
            let limit = limit.or(options.get("maxsplit")?);
            options.assert_all_used()?;
            let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            split(&aligned, separator, limit, method == "rsplit")?
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(&aligned, separator, method == "rpartition")?
        }
        "replace" => {
            let (old, new, limit): (&str, &str, Option<i64>) = from_args(args)?;
            let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            let old = plain(old);
            let cuts = cuts(&aligned.plain, &old, limit, false);
            // Paid for before it exists: the result can be much larger than the text.
            state.consume_fuel((cuts.len().saturating_mul(new.len()) / 64) as u64)?;
            let mut out = String::new();
            let mut from = 0;
            for cut in cuts {
                out.push_str(aligned.slice(from, cut));
                out.push_str(new);
                from = cut + old.len();
            }
            out.push_str(aligned.slice(from, aligned.plain.len()));
            Value::from(out)
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn strip<'a>(aligned: &Aligned<'a>, chars: Option<&str>, method: &str) -> &'a str {
    let chars: Option<Vec<char>> = chars.map(|chars| plain(chars).chars().collect());
    let goes = |c: char| match &chars {
        Some(chars) => chars.contains(&c),
        None => c.is_whitespace(),
    };
    let whole = aligned.plain.as_str();
    let start = match method {
        "rstrip" => 0,
        _ => whole.len() - whole.trim_start_matches(goes).len(),
    };
    let end = match method {
        "lstrip" => whole.len(),
        _ => whole.trim_end_matches(goes).len(),
    };
    aligned.slice(start, end.max(start))
}

/// Where `separator` stands in `text`, at most `limit` places from the left, or from the right.
fn cuts(text: &str, separator: &str, limit: usize, from_right: bool) -> Vec<usize> {
    if from_right {
        let mut cuts: Vec<usize> =
            text.rmatch_indices(separator).take(limit).map(|(at, _)| at).collect();
        cuts.reverse();
        cuts
    } else {
        text.match_indices(separator).take(limit).map(|(at, _)| at).collect()
    }
}

fn split(
    aligned: &Aligned<'_>,
    separator: Option<&str>,
    limit: usize,
    from_right: bool,
) -> Result<Value, Error> {
    let whole = &aligned.plain;
    let Some(separator) = separator else {
        return Ok(split_words(aligned, limit));
    };
    let separator = plain(separator);
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts(whole, &separator, limit, from_right) {
        pieces.push(Value::from(aligned.slice(from, cut)));
        from = cut + separator.len();
    }
    pieces.push(Value::from(aligned.slice(from, whole.len())));
    Ok(Value::from(pieces))
}

/// Cut at runs of white space, which also leave the ends.
fn split_words(aligned: &Aligned<'_>, limit: usize) -> Value {
    let whole = aligned.plain.as_str();
    let mut pieces = Vec::new();
    let mut from = whole.len() - whole.trim_start().len();
    while from < whole.len() {
        let rest = &whole[from..];
        // The last piece of a limited cut keeps the white space at its end.
        let len = rest.find(char::is_whitespace).filter(|_| pieces.len() < limit);
        let end = from + len.unwrap_or(rest.len());
        pieces.push(Value::from(aligned.slice(from, end)));
        from = whole.len() - whole[end..].trim_start().len();
    }
    Value::from(pieces)
}

fn partition(aligned: &Aligned<'_>, separator: &str, last: bool) -> Result<Value, Error> {
    let separator = plain(separator);
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let whole = &aligned.plain;
    let at = if last { whole.rfind(&separator) } else { whole.find(&separator) };
    let slice = |from, to| Value::from(aligned.slice(from, to));
    Ok(Value::from(match at {
        Some(at) => {
            let end = at + separator.len();
            vec![slice(0, at), slice(at, end), slice(end, whole.len())]
        }
        None if last => vec![Value::from(""), Value::from(""), slice(0, whole.len())],
        None => vec![slice(0, whole.len()), Value::from(""), Value::from("")],
    }))
}

/// The test `in`, which `'x' in y` is turned into (`source`).
pub(crate) fn is_in(state: &State<'_, '_>, item: &Value, container: &Value) -> Result<bool, Error> {
    if container.is_undefined() {
        return Ok(false);
    }
    if let Some(text) = container.as_str() {
        state.consume_fuel((text.len() / 64) as u64)?;
        let item = match item.as_str() {
            Some(item) => plain(item),
            None => item.to_string(),
        };
        return Ok(if marks::has_marks(text) {
            plain(text).contains(&item)
        } else {
            text.contains(&item)
        });
    }
    if container.kind() == minijinja::value::ValueKind::Map {
        return Ok(!container.get_item(item)?.is_undefined());
    }
    if container.as_object().is_none() {
        let what = "cannot perform a containment check on this value";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let wanted = item.as_str().map(plain);
    for candidate in container.try_iter()? {
        state.consume_fuel(1)?;
        let same = match (&wanted, candidate.as_str()) {
            (Some(wanted), Some(candidate)) => plain(candidate) == *wanted,
            _ => candidate == *item,
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The filter of the same name as a string method, for values of any kind.
pub(crate) fn filter(
    method: &'static str,
) -> impl Fn(&mut State<'_, '_>, &Value, minijinja::value::Rest<Value>) -> Result<Value, Error>
+ Send
+ Sync
+ 'static {
    move |state, value, args| {
        let text = match value.as_str() {
            Some(_) => value.clone(),
            None => Value::from(value.to_string()),
        };
        call(state, &text, method, &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::{mark, unmark};

    /// Renders `expression` with `x` as it is, and marked.
    fn both(expression: &str, x: &str) -> (String, String) {
        let mut env = minijinja::Environment::new();
        env.set_unknown_method_callback(call);
        let source = format!("{{{{ {expression} }}}}");
        let render = |x: String| {
            let x = Value::from_pairs([("x", Value::from(x))]);
            env.render_str(&source, x).unwrap()
        };
        (render(x.to_owned()), unmark(&render(mark(x))).into_owned())
    }

    #[test]
    fn marked_text_is_cut_where_plain_text_is() {
        for expression in [
            "x.strip()",
            "x.lstrip('\\n a')",
            "x.rstrip()",
            "x.split('</t>')[-1]",
            "x.split('</t>')[0].rstrip('\\n').split('<t>')[-1]",
            "x.split('</t>', 1)[1]",
            "x.split()|join('|')",
            "x.split(none, 1)|join('|')",
            "x.startswith('\\n')",
            "x.startswith(('q', '\\n<t>'))",
            "x.endswith('b ')",
            "x.replace('a', 'XY')",
            "x.upper()",
            "x.count('a')",
            "x.find('</t>')",
            "x[2:5]",
            "x|length",
            "x.splitlines()|join('|')",
        ] {
            let (plain, marked) = both(expression, "\n<t>\na a</t>\n\nb</t> é b ");
            assert_eq!(plain, marked, "{expression}");
        }
    }

    #[test]
    fn methods_that_minijinja_lacks_do_as_python_does() {
        for (expression, expected) in [
            ("x.rsplit('-', 1)|join('|')", "a-b|c"),
            ("x.removeprefix('a-')", "b-c"),
            ("x.removesuffix('c')", "a-b-"),
            ("x.removesuffix('q')", "a-b-c"),
            ("x.partition('-')|join('|')", "a|-|b-c"),
            ("x.rpartition('-')|join('|')", "a-b|-|c"),
            ("x.partition('q')|join('|')", "a-b-c||"),
        ] {
            assert_eq!(both(expression, "a-b-c"), (expected.into(), expected.into()));
        }
    }

    #[test]
    fn cutting_keeps_the_marks() {
        let state = minijinja::Environment::new();
        let state = state.empty_state();
        let pieces = aware(&state, &mark("a,b"), "split", &[Value::from(",")]).unwrap().unwrap();
        assert_eq!(pieces.get_item_by_index(1).unwrap(), Value::from(mark("b")));
    }
}
