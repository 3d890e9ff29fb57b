//! JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{Error, Row};

/// Longer lines are broken, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Calls `each` with every line that is not empty, and its number from 1.
pub(super) fn read(
    path: &Path,
    each: &mut dyn FnMut(usize, Result<Row, String>) -> Result<(), Error>,
) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let mut source = BufReader::new(File::open(path).map_err(io)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = LINE_BYTES_MAX + 1;
        if source.by_ref().take(limit).read_until(b'\n', &mut line).map_err(io)? == 0 {
            break;
        }
        if line.len() as u64 == limit && line.last() != Some(&b'\n') {
            source.skip_until(b'\n').map_err(io)?;
            each(number, Err(format!("longer than {LINE_BYTES_MAX} bytes")))?;
        } else if !line.trim_ascii().is_empty() {
            each(number, parse(&line))?;
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Row, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    match serde_json::from_str(line) {
        Ok(serde_json::Value::Object(row)) => Ok(row),
        Ok(_) => Err("not a JSON object".into()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}
