//! What a checkpoint consists of, with a digest of each file: the last file that is written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;

pub(super) const FILE: &str = "manifest.json";
const BYTES_MAX: u64 = 1 << 20;

/// The files of a checkpoint.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub step: u64,
    /// Of the settings.
    pub run: String,
    files: Vec<Entry>,
    /// Of all above.
    digest: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// Reads every file once more, as it lies on the disk.
    pub(super) fn of(
        folder: &Path,
        names: &[String],
        (step, run): (u64, &str),
    ) -> io::Result<Manifest> {
        let entry = |name: &String| {
            let (bytes, sha256) = digest(&folder.join(name))?;
            Ok(Entry { name: name.clone(), bytes, sha256 })
        };
        let files = names.iter().map(entry).collect::<io::Result<_>>()?;
        let mut manifest = Manifest { step, run: run.into(), files, digest: String::new() };
        manifest.digest = manifest.own_digest();
        Ok(manifest)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings and numbers are JSON")
    }

    /// Reads the manifest of a checkpoint, which must be what was written.
    pub(super) fn read(folder: &Path) -> Result<Manifest, Error> {
        let path = folder.join(FILE);
        let broken = |what: String| Error::Broken { path: path.clone(), what };
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|error| broken(error.to_string()))?;
        let read = file.take(BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| broken(error.to_string()))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        if manifest.digest != manifest.own_digest() || bytes != manifest.to_bytes() {
            return Err(broken("it is not what was written".into()));
        }
        Ok(manifest)
    }

    /// Whether every file is what was written.
    pub(super) fn check(&self, folder: &Path) -> Result<(), Error> {
        for entry in &self.files {
            let path = folder.join(&entry.name);
            let broken = |what: String| Error::Broken { path: path.clone(), what };
            let (bytes, sha256) = digest(&path).map_err(|error| broken(error.to_string()))?;
            if bytes != entry.bytes {
                return Err(broken(format!("it has {bytes} bytes, not {}", entry.bytes)));
            }
            if sha256 != entry.sha256 {
                return Err(broken("its bytes are not those that were written".into()));
            }
        }
        let extra = fs::read_dir(folder).map(Iterator::count).unwrap_or(0);
        let expected = self.files.len() + 1;
        if extra != expected {
            let (path, what) = (folder.into(), format!("it has {extra} files, not {expected}"));
            return Err(Error::Broken { path, what });
        }
        Ok(())
    }

    fn own_digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{}\n{}\n", self.step, self.run));
        for Entry { name, bytes, sha256 } in &self.files {
            hash.update(format!("{name}\n{bytes}\n{sha256}\n"));
        }
        hex(&hash.finalize())
    }
}

/// Length and SHA-256 of a file.
fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&hash.finalize()))),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
