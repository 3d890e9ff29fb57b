//! What the hub says: the files of a revision, and the size and hash of each.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::{HeaderMap, Method, header};

use crate::cache::is_commit;
use crate::digest::Etag;
use crate::http::{Ask, Failure, Http, RETRIES_MAX, retry};
use crate::select;
use crate::{Error, Name, Progress};

/// A listing of ten thousand files has about 1 MB.
const LISTING_BYTES_MAX: u64 = 16 << 20;
const FILES_MAX: usize = 10_000;
const LISTING: &str = "its list of files";

/// What an address segment may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// The files of a commit that a model may need; every name is plain.
pub(crate) struct Revision {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// A file, as the hub describes it before it's fetched.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) path: String,
    pub(crate) etag: Etag,
    pub(crate) size: u64,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Asks for the commit and the files of a name's revision.
pub(crate) fn list(
    http: &Http,
    name: &Name,
    retries_max: u32,
    progress: &mut dyn Progress,
) -> Result<Revision, Error> {
    let revision = utf8_percent_encode(name.revision(), SEGMENT);
    let url = http.url(&format!("/api/models/{}/revision/{revision}", name.repo()));
    let ask = Ask { repo: name.repo(), what: LISTING, method: Method::GET, url, headers: vec![] };
    let body = retry(retries_max, progress, || {
        let reply = http.follow(&ask, |_| false)?;
        let mut response = http.judge(reply, &ask)?;
        let body = response.body_mut().with_config().limit(LISTING_BYTES_MAX).read_to_vec();
        body.map_err(|cause| match cause {
            ureq::Error::BodyExceedsLimit(_) => nonsense(&ask, "it is too long").into(),
            cause => Failure::Passing { error: cut(&ask, &cause.to_string()), after: None },
        })
    });
    let body = body.map_err(|error| match error {
        // The hub has the model and not the revision, or a mirror has neither: the model is
        // what most users mistype.
        Error::Refused { status: 404, .. } if name.revision() == "main" => {
            Error::NoSuchModel { repo: name.repo().into(), endpoint: http.endpoint().into() }
        }
        Error::Refused { status: 404, .. } => {
            Error::NoSuchRevision { repo: name.repo().into(), revision: name.revision().into() }
        }
        error => error,
    })?;
    let listing: Listing =
        serde_json::from_slice(&body).map_err(|e| nonsense(&ask, &e.to_string()))?;
    if !is_commit(&listing.sha) {
        return Err(nonsense(&ask, "it names no commit"));
    }
    if listing.siblings.len() > FILES_MAX {
        return Err(nonsense(&ask, "it has more than 10 000 files"));
    }
    let files = listing.siblings.into_iter().map(|sibling| sibling.rfilename);
    // Pickles stay in the list, so that an error can tell of them. Nothing else uses them.
    let mut files: Vec<String> = files.collect();
    files.sort();
    files.dedup();
    match files.iter().find(|file| select::is_wanted(file) && !select::is_plain(file)) {
        Some(file) => {
            Err(Error::HostileFile { repo: name.repo().to_owned(), file: file.to_owned() })
        }
        None => Ok(Revision { commit: listing.sha, files }),
    }
}

/// The request for a file's content at a commit.
pub(crate) fn ask_file<'a>(
    http: &Http,
    name: &'a Name,
    commit: &str,
    path: &'a str,
    method: Method,
) -> Ask<'a> {
    let encoded = utf8_percent_encode(path, PATH);
    let url = http.url(&format!("/{}/resolve/{commit}/{encoded}", name.repo()));
    Ask { repo: name.repo(), what: path, method, url, headers: vec![] }
}

/// Asks for the size and the hash of a file at a commit.
///
/// The hub answers with a redirect to where the content lies, and its own headers tell of it.
pub(crate) fn describe(
    http: &Http,
    name: &Name,
    commit: &str,
    path: &str,
    progress: &mut dyn Progress,
) -> Result<Remote, Error> {
    let ask = ask_file(http, name, commit, path, Method::HEAD);
    retry(RETRIES_MAX, progress, || {
        let mut seen = None;
        let is_linked = |headers: &HeaderMap| {
            seen = text(headers, "x-repo-commit").map(str::to_owned).or(seen.take());
            headers.contains_key("x-linked-etag")
        };
        let reply = http.follow(&ask, is_linked)?;
        let headers = reply.response.headers();
        let linked = headers.contains_key("x-linked-etag");
        let (etag, size) = match linked {
            true => (text(headers, "x-linked-etag"), text(headers, "x-linked-size")),
            false => (text(headers, "etag"), None),
        };
        let etag = etag.and_then(Etag::parse);
        // The length of a redirect's own body says nothing of the file.
        let length = text(headers, header::CONTENT_LENGTH.as_str())
            .filter(|_| reply.response.status().is_success());
        let size = size.or(length).and_then(|size| size.parse().ok());
        if !linked {
            http.judge(reply, &ask)?;
        }
        if seen.as_deref() != Some(commit) {
            return Err(nonsense(&ask, "it is not of the commit that was asked for").into());
        }
        match (etag, size) {
            (Some(etag), Some(size)) => Ok(Remote { path: path.to_owned(), etag, size }),
            (None, _) => Err(nonsense(&ask, "it has no etag that is a hash").into()),
            (_, None) => Err(nonsense(&ask, "it has no size").into()),
        }
    })
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn nonsense(ask: &Ask<'_>, reason: &str) -> Error {
    Error::Answer { repo: ask.repo.into(), what: ask.what.into(), reason: reason.into() }
}

/// The connection broke in the middle of an answer.
fn cut(ask: &Ask<'_>, cause: &str) -> Error {
    Error::Unreachable { repo: ask.repo.into(), what: ask.what.into(), cause: cause.into() }
}
