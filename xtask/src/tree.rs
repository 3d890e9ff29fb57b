//! The files of the workspace that people write.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Folders at the root of things that are made or downloaded.
const SKIPPED: &[&str] = &["target", "models"];

/// A text file: its path from the root, with `/`, and its text.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file under `root` that ends in one of `endings`, in the order of their paths.
pub(crate) fn text_files(root: &Path, endings: &[&str]) -> anyhow::Result<Vec<TextFile>> {
    let mut files = Vec::new();
    walk(root, "", endings, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(
    folder: &Path,
    prefix: &str,
    endings: &[&str],
    files: &mut Vec<TextFile>,
) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {prefix}"))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            let is_made = prefix.is_empty() && SKIPPED.contains(&name.as_str());
            if !name.starts_with('.') && !is_made {
                walk(&entry.path(), &format!("{path}/"), endings, files)?;
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(entry.path());
            files.push(TextFile {
                text: text.with_context(|| format!("cannot read {path}"))?,
                path,
            });
        }
    }
    Ok(())
}
