//! A cache of reference log-probs: computed once, shared by epochs, learning rates and objectives.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{TokenisedExample, TrainError};

/// Starts every record, so that a reader can resynchronise after damage. The digit is the version of the keys:
/// records of other versions are skipped.
const MARKER: [u8; 4] = *b"RLP2";
/// Marker, key and number of values.
const HEADER: usize = 4 + 32 + 4;
/// Leading bytes of the BLAKE3 digest of everything before it.
const CHECKSUM: usize = 16;

/// What a reference log-prob depends on besides its tokens: the weights as used in computations, and the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReferenceIdentity([u8; 32]);

impl ReferenceIdentity {
    /// The identity of a reference, from the identity of the worker that computes it
    /// ([`Worker::identity`](tabpo_engine::Worker::identity)) and the digest of the tokenizer.
    pub fn new(worker: &[u8; 32], tokenizer: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tabpo reference identity 3");
        hasher.update(worker);
        hasher.update(tokenizer);
        Self(*hasher.finalize().as_bytes())
    }

    /// The key of the log-probs of examples that are computed together.
    ///
    /// It covers all of them, because the last bits of a log-prob depend on what is computed with it: on
    /// where other answers leave a shared prefix, and on the size of the matrix products. With a key for each
    /// answer alone, the last bits of a run would depend on which earlier run computed the value.
    pub fn key<'e>(&self, examples: impl IntoIterator<Item = &'e TokenisedExample>) -> ReferenceKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for example in examples {
            hasher.update(&(example.rejected.len() as u64).to_le_bytes());
            for part in std::iter::once(&example.prompt).chain(example.answers().map(|answer| &answer.tokens)) {
                hasher.update(&(part.len() as u64).to_le_bytes());
                for token in part {
                    hasher.update(&token.to_le_bytes());
                }
            }
            for choice in example.answers().flat_map(|answer| &answer.choices) {
                hasher.update(&(choice.position as u64).to_le_bytes());
                hasher.update(&(choice.tokens.len() as u64).to_le_bytes());
                for token in &choice.tokens {
                    hasher.update(&token.to_le_bytes());
                }
            }
        }
        ReferenceKey(*hasher.finalize().as_bytes())
    }
}

/// Key of the log-probs of some examples under one reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReferenceKey([u8; 32]);

/// Log-probs by key, in memory and in an append-only file.
///
/// Every record has a checksum. A record that was cut short by a kill or damaged later is skipped when the
/// file is opened, and is computed again when it is needed.
pub struct ReferenceCache {
    path: Option<PathBuf>,
    file: Option<File>,
    entries: HashMap<ReferenceKey, Box<[f64]>>,
    damaged: u64,
}

impl ReferenceCache {
    /// A cache in memory only.
    pub fn in_memory() -> Self {
        Self { path: None, file: None, entries: HashMap::new(), damaged: 0 }
    }

    /// Opens the file at `path`, which is created if it does not exist, and reads every intact record.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let failed = |source| TrainError::Io { path: path.to_path_buf(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (entries, damaged) = read_records(&bytes);
        Ok(Self { path: Some(path.to_path_buf()), file: Some(file), entries, damaged })
    }

    /// Bytes of the file outside intact records when it was opened.
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged
    }

    /// Number of micro-batches whose log-probs are stored.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The log-probs stored under `key`, one per target.
    pub fn get(&self, key: &ReferenceKey) -> Option<&[f64]> {
        self.entries.get(key).map(AsRef::as_ref)
    }

    /// Stores log-probs in memory and passes them to the operating system for the file;
    /// [`ReferenceCache::sync`] waits for the disk.
    pub fn insert(&mut self, key: ReferenceKey, log_probs: &[f64]) -> Result<(), TrainError> {
        if let Some(file) = &mut self.file {
            // A record is written in one call, so that an interruption cuts at most the last one.
            file.write_all(&record(&key, log_probs))
                .map_err(|source| TrainError::Io { path: self.path.clone().unwrap_or_default(), source })?;
        }
        self.entries.insert(key, log_probs.into());
        Ok(())
    }

    /// Waits until the file is on the disk.
    pub fn sync(&self) -> Result<(), TrainError> {
        match (&self.file, &self.path) {
            (Some(file), Some(path)) => {
                file.sync_data().map_err(|source| TrainError::Io { path: path.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

fn record(key: &ReferenceKey, values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + values.len() * 8 + CHECKSUM);
    bytes.extend(MARKER);
    bytes.extend(key.0);
    bytes.extend((values.len() as u32).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let checksum = blake3::hash(&bytes);
    bytes.extend(&checksum.as_bytes()[..CHECKSUM]);
    bytes
}

/// The intact records of a file and the number of bytes outside them.
fn read_records(bytes: &[u8]) -> (HashMap<ReferenceKey, Box<[f64]>>, u64) {
    let mut entries = HashMap::new();
    let mut damaged = 0;
    let mut at = 0;
    while at < bytes.len() {
        if let Some((key, values, length)) = read_record(&bytes[at..]) {
            entries.insert(key, values);
            at += length;
        } else {
            damaged += 1;
            at += 1;
        }
    }
    (entries, damaged)
}

/// The record at the beginning of `bytes` and its length.
fn read_record(bytes: &[u8]) -> Option<(ReferenceKey, Box<[f64]>, usize)> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    if !header.starts_with(&MARKER) {
        return None;
    }
    let key = header[4..36].try_into().expect("32 bytes");
    let count = u32::from_le_bytes(header[36..].try_into().expect("4 bytes")) as usize;
    let (values, rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    let checksum = rest.get(..CHECKSUM)?;
    let body = HEADER + values.len();
    // Fuzzing could not get past the checksum, and the code behind it must withstand any input.
    if !cfg!(fuzzing) && blake3::hash(&bytes[..body]).as_bytes()[..CHECKSUM] != *checksum {
        return None;
    }
    let values = values.chunks_exact(8).map(|value| f64::from_le_bytes(value.try_into().expect("8 bytes"))).collect();
    Some((ReferenceKey(key), values, body + CHECKSUM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RejectedAnswer, TokenisedAnswer};

    fn identity(model: u8) -> ReferenceIdentity {
        ReferenceIdentity::new(&[model; 32], &[2; 32])
    }

    /// An example with these answers, the first of them chosen.
    fn example(prompt: &[u32], answers: &[&[u32]]) -> TokenisedExample {
        let mut answers = answers.iter().map(|answer| TokenisedAnswer::unlabelled(answer.to_vec()));
        TokenisedExample {
            id: String::new(),
            prompt: prompt.to_vec(),
            chosen: answers.next().expect("an example has a chosen answer"),
            rejected: answers.map(|answer| RejectedAnswer { answer, weight: 1.0 }).collect(),
        }
    }

    fn filled(path: &Path) -> Vec<(ReferenceKey, Vec<f64>)> {
        let mut cache = ReferenceCache::open(path).expect("a writable folder");
        (0..5u32)
            .map(|n| {
                let key = identity(1).key([&example(&[n, 1], &[&[2, 3]])]);
                let values: Vec<f64> = (0..n).map(|i| -f64::from(i) / 3.0).collect();
                cache.insert(key, &values).expect("written");
                (key, values)
            })
            .collect()
    }

    #[test]
    fn every_part_of_the_identity_changes_the_key() {
        let plain = example(&[1, 2], &[&[3]]);
        let key = identity(1).key([&plain]);
        assert_ne!(key, identity(2).key([&plain]));
        assert_ne!(key, identity(1).key([&plain, &plain]));
        for other in [example(&[1], &[&[2, 3]]), example(&[1, 2], &[&[3], &[4]]), example(&[1, 2], &[&[3, 4]])] {
            assert_ne!(key, identity(1).key([&other]));
        }
        let tokenizer = ReferenceIdentity::new(&[1; 32], &[3; 32]);
        assert_ne!(key, tokenizer.key([&plain]));
    }

    #[test]
    fn values_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cache/reference.bin");
        let stored = filled(&path);
        let cache = ReferenceCache::open(&path).expect("readable");
        assert_eq!(cache.len(), 5);
        assert_eq!(cache.damaged_bytes(), 0);
        for (key, values) in stored {
            assert_eq!(cache.get(&key), Some(values.as_slice()));
        }
    }

    #[test]
    fn damage_anywhere_costs_only_the_record_that_it_hits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reference.bin");
        let stored = filled(&path);
        let sound = std::fs::read(&path).expect("readable");
        for position in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[position] ^= 0x41;
            let (entries, damaged) = read_records(&bytes);
            assert!(damaged > 0, "byte {position}");
            assert_eq!(entries.len(), 4, "byte {position}");
            for (key, values) in &stored {
                if let Some(found) = entries.get(key) {
                    assert_eq!(found.as_ref(), values.as_slice());
                }
            }
        }
    }

    #[test]
    fn a_kill_in_the_middle_of_a_record_loses_only_that_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reference.bin");
        let stored = filled(&path);
        let sound = std::fs::read(&path).expect("readable");
        std::fs::write(&path, &sound[..sound.len() - 7]).expect("writable");
        let mut cache = ReferenceCache::open(&path).expect("readable");
        let (key, values) = &stored[4];
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.get(key), None);
        cache.insert(*key, values).expect("written");
        let again = ReferenceCache::open(&path).expect("readable");
        assert_eq!(again.len(), 5);
        assert_eq!(again.get(key), Some(values.as_slice()));
    }
}
