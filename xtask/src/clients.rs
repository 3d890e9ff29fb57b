//! Clients of others that the server is tested with, from PyPI into an environment of their own.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::fetch::command;

/// As pip takes them.
const PACKAGES: &[&str] = &["anthropic==2.12.0", "openai==3.54.0", "schemathesis==4.32.5"];

/// Makes `models/clients`, unless it's there with just these packages.
pub(crate) fn run(models: &Path) -> anyhow::Result<()> {
    let folder = models.join("clients");
    let list = folder.join("packages.txt");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&list).is_ok_and(|found| found == wanted) {
        println!("clients: there");
        return Ok(());
    }
    println!("clients: {} from PyPI", PACKAGES.join(", "));
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove models/clients")?;
    }
    fs::create_dir_all(models).context("cannot make models/")?;
    command("python3", &["-m", "venv"], &[&folder])?;
    let python = folder.join("bin").join("python");
    let python = python.to_str().context("the path of the workspace is not UTF-8")?;
    const INSTALL: &[&str] = &["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    command(python, &[INSTALL, PACKAGES].concat(), &[])?;
    // Last: what was begun and not ended is begun anew.
    fs::write(list, wanted).context("cannot write models/clients/packages.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_its_version() {
        assert!(PACKAGES.iter().all(|package| package.contains("==")));
    }
}
