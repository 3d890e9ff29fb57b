//! llama.cpp from PyPI, built for this machine into an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::fetch::command;

/// As pip takes it. Its wheel is built here: a ready-made one knows AVX2 only.
pub(super) const PACKAGE: &str = "llama-cpp-python==0.3.36";
/// For llama.cpp's own build.
pub(super) const BUILD: &[&str] = &["-DGGML_NATIVE=ON", "-DCMAKE_BUILD_TYPE=Release"];

/// What is said to that build besides: without its programs, and past a fault of a compiler.
const LIBRARY: &str = "library.cmake";
const ADDED: &str = concat!(include_str!("library.cmake"), include_str!("amx.h"));

/// A Python that has llama.cpp, and the program that drives it.
pub(super) struct Peer {
    pub(super) python: PathBuf,
    pub(super) script: PathBuf,
}

/// Makes `models/peers/llama`, unless it's there with just this package and these flags.
pub(super) fn peer(root: &Path) -> anyhow::Result<Peer> {
    let folder = root.join("models/peers/llama");
    let sources = root.join("xtask/src/peers");
    let peer = Peer { python: folder.join("bin/python"), script: sources.join("llama.py") };
    let done = folder.join("built.txt");
    let wanted = format!("{PACKAGE} {}\n{ADDED}", BUILD.join(" "));
    if fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(peer);
    }
    let probe = Command::new("python3").args(["-m", "venv", "--help"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        bail!("python3 with venv is missing: install it (Debian: python3-venv)");
    }
    for compiler in ["cc", "c++"] {
        let probe = Command::new(compiler).arg("--version").output();
        if !probe.is_ok_and(|output| output.status.success()) {
            bail!("{compiler} is missing: install it (Debian: build-essential)");
        }
    }
    println!("llama.cpp: {PACKAGE} from PyPI, built here; that takes some minutes");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove models/peers/llama")?;
    }
    fs::create_dir_all(root.join("models/peers")).context("cannot make models/peers")?;
    command("python3", &["-m", "venv"], &[&folder])?;
    build(&peer, &sources)?;
    // Last: what was begun and not ended is begun anew.
    fs::write(done, wanted).context("cannot write models/peers/llama/built.txt")?;
    Ok(peer)
}

/// Where cargo builds to.
pub(super) fn target(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root.join("target"))
}

fn build(peer: &Peer, sources: &Path) -> anyhow::Result<()> {
    let lean = format!("-DCMAKE_PROJECT_llama.cpp_INCLUDE={}", sources.join(LIBRARY).display());
    let cmake = [BUILD, &["-DLLAVA_BUILD=OFF", &lean]].concat().join(" ");
    let mut pip = Command::new(&peer.python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    // No wheel from a cache: it might have been built with other flags.
    pip.args(["--no-cache-dir", "--no-binary", "llama-cpp-python"]);
    pip.args(["--config-settings=build.targets=llama", PACKAGE]).env("CMAKE_ARGS", cmake);
    let status = pip.status().context("cannot start the environment's python")?;
    if !status.success() {
        bail!("{PACKAGE} could not be built: {status}; what pip said stands above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_has_its_version() {
        assert!(PACKAGE.contains("=="));
    }
}
