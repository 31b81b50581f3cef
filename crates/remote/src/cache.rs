//! Answers that were paid for, by the digest of their request.
//!
//! The cache is one file of records ([`RecordFile`]), locked by the process that uses it. Only positions
//! are kept in memory.

use std::collections::HashMap;
use std::fs::{self, TryLockError};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::body::Digest;
use crate::records::{RecordFile, RecordPosition};
use crate::{Damage, RemoteError, ReplyField, ReplyOutcome, Usage};

/// An answer as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// Digest of endpoint and request body, in hexadecimal.
    pub digest: String,
    /// The requested model.
    pub model: String,
    /// The model that answered, according to the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// How the endpoint handled the prompt.
    pub outcome: ReplyOutcome,
    /// The answer, unchanged.
    pub text: String,
    /// Where in the reply it was found.
    #[serde(default, skip_serializing_if = "ReplyField::is_content")]
    pub place: ReplyField,
    /// What the model or the endpoint said instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Tokens charged; zero if the reply does not say.
    pub usage: Usage,
    /// The most that the request can have used, if the reply does not say what it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_at_most: Option<Usage>,
    /// How it was requested, which decides the price.
    pub channel: Channel,
    /// Milliseconds from sending to the last byte; of batches, from the first poll to the download.
    pub latency_ms: u64,
    /// Attempts it took.
    pub attempts: u32,
    /// When it arrived, in seconds since 1970.
    pub unix_time: u64,
}

/// How an answer is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// One request, one reply.
    #[default]
    Live,
    /// The batch API.
    Batch,
}

/// A record of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum CacheRecord {
    Answer(StoredAnswer),
    /// A request that was sent and whose reply never arrived in full: it may have been charged.
    Unsettled {
        digest: String,
        why: String,
    },
}

/// The beginning of every record.
const START: &[u8] = b"{\"kind\":\"";

impl StoredAnswer {
    /// Tokens that count as paid: those that the reply states, or else the most it can have used.
    pub(crate) fn charged(&self) -> Usage {
        self.usage_at_most.unwrap_or(self.usage)
    }
}

/// The cache in a directory, open in this process only.
#[derive(Debug)]
pub struct ResponseCache {
    file: RecordFile,
    places: HashMap<Digest, RecordPosition>,
    unsettled: HashMap<Digest, u32>,
    /// Damage to the file of batches.
    damage: Option<Damage>,
}

impl ResponseCache {
    /// Opens the cache in a directory and creates the directory if it is missing.
    pub fn open(directory: &Path) -> Result<Self, RemoteError> {
        fs::create_dir_all(directory).map_err(RemoteError::io(directory, "create"))?;
        let path = directory.join("responses.jsonl");
        let mut file = RecordFile::open(&path)?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RemoteError::CacheInUse { path: directory.to_path_buf() }),
            Err(TryLockError::Error(source)) => return Err(RemoteError::Io { path, action: "lock", source }),
        }
        let mut places = HashMap::new();
        let mut unsettled: HashMap<Digest, u32> = HashMap::new();
        // A record without a valid digest cannot be looked up.
        file.read_all(START, |line, place| match line {
            CacheRecord::Answer(answer) => {
                if let Ok(digest) = Digest::from_hex(&answer.digest) {
                    places.insert(digest, place);
                }
            }
            CacheRecord::Unsettled { digest, .. } => {
                if let Ok(digest) = Digest::from_hex(&digest) {
                    *unsettled.entry(digest).or_default() += 1;
                }
            }
        })?;
        Ok(Self { file, places, unsettled, damage: None })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.file.path().parent().expect("the file was opened inside a directory")
    }

    /// Damage to the answers and to the notes on batches that was found and set aside.
    pub fn damage(&self) -> impl Iterator<Item = &Damage> {
        self.file.damage().into_iter().chain(&self.damage)
    }

    /// Records damage to another file of the directory.
    pub(crate) fn note_damage(&mut self, damage: Option<Damage>) {
        self.damage = damage.or(self.damage.take());
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no answers.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether there is an answer to this request.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest)
    }

    /// How often this request was sent without a complete reply.
    pub(crate) fn unsettled(&self, digest: &Digest) -> u32 {
        self.unsettled.get(digest).copied().unwrap_or(0)
    }

    /// The answer to this request.
    pub(crate) fn get(&mut self, digest: &Digest) -> Result<Option<StoredAnswer>, RemoteError> {
        let Some(&place) = self.places.get(digest) else { return Ok(None) };
        match self.file.get(place)? {
            CacheRecord::Answer(answer) => Ok(Some(answer)),
            CacheRecord::Unsettled { .. } => Ok(None),
        }
    }

    /// Stores an answer. After this returns, killing the process does not lose it.
    pub(crate) fn put(&mut self, digest: Digest, answer: &StoredAnswer) -> Result<(), RemoteError> {
        let place = self.file.append(&CacheRecord::Answer(answer.clone()))?;
        self.places.insert(digest, place);
        Ok(())
    }

    /// Records that a request may have been charged without a reply.
    pub(crate) fn put_unsettled(&mut self, digest: Digest, why: &str) -> Result<(), RemoteError> {
        self.file.append(&CacheRecord::Unsettled { digest: digest.to_hex().to_string(), why: why.to_owned() })?;
        *self.unsettled.entry(digest).or_default() += 1;
        Ok(())
    }

    /// Waits until everything is on disk.
    pub(crate) fn sync(&self) -> Result<(), RemoteError> {
        self.file.sync()
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
            outcome: ReplyOutcome::Answered,
            text: text.into(),
            place: ReplyField::Content,
            refusal: None,
            usage_at_most: None,
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
        let path = cache.file.path().to_path_buf();
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
    fn a_second_process_is_kept_out_and_a_broken_line_costs_that_line() {
        let directory = tempfile::tempdir().unwrap();
        let digests: Vec<Digest> = (0..3).map(|index: u8| blake3::hash(&[index])).collect();
        let mut cache = ResponseCache::open(directory.path()).unwrap();
        assert!(matches!(ResponseCache::open(directory.path()), Err(RemoteError::CacheInUse { .. })));
        for digest in &digests {
            cache.put(*digest, &answer(digest, "paid for")).unwrap();
        }
        let path = cache.file.path().to_path_buf();
        drop(cache);
        // One letter of the second answer: the line is still JSON, and no longer the answer that was given.
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1] = lines[1].replace("paid for", "laid for");
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let mut cache = ResponseCache::open(directory.path()).unwrap();
        let damage = cache.damage().next().unwrap().clone();
        assert_eq!((damage.lines, damage.first, cache.len()), (1, 2, 2));
        assert_eq!(fs::read_to_string(&damage.aside).unwrap(), lines[1].clone() + "\n");
        assert_eq!(cache.get(&digests[1]).unwrap(), None);
        assert_eq!(cache.get(&digests[2]).unwrap().unwrap().text, "paid for");
        cache.put(digests[1], &answer(&digests[1], "again")).unwrap();
        drop(cache);
        let mut cache = ResponseCache::open(directory.path()).unwrap();
        assert_eq!((cache.damage().count(), cache.len()), (0, 3));
        assert_eq!(cache.get(&digests[1]).unwrap().unwrap().text, "again");
    }
}
