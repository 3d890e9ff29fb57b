//! What a user types to mean a model: `org/repo[:quant][@revision]`, or a path.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;

/// The hub's own limit on `org/repo`.
const REPO_LEN_MAX: usize = 96;
const QUANT_LEN_MAX: usize = 64;
const REVISION_LEN_MAX: usize = 128;

/// A model on the hub. Every part is made of letters, digits, `-`, `_` and `.` (a revision may
/// have single slashes as well), and no part is or begins with a dot: they are safe in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    repo: String,
    quant: Option<String>,
    revision: Option<String>,
}

impl Name {
    /// Reads `org/repo`, `org/repo:Q4_K_M`, `org/repo@revision` or `org/repo:Q4_K_M@revision`.
    ///
    /// # Errors
    /// `Error::Name` says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fault = |reason| Error::Name { text: text.to_owned(), reason };
        let (rest, revision) = match text.split_once('@') {
            Some((rest, revision)) => (rest, Some(revision)),
            None => (text, None),
        };
        let (repo, quant) = match rest.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant)),
            None => (rest, None),
        };
        check_repo(repo).map_err(fault)?;
        if let Some(quant) = quant {
            check_part(quant, QUANT_LEN_MAX).map_err(fault)?;
        }
        if let Some(revision) = revision {
            if revision.len() > REVISION_LEN_MAX {
                return Err(fault("the revision is too long"));
            }
            for part in revision.split('/') {
                check_part(part, REVISION_LEN_MAX).map_err(fault)?;
            }
        }
        let owned = |part: Option<&str>| part.map(str::to_owned);
        Ok(Self { repo: repo.to_owned(), quant: owned(quant), revision: owned(revision) })
    }

    /// `org/repo`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The quantisation asked for, as it was typed.
    pub fn quant(&self) -> Option<&str> {
        self.quant.as_deref()
    }

    /// The branch, tag or commit: `main` if none was typed.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if let Some(quant) = &self.quant {
            write!(f, ":{quant}")?;
        }
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        Ok(())
    }
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Path(PathBuf),
    Hub(Name),
}

impl Source {
    /// Decides between a path and a hub name. What exists on this machine wins.
    ///
    /// # Errors
    /// `Error::NoSuchPath` for what looks like a path and isn't there, `Error::Name` otherwise.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let path = Path::new(text);
        if path.exists() {
            return Ok(Self::Path(path.to_owned()));
        }
        let rooted = text.starts_with(['/', '.', '~']) || text.ends_with('/');
        // `models/tiny.gguf` would pass as a repository, but its author meant a file.
        let file = [".gguf", ".safetensors", ".json"].iter().any(|end| text.ends_with(end));
        if rooted || file || text.matches('/').count() > 1 && !text.contains('@') {
            return Err(Error::NoSuchPath { path: path.to_owned() });
        }
        Name::parse(text).map(Self::Hub)
    }
}

fn check_repo(repo: &str) -> Result<(), &'static str> {
    if repo.len() > REPO_LEN_MAX {
        return Err("org/repo is longer than the hub's 96 characters");
    }
    let (org, name) = repo.split_once('/').ok_or("it has no slash between org and repo")?;
    check_part(org, REPO_LEN_MAX)?;
    check_part(name, REPO_LEN_MAX)?;
    // The cache joins org and repo by two dashes: a third name must not collide with them.
    if repo.contains("--") {
        return Err("the hub allows no double dash");
    }
    if name.ends_with(".git") {
        return Err("the hub allows no name that ends in .git");
    }
    Ok(())
}

fn check_part(part: &str, len_max: usize) -> Result<(), &'static str> {
    if part.is_empty() {
        return Err("a part of it is empty");
    }
    if part.len() > len_max {
        return Err("a part of it is too long");
    }
    if !part.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
        return Err("only letters, digits, '-', '_' and '.' are allowed, with one slash");
    }
    if part.contains("..") || part.starts_with(['.', '-']) || part.ends_with(['.', '-']) {
        return Err("no part may begin or end with '.' or '-', or have two dots");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_into_its_parts_and_written_back() {
        let cases = [
            ("Qwen/QwQ-32B", "Qwen/QwQ-32B", None, "main"),
            ("a/b.c_d:q4_k_m", "a/b.c_d", Some("q4_k_m"), "main"),
            ("a/b@v1.0", "a/b", None, "v1.0"),
            ("a/b:UD-Q4_K_XL@refs/pr/1", "a/b", Some("UD-Q4_K_XL"), "refs/pr/1"),
        ];
        for (text, repo, quant, revision) in cases {
            let name = Name::parse(text).unwrap();
            assert_eq!((name.repo(), name.quant(), name.revision()), (repo, quant, revision));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn a_name_that_could_leave_the_cache_or_the_hub_is_refused() {
        let long = format!("a/{}", "b".repeat(95));
        let long_quant = format!("a/b:{}", "q".repeat(65));
        let long_revision = format!("a/b@{}", "r".repeat(129));
        let cases = [
            "",
            "/",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/b..c",
            "a/.b",
            "-a/b",
            "a/b-",
            "a--b/c",
            "a/b--c",
            "a/b.git",
            "a b/c",
            "a/b\\c",
            "a/b\n",
            "a/b\0",
            "a/b?x",
            "a/b#x",
            "a/b%2e",
            "é/b",
            "a/b:",
            "a/b:../x",
            "a/b:q/r",
            "a/b@",
            "a/b@../x",
            "a/b@x//y",
            "a/b@/x",
            "a/b@x/..",
            "a/b@v:q",
            &long,
            &long_quant,
            &long_revision,
        ];
        for text in cases {
            assert!(matches!(Name::parse(text), Err(Error::Name { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_path_that_exists_wins_over_a_hub_name() {
        // Tests run in the crate's folder, where this path exists and is a valid name too.
        assert_eq!(Source::parse("src/lib.rs").unwrap(), Source::Path("src/lib.rs".into()));
        let name = Name::parse("src/lib").unwrap();
        assert_eq!(Source::parse("src/lib").unwrap(), Source::Hub(name));
    }

    #[test]
    fn what_looks_like_a_path_and_is_missing_is_not_asked_of_the_hub() {
        for text in ["./a/b", "/a/b", "~/a", "a/b/c", "models/tiny.gguf", "a/b/"] {
            assert!(matches!(Source::parse(text), Err(Error::NoSuchPath { .. })), "{text:?}");
        }
    }
}
