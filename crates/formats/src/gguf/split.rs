//! Models split over several GGUF files: `model-00001-of-00003.gguf` and its siblings.

use std::path::{Path, PathBuf};

use super::{Gguf, Metadata, parse};
use crate::mmap::{OpenFile, parse_head};
use crate::{Access, Error, Weights};

/// More parts than any model is cut into.
const PARTS_MAX: usize = 1024;

/// The name of a part, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SplitName {
    pub(crate) stem: String,
    pub(crate) count: usize,
    /// From one, as in the name.
    pub(crate) part: usize,
}

impl SplitName {
    /// From `stem-00002-of-00003.gguf`; none if the name has no such form.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse::<usize>().ok()).flatten()
        };
        let (part, count) = (number(part)?, number(count)?);
        (1..=count).contains(&part).then(|| SplitName { stem: stem.into(), count, part })
    }

    fn file_name(&self, part: usize) -> String {
        format!("{}-{part:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

/// Reads a GGUF model from its file, or from all parts if `path` is one of them. The metadata is
/// the first part's.
///
/// # Errors
/// [`Error::MissingPart`]; parts that contradict each other; whatever is wrong with a file.
pub(crate) fn open(path: &Path, access: Access) -> Result<(Gguf, Vec<OpenFile>), Error> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(SplitName::parse);
    let (file, bytes) = OpenFile::open(path, access)?;
    let gguf = parse_head(bytes, |bytes| parse(path, bytes))?;
    match name {
        Some(name) if name.count > 1 => {
            drop(file);
            open_parts(path, &name, access)
        }
        _ => {
            check_part(&gguf.metadata, 1, 1)?;
            Ok((gguf, vec![file]))
        }
    }
}

fn open_parts(
    path: &Path,
    name: &SplitName,
    access: Access,
) -> Result<(Gguf, Vec<OpenFile>), Error> {
    if name.count > PARTS_MAX {
        let (found, limit) = (name.count as u64, PARTS_MAX as u64);
        return Err(Error::Limit { path: path.into(), what: "the number of parts", found, limit });
    }
    let mut files = Vec::new();
    let (mut whole, first) = open_part(path, name, 1, access)?;
    files.push(first);
    for part in 2..=name.count {
        let (gguf, file) = open_part(path, name, part, access)?;
        whole.tensors.join(gguf.tensors)?;
        files.push(file);
    }
    let found = whole.tensors.names().len();
    match whole.metadata.int("split.tensors.count")? {
        Some(promised) if promised != found as i64 => {
            let what = format!("the parts hold {found} tensors; split.tensors.count is {promised}");
            Err(Error::malformed(whole.metadata.path(), what))
        }
        _ => Ok((whole, files)),
    }
}

fn open_part(
    path: &Path,
    name: &SplitName,
    part: usize,
    access: Access,
) -> Result<(Gguf, OpenFile), Error> {
    let path: PathBuf = path.with_file_name(name.file_name(part));
    if !path.exists() {
        return Err(Error::MissingPart { path, part, count: name.count });
    }
    let (file, bytes) = OpenFile::open(&path, access)?;
    let gguf = parse_head(bytes, |bytes| parse(&path, bytes))?;
    check_part(&gguf.metadata, part, name.count)?;
    Ok((gguf, file))
}

/// What the keys of a file say of its place must be what its name says.
fn check_part(metadata: &Metadata, part: usize, count: usize) -> Result<(), Error> {
    let said_count = metadata.int("split.count")?.unwrap_or(1);
    let said_part = metadata.int("split.no")?.unwrap_or(0).saturating_add(1);
    // Zero is what some writers leave in a file that was never split.
    if (said_part, said_count.max(1)) == (part as i64, count as i64) {
        return Ok(());
    }
    let what = format!(
        "by its keys this is part {said_part} of {said_count} of a model, by its name {part} of \
         {count}: was it renamed?"
    );
    Err(Error::malformed(metadata.path(), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_its_name() {
        let name = SplitName::parse("Qwen-32B-Q4_K_M-00002-of-00003.gguf").unwrap();
        assert_eq!((name.stem.as_str(), name.part, name.count), ("Qwen-32B-Q4_K_M", 2, 3));
        assert_eq!(name.file_name(3), "Qwen-32B-Q4_K_M-00003-of-00003.gguf");
        for other in [
            "model.gguf",
            "model-2-of-3.gguf",
            "model-00004-of-00003.gguf",
            "model-00000-of-00003.gguf",
            "model-0000+-of-00003.gguf",
            "model-00001-of-00003.bin",
            "-of-.gguf",
        ] {
            assert_eq!(SplitName::parse(other), None, "{other}");
        }
    }
}
