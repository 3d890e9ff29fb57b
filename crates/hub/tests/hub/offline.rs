//! What a copy in the cache is good for when the hub can't be asked.

use std::net::TcpListener;
use std::path::Path;

use ruminate_hub::{Error, Hub, Name, Options, Snapshot, Wait};

use crate::stand_in::{Answer, Ear, Host, REPO, Site, StandIn, tree};

/// A pull from a port where nobody listens.
fn pull_from_nowhere(cache: &Path, offline: bool, ear: &mut Ear) -> Result<Snapshot, Error> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (cache, endpoint) = (cache.to_owned(), format!("http://{port}"));
    let options = Options { cache, endpoint, token: None, offline, proxy: None };
    Hub::new(options).unwrap().pull(&Name::parse(REPO).unwrap(), ear)
}

#[test]
fn offline_a_complete_copy_is_used_and_nothing_is_asked() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    let pulled = stand_in.pull(cache.path()).unwrap();
    let n_seen = stand_in.seen().len();
    let mut options = stand_in.options(cache.path());
    options.offline = true;
    let hub = Hub::new(options).unwrap();
    let found = hub.pull(&Name::parse(REPO).unwrap(), &mut Ear::default()).unwrap();
    assert_eq!(found, Snapshot { is_current: false, ..pulled });
    assert_eq!(stand_in.seen().len(), n_seen);
}

#[test]
fn offline_without_a_copy_the_error_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let error = pull_from_nowhere(cache.path(), true, &mut Ear::default()).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }));
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert_eq!(tree(cache.path()), [""; 0]);
}

#[test]
fn without_a_network_a_complete_copy_is_used_at_once() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let pulled = stand_in.pull(cache.path()).unwrap();
    let mut ear = Ear::default();
    let found = pull_from_nowhere(cache.path(), false, &mut ear).unwrap();
    assert_eq!((found.folder, found.is_current), (pulled.folder, false));
    assert!(ear.waits.is_empty());
}

#[test]
fn without_a_network_and_a_copy_the_error_says_so_after_some_tries() {
    let cache = tempfile::tempdir().unwrap();
    let mut ear = Ear::default();
    let error = pull_from_nowhere(cache.path(), false, &mut ear).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("Check the network"), "{error}");
    let waits: Vec<_> = ear.waits.iter().map(|(_, delay)| delay.as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16]);
    assert!(ear.waits.iter().all(|(why, _)| matches!(why, Wait::Retry(_))));
}

#[test]
fn a_hub_that_is_down_is_answered_for_by_the_copy_but_a_refusal_is_not() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    stand_in.pull(cache.path()).unwrap();
    for status in [429, 500, 503] {
        let down = StandIn::scripted(Site::gguf(), move |_, _| Some(Answer::new(status, b"")));
        assert!(!down.pull(cache.path()).unwrap().is_current, "{status}");
    }
    for status in [401, 403, 404] {
        let refusing = StandIn::scripted(Site::gguf(), move |_, _| Some(Answer::new(status, b"")));
        refusing.pull(cache.path()).unwrap_err();
    }
}

#[test]
fn a_copy_without_one_of_its_shards_is_no_copy() {
    let (stand_in, cache) = (StandIn::new(Site::sharded()), tempfile::tempdir().unwrap());
    let pulled = stand_in.pull(cache.path()).unwrap();
    let name = Name::parse(REPO).unwrap();
    let hub = Hub::new(stand_in.options(cache.path())).unwrap();
    assert!(hub.find_cached(&name).is_some());
    let weights = pulled.files.iter().filter(|file| file.extension().unwrap() == "safetensors");
    let needed =
        ["config.json", "model.safetensors.index.json"].map(|file| pulled.folder.join(file));
    for file in weights.chain(&needed) {
        let blob = std::fs::canonicalize(file).unwrap();
        let aside = blob.with_extension("aside");
        // The link stays, and leads nowhere.
        std::fs::rename(&blob, &aside).unwrap();
        assert_eq!(hub.find_cached(&name), None, "{}", file.display());
        std::fs::rename(&aside, &blob).unwrap();
    }
    assert!(hub.find_cached(&name).is_some());
}

#[test]
fn an_interrupted_update_leaves_the_older_model_usable() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let older = stand_in.pull(cache.path()).unwrap();
    let mut site = Site::new(&[("thinker-Q4_K_M.gguf", &[9; 200_000])]);
    site.commit = "f".repeat(40);
    let updated = StandIn::new(site);
    let mut ear = Ear { enough: Some(1), ..Ear::default() };
    let error = updated.pull_as(REPO, cache.path(), &mut ear).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    let found = pull_from_nowhere(cache.path(), true, &mut Ear::default()).unwrap();
    assert_eq!(found.files, older.files);
    let newer = updated.pull(cache.path()).unwrap();
    assert_eq!(newer.commit, "f".repeat(40));
    let found = pull_from_nowhere(cache.path(), true, &mut Ear::default()).unwrap();
    assert_eq!(found.files, newer.files);
    assert_eq!(updated.n_seen(Host::Content, "GET"), 2);
}
