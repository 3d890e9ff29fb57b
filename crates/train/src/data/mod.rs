//! Files of rows to tasks and examples.
//!
//! Start at `columns.rs`: what a row may look like. A row that is broken is named by its number.

mod columns;
mod jsonl;
mod parquet;

use std::path::{Path, PathBuf};

pub use columns::{Columns, Example, Problem};
use serde_json::{Map, Value};

/// A row as its file has it, whatever the format.
pub type Row = Map<String, Value>;

/// Rows in memory, at most.
const ROWS_MAX: usize = 50_000_000;
/// Broken rows that an error names.
const NAMED_MAX: usize = 5;

/// Data that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: neither .jsonl nor .parquet")]
    Format { path: PathBuf },
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("{path}: line {line}: {what}{more}")]
    Line { path: PathBuf, line: usize, what: String, more: String },
    #[error("the data has no rows")]
    Empty,
}

/// What was read, and how much of it was left out.
#[derive(Debug)]
pub struct Rows<T> {
    pub rows: Vec<T>,
    /// File and line of rows that were broken and skipped, with what was wrong.
    pub broken: Vec<String>,
}

/// Reads rows of files one after another and lets `take` make something of each.
///
/// # Errors
///
/// A file that can't be read; a row that is broken, unless those are to be skipped; no rows.
pub fn read<T>(
    files: &[PathBuf],
    skip_broken: bool,
    mut take: impl FnMut(&Row) -> Result<T, String>,
) -> Result<Rows<T>, Error> {
    let mut found = Rows { rows: Vec::new(), broken: Vec::new() };
    for path in files {
        let mut faults: Vec<(usize, String)> = Vec::new();
        let each = &mut |line: usize, row: Result<Row, String>| {
            if found.rows.len() >= ROWS_MAX {
                return Err(file(path, format!("there are more than {ROWS_MAX} rows")));
            }
            match row.and_then(|row| take(&row)) {
                Ok(row) => found.rows.push(row),
                Err(what) => faults.push((line, what)),
            }
            Ok(())
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl" | "json" | "ndjson") => jsonl::read(path, each)?,
            Some("parquet") => parquet::read(path, each)?,
            _ => return Err(Error::Format { path: path.clone() }),
        }
        if let Some((line, what)) = faults.first()
            && !skip_broken
        {
            let (line, what, more) = (*line, what.clone(), others(&faults));
            return Err(Error::Line { path: path.clone(), line, what, more });
        }
        let name = path.display();
        found
            .broken
            .extend(faults.iter().map(|(line, what)| format!("{name}: line {line}: {what}")));
    }
    if found.rows.is_empty() {
        return Err(Error::Empty);
    }
    Ok(found)
}

/// Which other lines are broken.
fn others(faults: &[(usize, String)]) -> String {
    let others = &faults[1..];
    if others.is_empty() {
        return String::new();
    }
    let named: Vec<String> =
        others.iter().take(NAMED_MAX).map(|(line, _)| line.to_string()).collect();
    let rest = match others.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("; broken too: {}{rest}", named.join(", "))
}

fn file(path: &Path, what: String) -> Error {
    Error::File { path: path.into(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8], skip_broken: bool) -> Result<Rows<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        let take = |row: &Row| match row.get("q").and_then(Value::as_str) {
            Some(q) => Ok(q.to_string()),
            None => Err("no q".to_string()),
        };
        let shown =
            |error: Error| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        read(&[path], skip_broken, take).map_err(shown)
    }

    #[test]
    fn broken_lines_are_named_by_their_numbers() {
        let text = b"{\"q\": \"a\"}\n\n{\"q\": 1}\n[]\nno\n{\"q\": \"b\"}\r\n\xff\n{\"q\": \"c\"}";
        let fault = read_text(text, false).unwrap_err();
        assert_eq!(fault, "a.jsonl: line 3: no q; broken too: 4, 5, 7");
        let rows = read_text(text, true).unwrap();
        assert_eq!(rows.rows, ["a", "b", "c"]);
        assert_eq!(rows.broken.len(), 4);
        assert!(rows.broken[1].ends_with("line 4: not a JSON object"), "{:?}", rows.broken);
        assert!(rows.broken[3].ends_with("line 7: not UTF-8"), "{:?}", rows.broken);
    }

    #[test]
    fn many_broken_lines_are_counted() {
        let text = "no\n".repeat(20);
        let fault = read_text(text.as_bytes(), false).unwrap_err();
        assert!(fault.ends_with("broken too: 2, 3, 4, 5, 6 and 14 more"), "{fault}");
        assert_eq!(read_text(b"", false).unwrap_err(), "the data has no rows");
    }

    #[test]
    fn a_file_of_another_format_is_named() {
        let error = read(&["a.csv".into()], false, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "a.csv: neither .jsonl nor .parquet");
        let error = read(&["none.jsonl".into()], false, |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("none.jsonl: "), "{error}");
    }
}
