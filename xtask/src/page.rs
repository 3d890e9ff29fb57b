//! The page's tests, in a real browser: Debian's Chromium, driven by Playwright from npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::fetch::command;

const TESTS: &str = "crates/server/web/tests";
const CHROMIUM: &str = "/usr/bin/chromium";

/// Runs the tests. What they need is brought if it isn't there; where that can't be done, they
/// fail: a test that does not run says nothing.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    bring_chromium()?;
    let modules = bring_modules(root)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let cargo = cargo.to_str().context("the path of cargo is not UTF-8")?;
    let manifest = root.join("Cargo.toml");
    // The build of all tests, which CI has done already: built alone the binary's dependencies
    // have other features, and are compiled once more.
    const BUILD: &[&str] =
        &["test", "--release", "--workspace", "--no-run", "--quiet", "--manifest-path"];
    command(cargo, BUILD, &[&manifest])?;

    let mut node = Command::new("node");
    node.arg("--test").current_dir(root.join(TESTS));
    for name in test_files(root)? {
        node.arg(name);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let binary = target.unwrap_or_else(|| root.join("target")).join("release/ruminate");
    node.env("PAGE_TEST_BINARY", binary).env("PAGE_TEST_CHROMIUM", CHROMIUM);
    node.env("PAGE_TEST_MODULES", modules.join("package.json"));
    let status = node.status().context("cannot start node: is it installed?")?;
    if !status.success() {
        bail!("the page's tests: {status}");
    }
    Ok(())
}

/// Installs Debian's Chromium if there is none; only root can.
fn bring_chromium() -> anyhow::Result<()> {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    let why = "there is no /usr/bin/chromium, and it could not be installed (that takes root)";
    command("apt-get", &["update", "-qq"], &[]).context(why)?;
    const INSTALL: &[&str] = &["install", "-y", "-qq", "--no-install-recommends", "chromium"];
    command("apt-get", INSTALL, &[]).context(why)
}

/// Installs what `package-lock.json` pins, unless that is there.
fn bring_modules(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("models/page");
    let lock = fs::read_to_string(root.join(TESTS).join("package-lock.json"))?;
    let done = folder.join("done.json");
    if fs::read_to_string(&done).is_ok_and(|found| found == lock) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).context("cannot make models/page")?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(root.join(TESTS).join(name), folder.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    // In the folder itself: npm takes a `--prefix` with a link in it for another package.
    let folder = folder.canonicalize().context("models/page")?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
    let status = npm.status().context("cannot start npm: is it installed?")?;
    if !status.success() {
        bail!("npm ci: {status}");
    }
    // Last: what was begun and not ended is begun anew.
    fs::write(done, lock).context("cannot write models/page/done.json")?;
    Ok(folder)
}

fn test_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(root.join(TESTS)).with_context(|| format!("cannot list {TESTS}"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("no tests in {TESTS}");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use crate::workspace_root;

    use super::*;

    #[test]
    fn what_is_installed_is_pinned_by_its_hash_and_from_no_certain_host() {
        let lock = workspace_root().join(TESTS).join("package-lock.json");
        let lock = fs::read_to_string(lock).unwrap();
        assert!(lock.contains("\"integrity\": \"sha512-"));
        assert!(!lock.contains("resolved") && !lock.contains("://"));
    }

    #[test]
    fn every_test_of_the_page_is_found() {
        let names = test_files(&workspace_root()).unwrap();
        assert_eq!(
            names,
            ["markdown.test.mjs", "page.test.mjs", "serving.test.mjs", "training.test.mjs"]
        );
    }
}
