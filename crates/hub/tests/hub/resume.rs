//! Downloads that break off, go on, or meet another one.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ruminate_hub::{Error, Snapshot, Wait};

use crate::stand_in::{Answer, Ear, Host, REPO, Seen, Site, StandIn, etag_of, ranged};

const FILE: &str = "thinker-Q4_K_M.gguf";

fn content() -> Vec<u8> {
    Site::gguf().files[FILE].clone()
}

fn blob(cache: &Path) -> PathBuf {
    cache.join("models--acme--thinker/blobs").join(etag_of(FILE, &content()))
}

fn incomplete(cache: &Path) -> PathBuf {
    blob(cache).with_extension("incomplete")
}

fn leave_incomplete(cache: &Path, bytes: &[u8]) {
    let path = incomplete(cache);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The requests for content: their `Range` and `If-Range`.
fn ranges(stand_in: &StandIn) -> Vec<(Option<String>, Option<String>)> {
    let content = stand_in.seen().into_iter().filter(|seen| seen.host == Host::Content);
    let header = |seen: &Seen, name: &str| seen.header(name).map(str::to_owned);
    content.map(|seen| (header(&seen, "range"), header(&seen, "if-range"))).collect()
}

fn assert_whole(cache: &Path, snapshot: &Snapshot) {
    assert_eq!(fs::read(snapshot.model_path()).unwrap(), content());
    assert!(!incomplete(cache).exists());
}

#[test]
fn a_broken_download_goes_on_where_it_stopped_if_the_content_is_the_same() {
    let stand_in = StandIn::scripted(Site::gguf(), |seen, n_before| {
        let breaks = seen.host == Host::Content && n_before == 0;
        breaks
            .then(|| Answer::new(200, &content()).with("ETag", "\"a\"").cut(70_000))
            .or_else(|| (seen.host == Host::Content).then(|| ranged(seen, &content(), "\"a\"")))
    });
    let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
    let snapshot = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap();
    assert_whole(cache.path(), &snapshot);
    let rest = (Some("bytes=70000-".to_owned()), Some("\"a\"".to_owned()));
    assert_eq!(ranges(&stand_in), [(None, None), rest]);
    assert_eq!(ear.waits.len(), 1);
}

#[test]
fn a_download_that_breaks_at_every_64th_part_still_ends() {
    let part = content().len() / 64;
    let stand_in = StandIn::scripted(Site::gguf(), move |seen, _| {
        let whole = (seen.host == Host::Content).then(|| ranged(seen, &content(), "\"a\""))?;
        let sent = part.min(whole.body.len());
        Some(whole.cut(sent))
    });
    let (cache, mut ear) = (tempfile::tempdir().unwrap(), Ear::default());
    let snapshot = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap();
    assert_whole(cache.path(), &snapshot);
    assert_eq!(ranges(&stand_in).len(), 64);
    assert!(ear.waits.iter().all(|(_, delay)| delay.as_secs() == 1), "each part is progress");
}

#[test]
fn a_cancelled_pull_keeps_what_came_and_the_next_one_asks_for_the_rest() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let mut ear = Ear { enough: Some(50_000), ..Ear::default() };
    let error = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    let kept = fs::metadata(incomplete(cache.path())).unwrap().len();
    assert!((50_000..200_000).contains(&kept), "{kept}");
    assert!(!blob(cache.path()).exists());
    let mut ear = Ear::default();
    let snapshot = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap();
    assert_whole(cache.path(), &snapshot);
    // Another process can't know the content host's etag: the hash guards what it appends.
    assert_eq!(ranges(&stand_in)[1], (Some(format!("bytes={kept}-")), None));
    assert_eq!(ear.heard[0], (FILE.to_owned(), kept, 200_000));
}

#[test]
fn a_server_that_ignores_ranges_is_taken_from_the_start() {
    let stand_in = StandIn::scripted(Site::gguf(), |seen, n_before| {
        let whole = (seen.host == Host::Content).then(|| Answer::new(200, &content()))?;
        Some(if n_before == 0 { whole.cut(120_000) } else { whole })
    });
    let cache = tempfile::tempdir().unwrap();
    let snapshot = stand_in.pull(cache.path()).unwrap();
    assert_whole(cache.path(), &snapshot);
    assert_eq!(ranges(&stand_in)[1].0.as_deref(), Some("bytes=120000-"));
}

#[test]
fn content_that_changes_under_way_is_taken_from_the_start() {
    // First other bytes, cut short; then the right ones under another etag, which the server
    // tells by a whole answer, by a range with the new etag, by a range of another length, by
    // one that begins elsewhere, or by refusing the range.
    let other_range = |headers: [&str; 2]| {
        Answer::new(206, &content()[70_000..])
            .with("ETag", headers[0])
            .with("Content-Range", headers[1])
    };
    let answers = [
        ranged(&seen_of(None), &content(), "\"b\""),
        other_range(["\"b\"", "bytes 70000-199999/200000"]),
        other_range(["\"a\"", "bytes 70000-199999/200001"]),
        other_range(["\"a\"", "bytes 60000-199999/200000"]),
        other_range(["\"a\"", "lines 70000-199999/200000"]),
        Answer::new(416, b""),
    ];
    for (i, second) in answers.into_iter().enumerate() {
        let stand_in = StandIn::scripted(Site::gguf(), move |seen, n_before| {
            (seen.host == Host::Content).then(|| match n_before {
                0 => Answer::new(200, &[0; 200_000]).with("ETag", "\"a\"").cut(70_000),
                1 => second.clone(),
                _ => ranged(seen, &content(), "\"b\""),
            })
        });
        let cache = tempfile::tempdir().unwrap();
        let snapshot = stand_in.pull(cache.path()).unwrap();
        assert_whole(cache.path(), &snapshot);
        let n_requests = if i == 0 { 2 } else { 3 };
        let ranges = ranges(&stand_in);
        assert_eq!(ranges.len(), n_requests, "answer {i}");
        assert!(ranges[2..].iter().all(|(range, _)| range.is_none()), "answer {i}");
    }
}

fn seen_of(range: Option<&str>) -> Seen {
    let headers = range.map(|range| ("range".to_owned(), range.to_owned())).into_iter().collect();
    Seen { host: Host::Content, method: "GET".into(), path: "/".into(), headers }
}

#[test]
fn what_an_earlier_run_left_is_used_if_it_is_right_and_replaced_if_it_is_not() {
    let right = content();
    let mut flipped = right.clone();
    flipped[1000] ^= 1;
    let too_long = [&right[..], b"x"].concat();
    let range = |from: usize| Some(format!("bytes={from}-"));
    let cases = [
        (&right[..], vec![]),
        (&right[..150_000], vec![range(150_000)]),
        (&flipped[..150_000], vec![range(150_000), None]),
        (&flipped[..], vec![None]),
        (&too_long[..], vec![None]),
        (&[][..], vec![None]),
    ];
    for (i, (left, expected)) in cases.into_iter().enumerate() {
        let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
        leave_incomplete(cache.path(), left);
        let snapshot = stand_in.pull(cache.path()).unwrap();
        assert_whole(cache.path(), &snapshot);
        let found: Vec<_> = ranges(&stand_in).into_iter().map(|(range, _)| range).collect();
        assert_eq!(found, expected, "case {i}");
    }
}

#[test]
fn a_signed_address_that_has_expired_is_asked_for_anew() {
    let stand_in = StandIn::scripted(Site::gguf(), |seen, n_before| {
        (seen.host == Host::Content && n_before == 0).then(|| Answer::new(403, b"expired"))
    });
    let cache = tempfile::tempdir().unwrap();
    let snapshot = stand_in.pull(cache.path()).unwrap();
    assert_whole(cache.path(), &snapshot);
    let asked = stand_in.seen().into_iter().filter(|seen| seen.path.contains("/resolve/"));
    assert_eq!(asked.filter(|seen| seen.method == "GET").count(), 2);
}

#[test]
fn a_blob_that_another_process_downloads_is_waited_for_and_used() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let locks = cache.path().join(".locks/models--acme--thinker");
    fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{}.lock", etag_of(FILE, &content())))).unwrap();
    lock.lock().unwrap();
    let (path, mut lock) = (blob(cache.path()), Some(lock));
    let other_process = move |n_waits: usize| {
        if n_waits == 3 {
            fs::write(&path, content()).unwrap();
            lock.take();
        }
        ControlFlow::Continue(())
    };
    let mut ear = Ear { meanwhile: Some(Box::new(other_process)), ..Ear::default() };
    let snapshot = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap();
    assert_whole(cache.path(), &snapshot);
    assert_eq!(ear.waits.len(), 3);
    assert!(ear.waits.iter().all(|(why, _)| *why == Wait::Locked { file: FILE.to_owned() }));
    assert_eq!(ranges(&stand_in), []);
}

#[test]
fn a_wait_for_another_process_can_be_cancelled() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let locks = cache.path().join(".locks/models--acme--thinker");
    fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{}.lock", etag_of(FILE, &content())))).unwrap();
    lock.lock().unwrap();
    let meanwhile = Some(Box::new(|_| ControlFlow::Break(())) as _);
    let mut ear = Ear { meanwhile, ..Ear::default() };
    let error = stand_in.pull_as(REPO, cache.path(), &mut ear).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
}

#[test]
fn pulls_at_the_same_time_download_a_blob_once() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let snapshot = stand_in.pull(cache.path()).unwrap();
                assert_eq!(fs::read(snapshot.model_path()).unwrap(), content());
            });
        }
    });
    assert_eq!(ranges(&stand_in).len(), 1);
}

#[test]
fn a_blob_of_the_wrong_size_is_downloaded_again() {
    let (stand_in, cache) = (StandIn::new(Site::gguf()), tempfile::tempdir().unwrap());
    let path = blob(cache.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &content()[..1000]).unwrap();
    let snapshot = stand_in.pull(cache.path()).unwrap();
    assert_whole(cache.path(), &snapshot);
}
