//! The journal of a review: every decision, one JSON line each, on disk before it counts.
//!
//! The first line names the predictions. Every further line has the whole state of a text after a decision, so that a
//! damaged line costs that decision and no other, and ends with a digest of itself.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{ReviewError, UnitState};

/// Precedes the digest at the end of a line.
const MARK: &str = ",\"digest\":\"";
/// Hexadecimal digits of a digest: 64 bits, against accidents.
const DIGITS: usize = 16;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// Version of the format.
    review: u32,
    /// The digest of what is reviewed.
    identity: String,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its number, from 1.
    pub(crate) n: u64,
    /// When, in UTC.
    pub(crate) time: String,
    /// The document.
    pub(crate) doc_key: String,
    /// The sentence; none for a whole document.
    pub(crate) sent: Option<u32>,
    /// The number of the decision that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undoes: Option<u64>,
    /// The state of the text after it.
    pub(crate) state: UnitState,
}

/// An open journal, locked while this value lives.
pub(crate) struct Journal {
    file: File,
    identity: String,
    /// Bytes of whole lines.
    length: u64,
}

/// What was found in a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The sound entries, in order.
    pub(crate) entries: Vec<Entry>,
    /// Lines that are damaged and left out.
    pub(crate) damaged: usize,
}

impl Journal {
    /// Opens or begins the journal of a review of what has this identity.
    pub(crate) fn open(path: &Path, identity: &str) -> Result<(Self, Found), ReviewError> {
        let folder = || path.parent().unwrap_or(Path::new("")).to_owned();
        let failed = |source: io::Error| ReviewError::Folder { folder: folder(), source };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ReviewError::Busy { folder: folder() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut journal = Self { file, identity: identity.to_owned(), length: bytes.len() as u64 };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let Some(head) = bytes[..whole].split(|&byte| byte == b'\n').next().filter(|_| whole > 0) else {
            // A process that was killed while it wrote the first line has decided nothing.
            journal.length = 0;
            journal.file.set_len(0).map_err(failed)?;
            let head = Head { review: 1, identity: identity.to_owned() };
            journal.append(&serde_json::to_string(&head).expect("a head is plain data")).map_err(failed)?;
            return Ok((journal, Found::default()));
        };
        check_head(head, identity, path)?;
        if whole < bytes.len() {
            // A line that was cut off is closed, so that it stays a line of its own.
            journal.file.write_all(b"\n").map_err(failed)?;
            journal.length += 1;
        }
        let mut found = Found::default();
        for line in bytes.split(|&byte| byte == b'\n').skip(1).filter(|line| !line.is_empty()) {
            match journal.entry(line) {
                Some(entry) => found.entries.push(entry),
                None => found.damaged += 1,
            }
        }
        Ok((journal, found))
    }

    /// Writes a decision. When this returns, it is on disk; after an error, the file is as before.
    pub(crate) fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let text = serde_json::to_string(entry).expect("an entry is plain data");
        let open = text.strip_suffix('}').expect("an entry is an object");
        let line = format!("{open}{MARK}{}\"}}", self.digest(&text));
        self.append(&line)
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{line}\n");
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If this fails too, the rest of the line is damaged, and is left out when the journal is read.
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::End(0));
                Err(error)
            }
        }
    }

    /// The entry of a line, if its digest is right.
    fn entry(&self, line: &[u8]) -> Option<Entry> {
        let text = std::str::from_utf8(line).ok()?;
        let (open, rest) = text.rsplit_once(MARK)?;
        let object = format!("{open}}}");
        (rest.strip_suffix("\"}")? == self.digest(&object)).then(|| serde_json::from_str(&object).ok())?
    }

    fn digest(&self, text: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.identity.as_bytes()).update(text.as_bytes());
        hasher.finalize().to_hex()[..DIGITS].to_owned()
    }
}

fn check_head(line: &[u8], identity: &str, path: &Path) -> Result<(), ReviewError> {
    let journal = PathBuf::from(path);
    match serde_json::from_slice::<Head>(line) {
        Ok(Head { review: 1, identity: own }) if own == identity => Ok(()),
        Ok(Head { review: 1, .. }) => Err(ReviewError::OtherReview { journal }),
        _ => Err(ReviewError::NotAJournal { journal }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        Entry {
            n,
            time: "2026-01-01T00:00:00Z".into(),
            doc_key: format!("a, \"digest\":\"b\n{n}"),
            sent: Some(3),
            undoes: n.checked_sub(3),
            state: UnitState { confirmed: n.is_multiple_of(2), ..UnitState::default() },
        }
    }

    fn filled(path: &Path, count: u64) {
        let (mut journal, found) = Journal::open(path, "x").expect("writable");
        assert_eq!(found, Found::default());
        for n in 0..count {
            journal.write(&entry(n)).expect("written");
        }
    }

    fn read(path: &Path) -> Found {
        Journal::open(path, "x").expect("readable").1
    }

    #[test]
    fn entries_come_back_and_damage_costs_the_line_that_it_hits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        filled(&path, 4);
        let all: Vec<Entry> = (0..4).map(entry).collect();
        assert_eq!(read(&path), Found { entries: all.clone(), damaged: 0 });
        let sound = std::fs::read(&path).expect("readable");
        let body = 1 + sound.iter().position(|&byte| byte == b'\n').expect("a head");
        for position in body..sound.len() {
            let mut bytes = sound.clone();
            bytes[position] ^= 0x21;
            std::fs::write(&path, &bytes).expect("writable");
            let found = read(&path);
            // A line end belongs to two lines.
            let hit = if sound[position] == b'\n' && position + 1 < sound.len() { 2 } else { 1 };
            assert!(found.entries.len() >= 4 - hit, "byte {position}: {found:?}");
            assert!(found.entries.iter().all(|entry| all.contains(entry)), "byte {position}");
        }
    }

    #[test]
    fn a_journal_that_is_cut_off_anywhere_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        filled(&path, 3);
        let sound = std::fs::read(&path).expect("readable");
        for length in 0..sound.len() {
            std::fs::write(&path, &sound[..length]).expect("writable");
            let (mut journal, found) = Journal::open(&path, "x").expect("readable");
            let lines = sound[..length].split(|&byte| byte == b'\n').count() - 1;
            assert!(found.entries.len() >= lines.saturating_sub(1), "{length}");
            journal.write(&entry(9)).expect("written");
            drop(journal);
            assert_eq!(read(&path).entries.last(), Some(&entry(9)), "{length}");
        }
    }

    #[test]
    fn another_review_and_a_second_process_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        filled(&path, 1);
        assert!(matches!(Journal::open(&path, "y"), Err(ReviewError::OtherReview { .. })));
        let open = Journal::open(&path, "x").expect("readable");
        assert!(matches!(Journal::open(&path, "x"), Err(ReviewError::Busy { .. })));
        drop(open);
        std::fs::write(&path, "something else\n").expect("writable");
        assert!(matches!(Journal::open(&path, "x"), Err(ReviewError::NotAJournal { .. })));
        assert_eq!(std::fs::read(&path).expect("readable"), b"something else\n");
    }
}
