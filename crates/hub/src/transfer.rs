//! One file from the hub into its blob, over as many requests as it takes.

use std::io::Read;

use ureq::http::{Method, Response, header};
use ureq::{Body, http::HeaderMap};

use crate::cache::Repo;
use crate::http::{Ask, Failure, Http, Patience, RETRIES_MAX};
use crate::partial::{CHUNK_BYTES, Partial};
use crate::remote::{self, Remote};
use crate::{Error, Name, Progress};

/// Brings a file's content under its etag. Does nothing if it's there.
pub(crate) fn fetch(
    http: &Http,
    repo: &Repo,
    (name, commit): (&Name, &str),
    remote: &Remote,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let _lock = repo.lock(&remote.etag, &remote.path, progress)?;
    // Another process may have brought it while this one waited.
    if repo.has_blob(&remote.etag, remote.size) {
        return Ok(());
    }
    let path = repo.incomplete(&remote.etag);
    let mut partial = Partial::open(&path, remote, progress)?;
    let mut is_resumed = partial.len() > 0;
    let ask = remote::ask_file(http, name, commit, &remote.path, Method::GET);
    loop {
        fill(http, &ask, &mut partial, remote, progress)?;
        let found = partial.hex();
        if found == remote.etag.as_str() {
            return partial.commit(&repo.blob(&remote.etag));
        }
        if !is_resumed {
            partial.discard()?;
            let (file, expected) = (remote.path.clone(), remote.etag.as_str().to_owned());
            return Err(Error::Hash { file, found, expected });
        }
        // What an earlier run left may be the fault: once more, all of it.
        partial.restart()?;
        is_resumed = false;
    }
}

/// Requests the rest until there is no rest.
fn fill(
    http: &Http,
    ask: &Ask<'_>,
    partial: &mut Partial,
    remote: &Remote,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut patience = Patience::new(RETRIES_MAX);
    // The etag of the host that serves the content, which needn't be the hub's. It's known only
    // to the process that saw it; what a later one appends to is guarded by the hash.
    let mut validator = None;
    // A server that sends from the start each time makes no progress by sending it again.
    let mut furthest = partial.len();
    while !partial.is_complete() {
        let Err(failure) = receive(http, ask, partial, &mut validator, (remote, progress)) else {
            continue;
        };
        if partial.len() > furthest {
            furthest = partial.len();
            patience.renew();
        }
        patience.bear(failure, progress)?;
    }
    Ok(())
}

/// One request for the rest, and as much of the answer as comes.
fn receive(
    http: &Http,
    ask: &Ask<'_>,
    partial: &mut Partial,
    validator: &mut Option<String>,
    (remote, progress): (&Remote, &mut dyn Progress),
) -> Result<(), Failure> {
    let (method, url) = (ask.method.clone(), ask.url.clone());
    let mut ranged = Ask { repo: ask.repo, what: ask.what, method, url, headers: vec![] };
    if partial.len() > 0 {
        ranged.headers.push((header::RANGE, format!("bytes={}-", partial.len())));
        if let Some(validator) = validator {
            ranged.headers.push((header::IF_RANGE, validator.clone()));
        }
    }
    let reply = http.follow(&ranged, |_| false)?;
    if reply.response.status() == 416 {
        partial.restart()?;
        let error = remote::nonsense(ask, "it has no such range");
        return Err(Failure::Passing { error, after: None });
    }
    let mut response = http.judge(reply, ask)?;
    check_range(ask, &response, partial, validator, remote)?;
    *validator = strong_etag(response.headers());
    drain(ask, response.body_mut(), partial, remote, progress)
}

/// Makes the partial blob ready for an answer: from where it is, or from the start.
fn check_range(
    ask: &Ask<'_>,
    response: &Response<Body>,
    partial: &mut Partial,
    validator: &mut Option<String>,
    remote: &Remote,
) -> Result<(), Failure> {
    if response.status() != 206 {
        // The range was ignored, or the content is no longer the one we began.
        partial.restart()?;
        return Ok(());
    }
    let range = remote::text(response.headers(), "content-range").and_then(parse_range);
    let same = validator.is_none() || strong_etag(response.headers()) == *validator;
    match range {
        Some((from, total)) if from == partial.len() && total == remote.size && same => Ok(()),
        _ => {
            partial.restart()?;
            *validator = None;
            let error = remote::nonsense(ask, "it is a range of something else");
            Err(Failure::Passing { error, after: None })
        }
    }
}

fn drain(
    ask: &Ask<'_>,
    body: &mut Body,
    partial: &mut Partial,
    remote: &Remote,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    // One byte more than there should be is enough to know.
    let rest = (remote.size - partial.len()).saturating_add(1);
    let mut reader = body.with_config().limit(u64::MAX).reader().take(rest);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // An end that comes too soon is the same failure whether the server or the network did it.
        let n = reader.read(&mut chunk).unwrap_or(0);
        if n == 0 {
            break;
        }
        if partial.len() + n as u64 > remote.size {
            partial.restart()?;
            return Err(remote::nonsense(ask, "it is longer than the hub said").into());
        }
        partial.append(&chunk[..n])?;
        if progress.advance(&remote.path, partial.len(), remote.size).is_break() {
            return Err(Error::Cancelled.into());
        }
    }
    if partial.is_complete() {
        return Ok(());
    }
    let (found, expected) = (partial.len(), remote.size);
    let error = Error::Truncated { file: remote.path.clone(), found, expected };
    Err(Failure::Passing { error, after: None })
}

/// An etag that stands for the same bytes; a weak one stands for the same meaning.
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let etag = remote::text(headers, "etag")?;
    etag.starts_with('"').then(|| etag.to_owned())
}

/// First byte and total of `bytes 100-199/200`.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.parse().ok()?, total.parse().ok()?))
}
