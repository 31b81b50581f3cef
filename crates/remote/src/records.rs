//! An append-only file of records, one JSON object per line, each written at once.
//!
//! A killed process leaves at most one torn record, the last, which is cut off on opening. Every record
//! carries a digest of itself, so that damage is detected even where the JSON is still valid. Damage costs
//! only the records it hits: the damaged bytes are copied to a file next to this one and blanked out.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::RemoteError;

/// The bytes before the digest of a record, its last field.
const SEAL: &[u8] = b",\"sum\":\"";
/// Hexadecimal digits of the digest.
const DIGITS: usize = 16;

/// Damage that was found and set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub path: PathBuf,
    /// The file that now holds the damaged bytes.
    pub aside: PathBuf,
    /// Number of damaged lines.
    pub lines: usize,
    /// The first of them, counted from 1.
    pub first: usize,
    /// What is wrong with the first.
    pub found: String,
}

/// The position of a record: its first byte and its length.
pub(crate) type RecordPosition = (u64, usize);

/// A file of records, open for reading and appending.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    file: File,
    end: u64,
    damage: Option<Damage>,
}

/// The content of one line.
struct ParsedLine<T> {
    /// The intact records with their bytes.
    records: Vec<(Range<usize>, T)>,
    /// The damaged stretches.
    damaged: Vec<Range<usize>>,
    /// What is wrong with the line as a whole.
    found: String,
}

impl RecordFile {
    /// Opens the file and creates it if it is missing. [`read_all`](Self::read_all) reads it.
    pub(crate) fn open(path: &Path) -> Result<Self, RemoteError> {
        let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = options.map_err(RemoteError::io(path, "open"))?;
        Ok(Self { path: path.to_path_buf(), file, end: 0, damage: None })
    }

    /// The file, for locking.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The damage that was found.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Reads the file from its beginning, sets damage aside and cuts off a torn last record. Records
    /// start with `start`, so that two of them are told apart where the line end between them is damaged.
    pub(crate) fn read_all<T: DeserializeOwned>(
        &mut self,
        start: &[u8],
        mut each: impl FnMut(T, RecordPosition),
    ) -> Result<(), RemoteError> {
        let io = |action| RemoteError::io(&self.path, action);
        self.file.rewind().map_err(io("read"))?;
        let mut reader = BufReader::new(&self.file);
        let (mut offset, mut number, mut bytes) = (0, 0, Vec::new());
        let mut damaged: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut first = None;
        let mut torn = false;
        loop {
            bytes.clear();
            number += 1;
            let length = reader.read_until(b'\n', &mut bytes).map_err(io("read"))?;
            let ended = bytes.last() == Some(&b'\n');
            bytes.truncate(length - usize::from(ended));
            let line = ParsedLine::<T>::read(&bytes, start);
            if !ended && line.records.is_empty() {
                break;
            }
            for stretch in &line.damaged {
                damaged.push((offset + stretch.start as u64, bytes[stretch.clone()].to_vec()));
            }
            if !line.damaged.is_empty() {
                let (lines, _, _) = first.get_or_insert((0, number, line.found));
                *lines += 1;
            }
            for (place, record) in line.records {
                each(record, (offset + place.start as u64, place.len()));
            }
            offset += length as u64;
            torn = !ended;
        }
        self.end = offset;
        self.file.set_len(offset).map_err(io("repair"))?;
        if let Some((lines, first, found)) = first {
            let aside = self.set_aside(&damaged)?;
            self.damage = Some(Damage { path: self.path.clone(), aside, lines, first, found });
        }
        if torn {
            self.write(b"\n")?;
        }
        Ok(())
    }

    /// Appends a record. After this returns, killing the process does not lose it.
    pub(crate) fn append(&mut self, record: &impl Serialize) -> Result<RecordPosition, RemoteError> {
        let mut bytes = sealed(record);
        let place = (self.end, bytes.len());
        bytes.push(b'\n');
        self.write(&bytes)?;
        Ok(place)
    }

    /// The record at a position.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, (offset, length): RecordPosition) -> Result<T, RemoteError> {
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(offset)).map_err(RemoteError::io(&self.path, "read"))?;
        self.file.read_exact(&mut bytes).map_err(RemoteError::io(&self.path, "read"))?;
        opened(&bytes).map_err(|found| RemoteError::Record { path: self.path.clone(), offset, found })
    }

    /// Waits until everything is on disk.
    pub(crate) fn sync(&self) -> Result<(), RemoteError> {
        self.file.sync_data().map_err(RemoteError::io(&self.path, "sync"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RemoteError> {
        self.file.seek(SeekFrom::Start(self.end)).map_err(RemoteError::io(&self.path, "append to"))?;
        self.file.write_all(bytes).map_err(RemoteError::io(&self.path, "append to"))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Copies damaged bytes to the file for them and then blanks them out, so that a kill in between
    /// loses nothing.
    fn set_aside(&mut self, damaged: &[(u64, Vec<u8>)]) -> Result<PathBuf, RemoteError> {
        let aside = self.path.with_extension("damaged.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&aside);
        let mut file = file.map_err(RemoteError::io(&aside, "open"))?;
        for (_, bytes) in damaged {
            file.write_all(&[bytes, &b"\n"[..]].concat()).map_err(RemoteError::io(&aside, "append to"))?;
        }
        file.sync_data().map_err(RemoteError::io(&aside, "sync"))?;
        for (offset, bytes) in damaged {
            self.file.seek(SeekFrom::Start(*offset)).map_err(RemoteError::io(&self.path, "repair"))?;
            self.file.write_all(&vec![b' '; bytes.len()]).map_err(RemoteError::io(&self.path, "repair"))?;
        }
        Ok(aside)
    }
}

impl<T: DeserializeOwned> ParsedLine<T> {
    fn read(line: &[u8], start: &[u8]) -> Self {
        let mut read = Self { records: Vec::new(), damaged: Vec::new(), found: String::new() };
        if line.iter().all(u8::is_ascii_whitespace) {
            return read;
        }
        let trimmed = line.trim_ascii_end().len();
        match opened(&line[..trimmed]) {
            Ok(record) => {
                read.records.push((0..trimmed, record));
                return read;
            }
            Err(found) => read.found = found,
        }
        let (mut at, mut sound_to) = (0, 0);
        while let Some(next) = line[at..].windows(start.len()).position(|window| window == start) {
            let from = at + next;
            at = from + start.len();
            let mut values = serde_json::Deserializer::from_slice(&line[from..]).into_iter::<IgnoredAny>();
            if !matches!(values.next(), Some(Ok(_))) {
                continue;
            }
            let end = from + values.byte_offset();
            if let Ok(record) = opened(&line[from..end]) {
                read.leave(line, sound_to..from);
                read.records.push((from..end, record));
                (at, sound_to) = (end, end);
            }
        }
        read.leave(line, sound_to..line.len());
        read
    }

    /// A stretch between records: damaged, unless it is blank.
    fn leave(&mut self, line: &[u8], stretch: Range<usize>) {
        if !line[stretch.clone()].iter().all(u8::is_ascii_whitespace) {
            self.damaged.push(stretch);
        }
    }
}

/// The bytes of a record with its digest.
fn sealed(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(record).expect("a record serialises");
    let digest = blake3::hash(&bytes).to_hex();
    bytes.pop();
    bytes.extend_from_slice(SEAL);
    bytes.extend_from_slice(&digest.as_bytes()[..DIGITS]);
    bytes.extend_from_slice(b"\"}");
    bytes
}

/// The record in these bytes; the error says what is wrong. Records of older versions have no digest.
fn opened<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if let Some(before) = bytes.len().checked_sub(SEAL.len() + DIGITS + 2) {
        let (body, seal) = bytes.split_at(before);
        if let Some(digest) = seal.strip_prefix(SEAL).and_then(|rest| rest.strip_suffix(b"\"}")) {
            let mut hasher = blake3::Hasher::new();
            hasher.update(body).update(b"}");
            // A fuzzer would never get past the digest, and the code behind it must be robust on its own.
            if !cfg!(fuzzing) && &hasher.finalize().to_hex().as_bytes()[..DIGITS] != digest {
                return Err("its digest does not match its content".to_owned());
            }
        }
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let record = T::deserialize(&mut json).and_then(|record| json.end().map(|()| record));
    record.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        name: String,
        text: String,
    }

    const START: &[u8] = b"{\"name\":";

    fn records() -> Vec<Record> {
        ["a", "b", "c"].map(|name| Record { name: name.into(), text: format!("{name}\n{{}} ü {name}") }).into()
    }

    fn read(path: &Path) -> (Vec<String>, Option<Damage>) {
        let mut file = RecordFile::open(path).unwrap();
        let (mut names, mut places) = (Vec::new(), Vec::new());
        file.read_all(START, |record: Record, place| {
            names.push(record.name);
            places.push(place);
        })
        .unwrap();
        for (name, place) in names.iter().zip(places) {
            assert_eq!(&file.get::<Record>(place).unwrap().name, name);
        }
        (names, file.damage().cloned())
    }

    #[test]
    fn a_damaged_byte_costs_one_record_at_most_and_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        let mut file = RecordFile::open(&path).unwrap();
        file.read_all(START, |_: Record, _| panic!("a new file is empty")).unwrap();
        for record in records() {
            file.append(&record).unwrap();
        }
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        let seals: Vec<usize> = (0..whole.len()).filter(|&at| whole[at..].starts_with(b"\"sum\"")).collect();
        for at in 0..whole.len() {
            for byte in [b'x', b'\n'] {
                if whole[at] == byte {
                    continue;
                }
                let mut damaged = whole.clone();
                damaged[at] = byte;
                std::fs::write(&path, &damaged).unwrap();
                let (names, damage) = read(&path);
                let of_line_end = whole[at] == b'\n';
                assert!(names.len() >= if of_line_end { 3 } else { 2 }, "{at} {byte}: {names:?}");
                // A record is never read as another one than it was; only the name of the digest may differ.
                let in_seal = seals.iter().any(|seal| (*seal..seal + 5).contains(&at));
                assert!(damage.is_some() || in_seal, "{at} {byte}");
                if let Some(damage) = damage {
                    assert!(damage.aside.exists());
                    // The second time there is nothing left to say, and the others can still be read.
                    assert_eq!(read(&path), (names, None), "{at} {byte}");
                }
                let _ = std::fs::remove_file(path.with_extension("damaged.jsonl"));
            }
        }
    }

    #[test]
    fn damage_is_set_aside_and_appending_continues() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        let old = "{\"name\":\"old\",\"text\":\"without a digest\"}\n";
        std::fs::write(&path, format!("{old}{{\"name\":\"torn in the mid\n\n{old}{{\"name\":\"torn")).unwrap();
        let (names, damage) = read(&path);
        let damage = damage.unwrap();
        assert_eq!((names, damage.lines, damage.first), (vec!["old".to_owned(), "old".to_owned()], 1, 2));
        assert_eq!(std::fs::read_to_string(damage.aside).unwrap(), "{\"name\":\"torn in the mid\n");
        let mut file = RecordFile::open(&path).unwrap();
        file.read_all(START, |_: Record, _| ()).unwrap();
        let place = file.append(&records()[0]).unwrap();
        assert_eq!(file.get::<Record>(place).unwrap(), records()[0]);
        assert_eq!(read(&path).0, ["old", "old", "a"]);
    }
}
