//! What lies in the cache after a pull, and that a later one finds it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ruminate_hub::{Error, Hub, Name, Options};

use crate::stand_in::{COMMIT, Ear, Host, REPO, Site, StandIn, tree};

/// What `huggingface_hub` 2.4.0 leaves of `Site::sharded` (its `trees/` apart, a listing that it
/// keeps for itself), recorded by `snapshot_download` with the patterns `config.json`,
/// `generation_config.json`, `model*.safetensors`, `*.index.json` and `tokenizer*.json`.
const PYTHONS_TREE: &str = "\
.locks/models--acme--thinker/003164e6603fa379c3e677ac09e2b6e5b761d47bd7418e9e5642196d2d26f536.lock 0
.locks/models--acme--thinker/0972e95c1405cc1507c19dcbe784f7a36c930907.lock 0
.locks/models--acme--thinker/0c70022fc37e6c83977f93693650a2e68963551acfdf512828018fdb4988a492.lock 0
.locks/models--acme--thinker/4fbc8a118f9da4299564c191de24814bd3eefccf.lock 0
.locks/models--acme--thinker/9e26dfeeb6e641a33dae4961196235bdb965b21b.lock 0
.locks/models--acme--thinker/a5b864feb18d25adaddcd304caf183122682a27f.lock 0
CACHEDIR.TAG 191
models--acme--thinker/blobs/003164e6603fa379c3e677ac09e2b6e5b761d47bd7418e9e5642196d2d26f536 3000
models--acme--thinker/blobs/0972e95c1405cc1507c19dcbe784f7a36c930907 22
models--acme--thinker/blobs/0c70022fc37e6c83977f93693650a2e68963551acfdf512828018fdb4988a492 2000
models--acme--thinker/blobs/4fbc8a118f9da4299564c191de24814bd3eefccf 115
models--acme--thinker/blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b 2
models--acme--thinker/blobs/a5b864feb18d25adaddcd304caf183122682a27f 20
models--acme--thinker/refs/main 40
models--acme--thinker/snapshots/COMMIT/config.json -> ../../blobs/0972e95c1405cc1507c19dcbe784f7a36c930907
models--acme--thinker/snapshots/COMMIT/generation_config.json -> ../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b
models--acme--thinker/snapshots/COMMIT/model-00001-of-00002.safetensors -> ../../blobs/003164e6603fa379c3e677ac09e2b6e5b761d47bd7418e9e5642196d2d26f536
models--acme--thinker/snapshots/COMMIT/model-00002-of-00002.safetensors -> ../../blobs/0c70022fc37e6c83977f93693650a2e68963551acfdf512828018fdb4988a492
models--acme--thinker/snapshots/COMMIT/model.safetensors.index.json -> ../../blobs/4fbc8a118f9da4299564c191de24814bd3eefccf
models--acme--thinker/snapshots/COMMIT/tokenizer.json -> ../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b
models--acme--thinker/snapshots/COMMIT/tokenizer_config.json -> ../../blobs/a5b864feb18d25adaddcd304caf183122682a27f";

fn pythons_tree() -> String {
    PYTHONS_TREE.replace("COMMIT", COMMIT)
}

/// Lays out the recorded tree, with the contents that the site has.
fn lay_out_pythons_tree(cache: &Path) {
    let site = Site::sharded();
    for line in pythons_tree().lines() {
        let path = cache.join(line.split(' ').next().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some((_, target)) = line.split_once(" -> ") {
            symlink(target, &path).unwrap();
            let content = &site.files[path.file_name().unwrap().to_str().unwrap()];
            fs::write(path.parent().unwrap().join(target), content).unwrap();
        }
    }
    let repo = cache.join("models--acme--thinker");
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    // What Python adds for itself, and what an interrupted run of it leaves.
    fs::create_dir_all(repo.join("trees")).unwrap();
    fs::create_dir_all(repo.join(".no_exist").join(COMMIT)).unwrap();
    fs::write(repo.join("blobs/abc.0123abcd.incomplete"), "half").unwrap();
}

fn offline(cache: &Path) -> Hub {
    let endpoint = "http://127.0.0.1:1".to_owned();
    let cache = cache.to_owned();
    Hub::new(Options { cache, endpoint, token: None, offline: true, proxy: None }).unwrap()
}

#[test]
fn a_pull_leaves_exactly_what_python_leaves_and_only_what_a_model_needs() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    let snapshot = stand_in.pull(cache.path()).unwrap();
    assert_eq!(tree(cache.path()).join("\n"), pythons_tree());
    let main = cache.path().join("models--acme--thinker/refs/main");
    assert_eq!(fs::read_to_string(main).unwrap(), COMMIT);
    assert_eq!(snapshot.model_path(), snapshot.folder);
    assert_eq!((snapshot.commit.as_str(), snapshot.is_current), (COMMIT, true));
    for (path, content) in Site::sharded().files {
        let path = snapshot.folder.join(path);
        assert_eq!(snapshot.files.contains(&path), path.exists());
        assert!(!path.exists() || fs::read(path).unwrap() == content);
    }
}

#[test]
fn what_python_downloaded_is_found_and_not_downloaded_again() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    lay_out_pythons_tree(cache.path());
    let before = tree(cache.path());
    let name = Name::parse(REPO).unwrap();
    let found = offline(cache.path()).find_cached(&name).unwrap();
    found.verify(&mut Ear::default()).unwrap();
    let pulled = stand_in.pull(cache.path()).unwrap();
    assert_eq!((pulled.folder, pulled.files), (found.folder, found.files));
    assert_eq!((found.is_current, pulled.is_current), (false, true));
    assert_eq!(stand_in.seen().len(), 1, "only the listing is asked for");
    assert_eq!(tree(cache.path()), before);
}

#[test]
fn a_commit_or_a_tag_names_a_model_as_well_as_main_does() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let name = format!("{REPO}@{COMMIT}");
    let snapshot = stand_in.pull_as(&name, cache.path(), &mut Ear::default()).unwrap();
    let refs = cache.path().join("models--acme--thinker/refs");
    assert!(!refs.exists(), "a commit needs no ref");
    fs::create_dir_all(refs.join("refs/pr")).unwrap();
    fs::write(refs.join("refs/pr/1"), COMMIT).unwrap();
    for revision in [COMMIT, "refs/pr/1"] {
        let name = Name::parse(&format!("{REPO}@{revision}")).unwrap();
        let found = offline(cache.path()).find_cached(&name).unwrap();
        assert_eq!(found.files, snapshot.files);
    }
    fs::write(refs.join("evil"), "../../../../etc").unwrap();
    let name = Name::parse(&format!("{REPO}@evil")).unwrap();
    assert_eq!(offline(cache.path()).find_cached(&name), None);
}

#[test]
fn a_split_gguf_comes_whole_and_opens_at_its_first_file() {
    let site = Site::new(&[
        ("Q4_K_M/thinker-Q4_K_M-00001-of-00002.gguf", &[1; 100]),
        ("Q4_K_M/thinker-Q4_K_M-00002-of-00002.gguf", &[2; 100]),
        ("thinker-Q8_0.gguf", &[3; 100]),
        ("generation_config.json", b"{}"),
        ("config.json", b"{}"),
    ]);
    let (stand_in, cache) = (StandIn::new(site), tempfile::tempdir().unwrap());
    let name = format!("{REPO}:q4_k_m");
    let snapshot = stand_in.pull_as(&name, cache.path(), &mut Ear::default()).unwrap();
    let first = "Q4_K_M/thinker-Q4_K_M-00001-of-00002.gguf";
    assert_eq!(snapshot.model_path(), snapshot.folder.join(first));
    assert_eq!(fs::read(snapshot.model_path()).unwrap(), [1; 100]);
    assert_eq!(snapshot.quant.as_deref(), Some("q4_k_m"));
    let names: Vec<_> =
        snapshot.files.iter().map(|file| file.strip_prefix(&snapshot.folder).unwrap()).collect();
    let second = "Q4_K_M/thinker-Q4_K_M-00002-of-00002.gguf";
    assert_eq!(names, ["generation_config.json", first, second].map(Path::new));
    let target = fs::read_link(snapshot.model_path()).unwrap();
    assert!(target.starts_with("../../../blobs"), "{}", target.display());
    // Half of it is no model.
    fs::remove_file(snapshot.folder.join(second)).unwrap();
    assert_eq!(offline(cache.path()).find_cached(&Name::parse(&name).unwrap()), None);
}

#[test]
fn a_quantisation_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let name = format!("{REPO}:Q6_K");
    let error = stand_in.pull_as(&name, cache.path(), &mut Ear::default()).unwrap_err();
    assert!(matches!(error, Error::Choice { .. }));
    assert!(error.to_string().contains("thinker-Q4_K_M"), "{error}");
    assert_eq!(tree(cache.path()), [""; 0]);
}

#[test]
fn verify_names_the_blob_whose_bytes_have_changed() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    let snapshot = stand_in.pull(cache.path()).unwrap();
    let mut ear = Ear::default();
    snapshot.verify(&mut ear).unwrap();
    assert_eq!(ear.heard.len(), snapshot.files.len());
    for file in &snapshot.files {
        let blob = fs::canonicalize(file).unwrap();
        let whole = fs::read(&blob).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1]] {
            fs::write(&blob, damaged).unwrap();
            match snapshot.verify(&mut Ear::default()) {
                Err(Error::Damaged { path, .. }) => assert_eq!(path, blob),
                other => panic!("{other:?}"),
            }
        }
        fs::write(&blob, whole).unwrap();
    }
    snapshot.verify(&mut Ear::default()).unwrap();
}

#[test]
fn progress_tells_every_file_up_to_its_size() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    let mut ear = Ear::default();
    stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap();
    let last = ear.heard.last().unwrap();
    assert_eq!(last, &("model-00002-of-00002.safetensors".to_owned(), 2000, 2000));
    assert!(ear.heard.contains(&("config.json".to_owned(), 22, 22)));
    assert!(ear.waits.is_empty());
    assert_eq!(stand_in.n_seen(Host::Content, "GET"), 2);
}
