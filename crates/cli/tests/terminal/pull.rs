//! `ruminate pull`, and names of the hub where a model is expected.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::shared::{ruminate, run};
use crate::{golden, json};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache that holds a tiny model as `org/tiny`.
fn cache() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let repo = home.path().join("hub/models--org--tiny");
    let (blobs, snapshot) = (repo.join("blobs"), repo.join("snapshots").join(COMMIT));
    for folder in [&blobs, &snapshot, &repo.join("refs")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let bytes = fs::read(golden("llama").join(file)).unwrap();
        let digest = Sha256::digest(&bytes);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&hash), bytes).unwrap();
        symlink(Path::new("../../blobs").join(hash), snapshot.join(file)).unwrap();
    }
    home
}

fn offline(home: &TempDir) -> Command {
    let mut command = ruminate();
    command.env("HF_HOME", home.path()).env("HF_HUB_OFFLINE", "1");
    command
}

fn snapshot(home: &TempDir) -> String {
    let path = home.path().join("hub/models--org--tiny/snapshots").join(COMMIT);
    path.to_str().unwrap().to_string()
}

const OLD: &str = "ruminate: org/tiny: using the copy of commit 0123456789ab, which may be old: \
                   the hub was not asked\n";

#[test]
fn the_path_is_printed_and_an_old_copy_is_called_so() {
    let home = cache();
    let ended = run(offline(&home).args(["pull", "org/tiny"]), "");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), OLD));
    assert_eq!(ended.out, snapshot(&home) + "\n");
}

#[test]
fn a_hub_that_cannot_be_reached_leaves_the_copy() {
    let home = cache();
    let mut command = ruminate();
    let ended = run(command.env("HF_HOME", home.path()).args(["pull", "org/tiny"]), "");
    assert_eq!((ended.code, ended.out), (Some(0), snapshot(&home) + "\n"));
    assert!(ended.err.ends_with(OLD), "{}", ended.err);
}

#[test]
fn the_json_of_a_pull_names_its_files() {
    let home = cache();
    let ended = run(offline(&home).args(["pull", "org/tiny", "--json", "--verify"]), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = json(&ended.out);
    assert_eq!(found["name"], "org/tiny");
    assert_eq!(found["path"], snapshot(&home));
    assert_eq!(found["commit"], COMMIT);
    assert_eq!(found["quant"], serde_json::Value::Null);
    assert_eq!((&found["current"], &found["verified"]), (&false.into(), &true.into()));
    let files = found["files"].as_array().unwrap();
    assert_eq!(files.len(), 4);
    let total: u64 = files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    assert_eq!(found["bytes"], total);
    // Off a terminal each file gets a line.
    assert!(ended.err.contains("ruminate: verifying model.safetensors: "), "{}", ended.err);
}

#[test]
fn a_damaged_file_is_found() {
    let home = cache();
    let path = Path::new(&snapshot(&home)).join("model.safetensors");
    let blob = fs::canonicalize(path).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let ended = run(offline(&home).args(["pull", "org/tiny", "--verify"]), "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    let last = ended.err.lines().last().unwrap();
    let start = format!("ruminate: {}: damaged (its hash is ", blob.display());
    assert!(last.starts_with(&start), "{last}");
    assert!(last.ends_with("). Delete it and pull the model again"), "{last}");
}

#[test]
fn a_name_is_a_model_wherever_one_is_asked_for() {
    let home = cache();
    let flags = ["--temperature", "0", "--max-tokens", "8", "Hello"];
    let by_name = run(offline(&home).args(["run", "org/tiny"]).args(flags), "");
    let by_path = run(ruminate().arg("run").arg(golden("llama")).args(flags), "");
    assert_eq!((by_name.code, by_name.out), (Some(0), by_path.out));
    assert!(by_name.err.starts_with(OLD), "{}", by_name.err);
}
