//! Compiled grammars by what they were compiled from, the ones used last, within a cap of bytes.

use std::collections::BTreeMap;

use super::Grammar;

struct Entry {
    grammar: Grammar,
    bytes: usize,
    used: u64,
}

/// Grammars that take no more than so many bytes.
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    uses: u64,
    entries: BTreeMap<String, Entry>,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, uses: 0, entries: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&mut self, key: &str) -> Option<Grammar> {
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.uses;
        Some(entry.grammar.clone())
    }

    /// Keeps a grammar, and drops those used longest ago until all fit.
    pub(super) fn insert(&mut self, key: String, grammar: Grammar, bytes: usize) {
        self.uses += 1;
        self.bytes += bytes;
        let entry = Entry { grammar, bytes, used: self.uses };
        if let Some(before) = self.entries.insert(key, entry) {
            self.bytes -= before.bytes;
        }
        while self.bytes > self.bytes_max {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            if let Some(dropped) = self.entries.remove(&key) {
                self.bytes -= dropped.bytes;
            }
        }
    }
}
