//! Servers that refuse, are busy, or don't keep their word.

use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use ruminate_hub::{Error, Hub, Options};

use crate::stand_in::{Answer, COMMIT, Ear, Host, REPO, Site, StandIn, etag_of, listing, tree};

const FILE: &str = "thinker-Q4_K_M.gguf";

/// A site whose listing is answered in another way.
fn listed_as(answer: impl Fn() -> Answer + Send + Sync + 'static) -> StandIn {
    StandIn::scripted(Site::gguf(), move |seen, _| {
        seen.path.starts_with("/api/models/").then(&answer)
    })
}

/// A site whose content host answers in another way.
fn content_as(answer: impl Fn() -> Answer + Send + Sync + 'static) -> StandIn {
    StandIn::scripted(Site::gguf(), move |seen, _| (seen.host == Host::Content).then(&answer))
}

#[test]
fn a_wrong_hash_is_an_error_and_nothing_of_the_file_is_kept() {
    let mut flipped = Site::gguf().files[FILE].clone();
    flipped[100_000] ^= 1;
    let weights = content_as(move || Answer::new(200, &flipped));
    let config = StandIn::scripted(Site::sharded(), |seen, _| {
        let config = seen.method == "GET" && seen.path.ends_with("/config.json");
        config.then(|| Answer::new(200, b"{\"model_type\":\"lLama\"}"))
    });
    for (stand_in, file) in [(weights, FILE), (config, "config.json")] {
        let cache = tempfile::tempdir().unwrap();
        match stand_in.pull(cache.path()) {
            Err(Error::Hash { file: named, .. }) => assert_eq!(named, file),
            other => panic!("{other:?}"),
        }
        let repo = cache.path().join("models--acme--thinker");
        assert_eq!(fs::read_dir(repo.join("blobs")).unwrap().count(), 0);
        assert!(!repo.join("snapshots").exists() && !repo.join("refs").exists());
    }
}

#[test]
fn a_file_that_always_ends_too_soon_is_an_error_after_some_tries() {
    let stand_in = content_as(|| Answer::new(200, &Site::gguf().files[FILE]).cut(500));
    let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
    match stand_in.pull_as(REPO, cache.path(), &mut ear) {
        Err(Error::Truncated { file, found: 500, expected: 200_000 }) => assert_eq!(file, FILE),
        other => panic!("{other:?}"),
    }
    assert_eq!(stand_in.n_seen(Host::Content, "GET"), 6);
}

#[test]
fn a_file_shorter_or_longer_than_the_hub_said_is_an_error() {
    let short = content_as(|| Answer::new(200, &[0; 1000]));
    let cache = tempfile::tempdir().unwrap();
    let error = short.pull(cache.path()).unwrap_err();
    assert!(matches!(error, Error::Truncated { found: 1000, expected: 200_000, .. }), "{error}");
    let long = content_as(|| Answer::new(200, &[0; 200_001]));
    let cache = tempfile::tempdir().unwrap();
    let error = long.pull(cache.path()).unwrap_err();
    assert!(error.to_string().contains("longer than the hub said"), "{error}");
    assert_eq!(long.n_seen(Host::Content, "GET"), 1);
}

#[test]
fn a_busy_server_is_asked_again_when_it_says_so() {
    let stand_in = StandIn::scripted(Site::gguf(), |_, n_before| match n_before {
        0 => Some(Answer::new(429, b"").with("Retry-After", "7")),
        1 => Some(Answer::new(503, b"")),
        _ => None,
    });
    let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
    stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap();
    let waits: Vec<_> = ear.waits.iter().map(|(_, delay)| delay.as_secs()).collect();
    // The listing, the description, the hub's redirect to the content, the content: the last two
    // are one request to a client, whose patience shrinks with each failure.
    assert_eq!(waits, [7, 2, 7, 2, 7, 2, 7, 8]);
    assert!(ear.waits[0].0.to_string().contains("HTTP 429"), "{}", ear.waits[0].0);
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    for status in [408, 429, 500, 502, 503, 504] {
        let stand_in = listed_as(move || Answer::new(status, b""));
        let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
        match stand_in.pull_as(REPO, cache.path(), &mut ear) {
            Err(Error::Refused { status: named, .. }) => assert_eq!(named, status),
            other => panic!("{other:?}"),
        }
        let delays: Vec<_> = ear.waits.iter().map(|(_, delay)| *delay).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16].map(Duration::from_secs));
    }
    let stand_in = listed_as(|| Answer::new(429, b"").with("Retry-After", "86400"));
    let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
    stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap_err();
    assert!(ear.waits.is_empty(), "nobody waits for a day");
}

#[test]
fn a_wait_for_a_busy_server_can_be_cancelled() {
    let stand_in = listed_as(|| Answer::new(503, b""));
    let cache = tempfile::tempdir().unwrap();
    let meanwhile = Some(Box::new(|_| ControlFlow::Break(())) as _);
    let mut ear = Ear { meanwhile, ..Ear::default() };
    let error = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
}

#[test]
fn a_refusal_is_told_in_words_that_say_what_to_do_and_is_not_repeated() {
    type Is = fn(&Error) -> bool;
    let cases: [(u16, &str, bool, Is, &str); 9] = [
        (404, "RepoNotFound", false, |e| matches!(e, Error::NoSuchModel { .. }), REPO),
        (404, "", false, |e| matches!(e, Error::NoSuchModel { .. }), REPO),
        (401, "RepoNotFound", true, |e| matches!(e, Error::NoSuchModel { .. }), "HF_TOKEN"),
        (401, "", false, |e| matches!(e, Error::NoSuchModel { .. }), "HF_TOKEN"),
        (401, "", true, |e| matches!(e, Error::Unauthorized { .. }), "HF_TOKEN"),
        (403, "", true, |e| matches!(e, Error::Unauthorized { .. }), "HF_TOKEN"),
        (401, "GatedRepo", false, |e| matches!(e, Error::Gated { .. }), "consent"),
        (403, "GatedRepo", true, |e| matches!(e, Error::Gated { .. }), "consent"),
        (418, "", false, |e| matches!(e, Error::Refused { status: 418, .. }), "418"),
    ];
    for (status, code, has_token, is_right, words) in cases {
        let stand_in = listed_as(move || Answer::new(status, b"").with("X-Error-Code", code));
        let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
        let name = ruminate_hub::Name::parse(REPO).unwrap();
        let error = match has_token {
            true => stand_in.hub_with_token(cache.path()).pull(&name, &mut ear).unwrap_err(),
            false => stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap_err(),
        };
        assert!(is_right(&error), "{status} {code}: {error:?}");
        assert!(error.to_string().contains(words) && error.to_string().contains(REPO), "{error}");
        assert!(!error.to_string().contains("hf_secret") && ear.waits.is_empty());
        assert_eq!(tree(cache.path()), [""; 0]);
    }
    let stand_in = StandIn::new(Site::gguf());
    let cache = tempfile::tempdir().unwrap();
    let name = format!("{REPO}@v2");
    let error = stand_in.pull_as(&name, cache.path(), &mut Ear::default()).unwrap_err();
    assert!(matches!(error, Error::NoSuchModel { .. } | Error::NoSuchRevision { .. }), "{error}");
    let stand_in = listed_as(|| Answer::new(404, b"").with("X-Error-Code", "RevisionNotFound"));
    let error = stand_in.pull_as(&name, cache.path(), &mut Ear::default()).unwrap_err();
    assert!(matches!(&error, Error::NoSuchRevision { revision, .. } if revision == "v2"));
}

#[test]
fn a_file_name_that_leaves_the_cache_is_refused_before_anything_is_written() {
    for name in [
        "../evil.gguf",
        "../../../../evil.safetensors",
        "/etc/evil.gguf",
        "a/../../evil.gguf",
        "a\\..\\evil.gguf",
        "a//evil.gguf",
        ".hidden/evil.gguf",
        "C:evil.gguf",
        "e\u{1b}[2J.gguf",
        "e\0.gguf",
    ] {
        let files = [FILE.to_owned(), name.to_owned()];
        let stand_in = listed_as(move || Answer::new(200, listing(COMMIT, &files).as_bytes()));
        let cache = tempfile::tempdir().unwrap();
        match stand_in.pull(cache.path()) {
            Err(error @ Error::HostileFile { .. }) => {
                assert!(!error.to_string().contains('\u{1b}'), "{error}");
            }
            other => panic!("{name:?}: {other:?}"),
        }
        assert_eq!(tree(cache.path()), [""; 0]);
    }
}

#[test]
fn an_index_may_name_only_files_that_the_hub_lists() {
    for shard in ["../../../../evil.safetensors", "/etc/evil.safetensors", "other.safetensors"] {
        let mut site = Site::sharded();
        let index = serde_json::json!({ "weight_map": { "a": shard } }).to_string();
        site.files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
        let (stand_in, cache) = (StandIn::new(site), tempfile::tempdir().unwrap());
        let error = stand_in.pull(cache.path()).unwrap_err();
        assert!(matches!(error, Error::Choice { .. }), "{shard}: {error}");
        assert_eq!(stand_in.n_seen(Host::Content, "GET"), 0);
    }
}

#[test]
fn a_listing_that_makes_no_sense_is_an_error() {
    let many: Vec<_> = (0..10_001).map(|i| format!("{i}.json")).collect();
    let one = [FILE.to_owned()];
    let answers = [
        Answer::new(200, b""),
        Answer::new(200, b"<html>"),
        Answer::new(200, b"{}"),
        Answer::new(200, listing("main", &one).as_bytes()),
        Answer::new(200, listing("../../../../../../../../../../../../evil", &one).as_bytes()),
        Answer::new(200, listing(COMMIT, &many).as_bytes()),
        Answer::new(200, &vec![b' '; (16 << 20) + 1]),
        Answer::new(200, "[".repeat(100_000).as_bytes()),
        Answer::new(302, b""),
        Answer::redirect("/api/models/again"),
        Answer::redirect("ftp://127.0.0.1/"),
        Answer::redirect("file:///etc/passwd"),
    ];
    for (i, answer) in answers.into_iter().enumerate() {
        let stand_in = listed_as(move || answer.clone());
        let cache = tempfile::tempdir().unwrap();
        let error = stand_in.pull(cache.path()).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{i}: {error:?}");
        assert!(stand_in.seen().len() <= 10, "{i}");
        assert_eq!(tree(cache.path()), [""; 0]);
    }
}

#[test]
fn a_description_without_a_hash_a_size_or_the_right_commit_is_an_error() {
    let site = Site::gguf();
    let etag = etag_of(FILE, &site.files[FILE]);
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    let traversal = format!("../../{}", "a".repeat(58));
    let other = "f".repeat(40);
    for (etag, size, commit, words) in [
        (md5, "200000", COMMIT, "etag"),
        ("", "200000", COMMIT, "etag"),
        (&traversal, "200000", COMMIT, "etag"),
        (&etag, "", COMMIT, "size"),
        (&etag, "-1", COMMIT, "size"),
        (&etag, "200000", &other, "commit"),
        (&etag, "200000", "", "commit"),
    ] {
        let answer = Answer::redirect("http://127.0.0.1:1/")
            .with("X-Linked-Etag", etag)
            .with("X-Linked-Size", size)
            .with("X-Repo-Commit", commit);
        let stand_in = StandIn::scripted(site.clone(), move |seen, _| {
            (seen.method == "HEAD").then(|| answer.clone())
        });
        let cache = tempfile::tempdir().unwrap();
        let error = stand_in.pull(cache.path()).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }) && error.to_string().contains(words));
        assert_eq!(stand_in.n_seen(Host::Content, "GET"), 0);
    }
}

#[test]
fn a_model_larger_than_the_disk_is_refused_before_its_first_byte() {
    let site = Site::gguf();
    let etag = etag_of(FILE, &site.files[FILE]);
    for size in [1 << 60, u64::MAX] {
        let answer = Answer::redirect("http://127.0.0.1:1/")
            .with("X-Linked-Etag", etag.as_str())
            .with("X-Linked-Size", size.to_string())
            .with("X-Repo-Commit", COMMIT);
        let stand_in = StandIn::scripted(site.clone(), move |seen, _| {
            (seen.method == "HEAD").then(|| answer.clone())
        });
        let cache = tempfile::tempdir().unwrap();
        match stand_in.pull(cache.path()) {
            Err(error @ Error::DiskFull { needed, .. }) => {
                assert_eq!(needed, size);
                let path = cache.path().to_str().unwrap();
                assert!(error.to_string().contains(path), "{error}");
                assert!(error.to_string().contains(&size.to_string()), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(stand_in.n_seen(Host::Content, "GET"), 0);
    }
}

#[test]
fn a_repository_of_pickles_is_refused_with_the_reason() {
    let site = Site::new(&[("config.json", b"{}"), ("pytorch_model.bin", b"pickle")]);
    let (stand_in, cache) = (StandIn::new(site), tempfile::tempdir().unwrap());
    let error = stand_in.pull(cache.path()).unwrap_err();
    assert!(error.to_string().contains("pickles"), "{error}");
    assert_eq!(stand_in.seen().len(), 1);
}

#[test]
fn an_endpoint_that_is_no_address_is_refused() {
    for endpoint in [
        "",
        "hub",
        "ftp://hub",
        "file:///etc",
        "http://",
        "http://a@b/",
        "http://a/?x",
        "http://a b",
    ] {
        let (cache, endpoint) = ("/nowhere".into(), endpoint.to_owned());
        let options = Options { cache, endpoint, token: None, offline: false, proxy: None };
        let error = Hub::new(options).err().unwrap();
        assert!(matches!(error, Error::Setting { key: "HF_ENDPOINT", .. }), "{error}");
    }
}
