//! The build system of ruminate: what CI runs, the house rules, fixtures and models for tests.
//!
//! Start at `ci`. One module a command; `tidy` and `floors` are functions of texts, so that each
//! rule is seen to fail in a test. Not here: anything that ships.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the terminal is what a build system talks to")]

mod ci;
mod clients;
mod fetch;
mod floors;
mod golden;
mod kills;
mod page;
mod peers;
mod tidy;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                  everything that CI runs: fetch, fmt, tidy, floors, clippy, doc, test,
                      page-test
  test [ARGS]         cargo test --release, of the whole workspace without ARGS
  page-test           the page's tests, in a browser: needs node, and Chromium or root
  tidy                the house rules; exceptions are in tidy.toml
  floors              a crate depends on crates of lower floors only
  fetch NAME...|all   brings what tests read or run into models/
  golden [NAME...]    says how fixtures are made, or makes some of them anew
  kills [FLAGS]       training, killed --count 200 times at random moments: the same weights
  peers [FLAGS]       ruminate beside llama.cpp: docs/peers.md, docs/numerics.md; with --only
                      training beside PyTorch";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&workspace_root(), &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    match args {
        ["ci"] => ci::run(root),
        ["test", rest @ ..] => ci::test(root, rest),
        ["page-test"] => page::run(root),
        ["tidy"] => tidy::run(root),
        ["floors"] => floors::run(root),
        ["fetch", names @ ..] if !names.is_empty() => fetch::run(root, names),
        ["golden", names @ ..] => golden::run(root, names),
        ["kills", rest @ ..] => kills::run(root, rest),
        ["peers", rest @ ..] => peers::run(root, rest),
        _ => bail!("{USAGE}"),
    }
}

fn workspace_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the workspace").to_path_buf()
}
