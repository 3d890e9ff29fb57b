//! The house rules that a program can check.
//!
//! Start at `rules` for those of a Rust file, `links` for Markdown, `exceptions` for
//! `tidy.toml`. Lengths of functions are clippy's business.

mod exceptions;
mod lexer;
mod links;
mod rules;

use std::path::Path;

use anyhow::{Context, bail};

use crate::tree::{TextFile, text_files};

/// One breach of one rule.
#[derive(Debug, PartialEq)]
struct Finding {
    rule: &'static str,
    path: String,
    /// From 1; 0 for the whole file.
    line: usize,
    message: String,
}

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let sources = text_files(root, &[".rs"])?;
    let documents = text_files(root, &[".md"])?;
    let exceptions = std::fs::read_to_string(root.join("tidy.toml")).context("tidy.toml")?;
    let exceptions = exceptions::parse(&exceptions)?;
    let findings = check(&sources, &documents, &|path| root.join(path).exists());
    let left = exceptions::apply(findings, &exceptions);
    for finding in &left {
        let Finding { rule, path, line, message } = finding;
        println!("{path}:{line}: {message} [{rule}]");
    }
    if !left.is_empty() {
        bail!("tidy: {} breaches of the house rules", left.len());
    }
    let n_files = sources.len() + documents.len();
    println!("tidy: {n_files} files, {} exceptions", exceptions.len());
    Ok(())
}

/// All breaches in `sources` (Rust) and `documents` (Markdown); `exists` answers for a path from
/// the root.
fn check(
    sources: &[TextFile],
    documents: &[TextFile],
    exists: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources {
        findings.extend(rules::check(&file.path, &file.text));
    }
    findings.extend(rules::check_forbids(sources));
    for file in documents {
        findings.extend(links::check(&file.path, &file.text, exists));
    }
    findings
}
