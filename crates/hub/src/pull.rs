//! A name to a model on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::cache::Repo;
use crate::http::{Http, RETRIES_MAX};
use crate::select::{self, Choice, INDEX, INDEX_BYTES_MAX, Weights};
use crate::{Error, Name, Options, Progress, Snapshot, remote, transfer};

/// The hub, and the cache of what came from it.
pub struct Hub {
    options: Options,
    http: Http,
}

impl Hub {
    /// # Errors
    /// `Error::Setting` if the endpoint isn't an http or https address.
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self { http: Http::new(&options)?, options })
    }

    /// The newest complete copy of a model in the cache, without a look at the network.
    pub fn find_cached(&self, name: &Name) -> Option<Snapshot> {
        let repo = self.repo(name);
        let commit = repo.read_ref(name.revision())?;
        let mut listed = repo.files(&commit);
        listed.retain(|file| select::is_wanted(file));
        let choice = select::choose(&listed, name.quant()).ok()?;
        let weights = weights(name, &repo.snapshot(&commit), &choice, &listed).ok()?;
        Some(snapshot(&repo, commit, choice, &weights, Freshness::Unknown))
    }

    /// Brings a model into the cache, as far as it isn't there, and says where it is.
    ///
    /// Offline by choice, or because the hub can't be reached, a complete copy in the cache is
    /// the answer. An interrupted pull goes on where it stopped.
    ///
    /// # Errors
    /// `Error::Offline` without a copy; `NoSuchModel`, `NoSuchRevision`, `Unauthorized`, `Gated`
    /// as the hub says; `Choice` if the files don't tell which model; `Unreachable`, `Refused`
    /// after all retries; `Truncated`, `Hash`, `Answer`, `HostileFile` for a server that doesn't
    /// keep its word; `DiskFull`, `Io`; `Cancelled` if `progress` breaks.
    pub fn pull(&self, name: &Name, progress: &mut dyn Progress) -> Result<Snapshot, Error> {
        let cached = self.find_cached(name);
        if self.options.offline {
            let (repo, cache) = (name.repo().to_owned(), self.options.cache.clone());
            return cached.ok_or(Error::Offline { repo, cache });
        }
        // With a copy at hand nobody waits long for a network that isn't there.
        let retries_max = if cached.is_some() { 0 } else { RETRIES_MAX };
        let revision = match (remote::list(&self.http, name, retries_max, progress), cached) {
            (Ok(revision), _) => revision,
            (Err(error), Some(cached)) if error.is_absence() => return Ok(cached),
            (Err(error), _) => return Err(error),
        };
        let choice = select::choose(&revision.files, name.quant())
            .map_err(|reason| Error::Choice { name: name.to_string(), reason })?;
        let (repo, commit) = (self.repo(name), revision.commit);
        self.bring(&repo, name, &commit, &choice.companions, progress)?;
        let weights = weights(name, &repo.snapshot(&commit), &choice, &revision.files)?;
        self.bring(&repo, name, &commit, &weights, progress)?;
        repo.write_ref(name.revision(), &commit)?;
        Ok(snapshot(&repo, commit, choice, &weights, Freshness::Current))
    }

    fn repo(&self, name: &Name) -> Repo {
        Repo::new(&self.options.cache, name.repo())
    }

    /// Brings files into a snapshot, after a look at the room that they need.
    fn bring(
        &self,
        repo: &Repo,
        name: &Name,
        commit: &str,
        files: &[String],
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let folder = repo.snapshot(commit);
        // A commit never changes, so neither does a file of it.
        let missing: Vec<_> = files.iter().filter(|file| !folder.join(file).exists()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        repo.prepare()?;
        let mut remotes = Vec::with_capacity(missing.len());
        for file in missing {
            remotes.push(remote::describe(&self.http, name, commit, file, progress)?);
        }
        let mut needed = BTreeMap::new();
        for remote in &remotes {
            if !repo.has_blob(&remote.etag, remote.size) {
                let there = std::fs::metadata(repo.incomplete(&remote.etag));
                let there = there.map_or(0, |meta| meta.len());
                // Files of the same content share a blob.
                needed.insert(remote.etag.as_str(), remote.size.saturating_sub(there));
            }
        }
        let needed = needed.into_values().fold(0, u64::saturating_add);
        let free = repo.free_bytes()?;
        if needed > free {
            return Err(Error::DiskFull { path: repo.blobs(), needed, free });
        }
        for remote in &remotes {
            transfer::fetch(&self.http, repo, (name, commit), remote, progress)?;
            repo.link(commit, &remote.path, &remote.etag)?;
        }
        Ok(())
    }
}

/// Whether the hub was asked about a snapshot.
enum Freshness {
    Current,
    Unknown,
}

fn snapshot(
    repo: &Repo,
    commit: String,
    choice: Choice,
    weights: &[String],
    freshness: Freshness,
) -> Snapshot {
    let folder = repo.snapshot(&commit);
    let files = choice.companions.iter().chain(weights).map(|file| folder.join(file)).collect();
    let is_current = matches!(freshness, Freshness::Current);
    Snapshot { folder, files, commit, quant: choice.quant, is_current }
}

/// The weights of a choice; an index is read from the snapshot.
fn weights(
    name: &Name,
    folder: &Path,
    choice: &Choice,
    listed: &[String],
) -> Result<Vec<String>, Error> {
    if let Weights::Files(files) = &choice.weights {
        return Ok(files.clone());
    }
    let path = folder.join(INDEX);
    let mut index = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(INDEX_BYTES_MAX).read_to_end(&mut index))
        .map_err(Error::io("read", &path))?;
    select::indexed(&index, listed)
        .map_err(|reason| Error::Choice { name: name.to_string(), reason })
}
