//! Models in shards: `model.safetensors.index.json` says which file holds which tensor.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::open;
use crate::error::Shown;
use crate::folder::read_file;
use crate::json::Entries;
use crate::mmap::OpenFile;
use crate::{Access, Error, Table, Weights};

/// Ten times the index of DeepSeek-V3 in FP8.
const INDEX_BYTES_MAX: u64 = 100_000_000;
/// More shards than any model has; each takes a memory map.
const SHARDS_MAX: usize = 4096;

#[derive(Deserialize)]
struct Index {
    weight_map: Entries<String>,
}

/// Opens every shard that an index names. Tensors that it doesn't name are left out.
///
/// # Errors
/// A shard outside the folder, a missing shard, a tensor that is not where the index has it, and
/// whatever is wrong with a shard.
pub(crate) fn open_index(path: &Path, access: Access) -> Result<(Table, Vec<OpenFile>), Error> {
    let json =
        read_file(path, INDEX_BYTES_MAX)?.ok_or_else(|| Error::malformed(path, "missing"))?;
    let index: Index = serde_json::from_slice(&json).map_err(|error| Error::json(path, &error))?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in index.weight_map.0 {
        check_name(path, &shard)?;
        shards.entry(shard).or_default().push(tensor);
    }
    if shards.len() > SHARDS_MAX {
        let (found, limit) = (shards.len() as u64, SHARDS_MAX as u64);
        return Err(Error::Limit { path: path.into(), what: "the number of shards", found, limit });
    }
    let mut whole = Table::new(path);
    let mut files = Vec::new();
    for (shard, tensors) in shards {
        let shard_path = path.with_file_name(&shard);
        if !shard_path.exists() {
            let what = "the index names this shard and it is missing";
            return Err(Error::malformed(&shard_path, what));
        }
        let (table, file) = open(&shard_path, access)?;
        files.push(file);
        take_over(path, &mut whole, (&shard_path, table), tensors)?;
    }
    Ok((whole, files))
}

/// Moves the tensors that the index has in a shard from the shard's table.
fn take_over(
    index: &Path,
    whole: &mut Table,
    (shard, mut table): (&Path, Table),
    tensors: Vec<String>,
) -> Result<(), Error> {
    for name in tensors {
        let entry = match table.remove(&name) {
            Some(entry) => entry,
            None if whole.contains(&name) => return Err(Error::twice(index, "tensor", &name)),
            None => {
                let name = Shown::new(&name);
                let what = format!("tensor {name} is not here, where the index has it");
                return Err(Error::malformed(shard, what));
            }
        };
        whole.insert(index, name, entry)?;
    }
    Ok(())
}

/// A shard lies beside its index: its name is a file's, not a path.
fn check_name(path: &Path, shard: &str) -> Result<(), Error> {
    let plain = !shard.contains(['/', '\\', '\0']) && !shard.starts_with('.');
    if plain && shard.ends_with(".safetensors") {
        return Ok(());
    }
    let what = format!("{} is not the name of a .safetensors file beside it", Shown::new(shard));
    Err(Error::malformed(path, what))
}
