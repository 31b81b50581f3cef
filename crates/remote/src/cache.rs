//! Answers that were paid for, by the digest of what was asked.
//!
//! The cache is one file of JSON lines, only ever appended to, each line with a single write: a kill
//! leaves at most one torn line, the last, which is cut off on opening. An exclusive lock keeps a
//! second process out. Only positions are held in memory.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::body::Digest;
use crate::{Outcome, RemoteError, Usage};

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// Digest of endpoint and request body, in hexadecimal.
    pub digest: String,
    /// The model that was asked for.
    pub model: String,
    /// The model that the endpoint says answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// How the endpoint dealt with the prompt.
    pub outcome: Outcome,
    /// The answer as it came.
    pub text: String,
    /// What the model or the endpoint said instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Tokens charged for.
    pub usage: Usage,
    /// How it was asked, which decides the price.
    pub channel: Channel,
    /// Milliseconds from sending to the last byte; for batches from creation to collection.
    pub latency_ms: u64,
    /// Attempts that it took.
    pub attempts: u32,
    /// When it came, in seconds since 1970.
    pub unix_time: u64,
}

/// The way on which an answer was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// One request, one reply.
    #[default]
    Live,
    /// The batch API.
    Batch,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Answer(StoredAnswer),
    /// A request that was sent and whose reply never came whole: it may have been charged for.
    Unsettled {
        digest: String,
        why: String,
    },
}

/// The cache of a directory, open for this process alone.
#[derive(Debug)]
pub struct ResponseCache {
    path: PathBuf,
    file: File,
    end: u64,
    places: HashMap<Digest, (u64, usize)>,
    unsettled: HashMap<Digest, u32>,
}

impl ResponseCache {
    /// Opens the cache in a directory, which is created if it is missing.
    pub fn open(directory: &Path) -> Result<Self, RemoteError> {
        fs::create_dir_all(directory).map_err(RemoteError::io(directory, "create"))?;
        let path = directory.join("responses.jsonl");
        let options = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let file = options.map_err(RemoteError::io(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RemoteError::CacheInUse { path: directory.to_path_buf() }),
            Err(TryLockError::Error(source)) => return Err(RemoteError::Io { path, action: "lock", source }),
        }
        let mut cache = Self { path, file, end: 0, places: HashMap::new(), unsettled: HashMap::new() };
        cache.index()?;
        Ok(cache)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.path.parent().expect("the file was opened inside a directory")
    }

    /// Number of answers kept.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds no answer.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether there is an answer to this request.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest)
    }

    /// How often this request was sent without a whole reply.
    pub(crate) fn unsettled(&self, digest: &Digest) -> u32 {
        self.unsettled.get(digest).copied().unwrap_or(0)
    }

    /// The answer to this request.
    pub(crate) fn get(&mut self, digest: &Digest) -> Result<Option<StoredAnswer>, RemoteError> {
        let Some(&(offset, length)) = self.places.get(digest) else { return Ok(None) };
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(offset)).map_err(RemoteError::io(&self.path, "read"))?;
        self.file.read_exact(&mut bytes).map_err(RemoteError::io(&self.path, "read"))?;
        match serde_json::from_slice(&bytes) {
            Ok(Line::Answer(answer)) => Ok(Some(answer)),
            Ok(Line::Unsettled { .. }) => Ok(None),
            Err(error) => Err(RemoteError::CacheLine { path: self.path.clone(), line: 0, found: error.to_string() }),
        }
    }

    /// Keeps an answer. When this returns, a kill of the process does not lose it.
    pub(crate) fn put(&mut self, digest: Digest, answer: &StoredAnswer) -> Result<(), RemoteError> {
        let place = self.append(&Line::Answer(answer.clone()))?;
        self.places.insert(digest, place);
        Ok(())
    }

    /// Remembers that a request may have been charged for without a reply.
    pub(crate) fn put_unsettled(&mut self, digest: Digest, why: &str) -> Result<(), RemoteError> {
        self.append(&Line::Unsettled { digest: digest.to_hex().to_string(), why: why.to_owned() })?;
        *self.unsettled.entry(digest).or_default() += 1;
        Ok(())
    }

    /// Waits until everything kept is on the disk.
    pub(crate) fn sync(&self) -> Result<(), RemoteError> {
        self.file.sync_data().map_err(RemoteError::io(&self.path, "sync"))
    }

    fn append(&mut self, line: &Line) -> Result<(u64, usize), RemoteError> {
        let mut bytes = serde_json::to_vec(line).expect("a stored answer serialises");
        let place = (self.end, bytes.len());
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(RemoteError::io(&self.path, "append to"))?;
        self.end += bytes.len() as u64;
        Ok(place)
    }

    /// Reads the file once and cuts off a torn last line.
    fn index(&mut self) -> Result<(), RemoteError> {
        let mut reader = BufReader::new(&self.file);
        let (mut offset, mut number, mut line) = (0, 0, Vec::new());
        loop {
            line.clear();
            number += 1;
            let length = reader.read_until(b'\n', &mut line).map_err(RemoteError::io(&self.path, "read"))?;
            if line.pop() != Some(b'\n') {
                break;
            }
            let broken = |found: String| RemoteError::CacheLine { path: self.path.clone(), line: number, found };
            let parsed = serde_json::from_slice(&line).map_err(|error| broken(error.to_string()))?;
            let key = |hex: &str| Digest::from_hex(hex).map_err(|error| broken(error.to_string()));
            match parsed {
                Line::Answer(answer) => {
                    self.places.insert(key(&answer.digest)?, (offset, line.len()));
                }
                Line::Unsettled { digest, .. } => *self.unsettled.entry(key(&digest)?).or_default() += 1,
            }
            offset += length as u64;
        }
        self.end = offset;
        self.file.set_len(offset).map_err(RemoteError::io(&self.path, "repair"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(digest: &Digest, text: &str) -> StoredAnswer {
        StoredAnswer {
            digest: digest.to_hex().to_string(),
            model: "m".into(),
            served_model: None,
            outcome: Outcome::Answered,
            text: text.into(),
            refusal: None,
            usage: Usage { prompt: 3, cached: 0, completion: 2 },
            channel: Channel::Live,
            latency_ms: 5,
            attempts: 1,
            unix_time: 0,
        }
    }

    #[test]
    fn answers_survive_reopening_and_a_torn_tail() {
        let directory = tempfile::tempdir().unwrap();
        let digests: Vec<Digest> = (0..3).map(|index: u8| blake3::hash(&[index])).collect();
        let mut cache = ResponseCache::open(directory.path()).unwrap();
        for (digest, text) in digests.iter().zip(["a\nb", "ü", "c"]) {
            cache.put(*digest, &answer(digest, text)).unwrap();
        }
        cache.put_unsettled(digests[0], "time-out").unwrap();
        assert_eq!(cache.get(&digests[0]).unwrap().unwrap().text, "a\nb");
        let path = cache.path.clone();
        drop(cache);

        let whole = fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(13) {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut cache = ResponseCache::open(directory.path()).unwrap();
            let lines = whole[..cut].split(|&byte| byte == b'\n').count() - 1;
            assert_eq!(cache.len(), lines.min(3), "cut at {cut}");
            cache.put(digests[2], &answer(&digests[2], "again")).unwrap();
            assert_eq!(cache.get(&digests[2]).unwrap().unwrap().text, "again");
        }
    }

    #[test]
    fn a_second_process_is_kept_out_and_broken_lines_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let cache = ResponseCache::open(directory.path()).unwrap();
        assert!(matches!(ResponseCache::open(directory.path()), Err(RemoteError::CacheInUse { .. })));
        drop(cache);
        fs::write(directory.path().join("responses.jsonl"), "{\"kind\":\"answer\"}\n").unwrap();
        assert!(matches!(ResponseCache::open(directory.path()), Err(RemoteError::CacheLine { line: 1, .. })));
    }
}
