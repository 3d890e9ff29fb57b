//! Parquet files, row by row.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::{Error, Row, file};

/// Calls `each` with every row, and its number from 1.
pub(super) fn read(
    path: &Path,
    each: &mut dyn FnMut(usize, Result<Row, String>) -> Result<(), Error>,
) -> Result<(), Error> {
    let opened = File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let reader = SerializedFileReader::new(opened);
    let reader = reader.map_err(|error| file(path, error.to_string()))?;
    let rows = reader.get_row_iter(None).map_err(|error| file(path, error.to_string()))?;
    for (row, number) in rows.zip(1..) {
        // What follows a page that can't be read is not there either.
        let row = row.map_err(|error| file(path, format!("row {number}: {error}")))?;
        each(
            number,
            match row.to_json_value() {
                Value::Object(row) => Ok(row),
                _ => Err("not a row of columns".into()),
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Columns, read};
    use crate::config::DataSection;

    fn fixture(name: &str) -> PathBuf {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/train");
        PathBuf::from(fixtures).join(name)
    }

    fn columns() -> Columns {
        let section: DataSection = toml::from_str("files = []").unwrap();
        Columns::of(&section)
    }

    #[test]
    fn rows_are_read_as_pyarrow_wrote_them() {
        for name in ["verl.parquet", "trl.parquet"] {
            let columns = columns();
            let rows = read(&[fixture(name)], false, |row| columns.problem(row)).unwrap().rows;
            assert_eq!(rows.len(), 3, "{name}");
            assert_eq!(rows[2].conversation.messages[0].content, "2 + 3?", "{name}");
            assert_eq!(rows[2].task.answer, "5", "{name}");
            assert_eq!(rows[2].difficulty, Some(2), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let whole = std::fs::read(fixture("trl.parquet")).unwrap();
        let path = folder.path().join("a.parquet");
        let columns = columns();
        for len in [0, 3, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            let error =
                read(std::slice::from_ref(&path), false, |row| columns.problem(row)).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("a.parquet: ") && !error.contains('\n'), "{error}");
        }
    }
}
