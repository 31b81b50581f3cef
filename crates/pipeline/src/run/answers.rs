//! Writes the answers of a job while it runs, so that it can be resumed.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tabpo_files::{Replacement, Target};
use tabpo_metrics::UnitOutput;
use tabpo_roles::List;

use super::directory::remove_if_there;
use crate::{
    error::{Error, ResultExt},
    writing::{self, cannot_write},
};

/// A line of a prediction file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnsweredUnit {
    /// The answer; empty where there is none.
    #[serde(flatten)]
    pub unit: UnitOutput,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<NoAnswer>,
    /// What was decided about its lists, where that is recorded for tuning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<RecordedDecision>,
}

/// What was decided about a list of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedDecision {
    /// The list.
    pub list: List,
    /// The byte of the answer from which on it matters.
    pub at: usize,
    /// The list goes on at every threshold whose log-odds are below this.
    pub log_odds: f64,
}

/// Why a unit has no answer, by the same names as for hosted models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NoAnswer {
    /// The prompt is longer than the model's context.
    TooLong,
}

/// How many hexadecimal digits a digest in a partial file has.
const DIGEST: usize = 16;

/// The answers of a job, written as they come.
///
/// Answers come in any order and are written in that of the units. The prediction file appears when the job is done.
/// Until then every answer is also kept, with its number and a digest, in a partial file beside it, and another attempt
/// at the same job needs only those that are missing or damaged there. Answers that go to a pipe or a device are not
/// kept.
pub(crate) struct Answers {
    file: Replacement,
    /// The number of answers in `file`.
    written: usize,
    /// Lines that wait for an earlier one.
    waiting: BTreeMap<usize, Vec<u8>>,
    partial: Option<Partial>,
    /// The prediction file, as the caller named it.
    path: PathBuf,
}

/// The partial file. It is opened when the first answer comes, so that a job that fails before leaves nothing.
struct Partial {
    path: PathBuf,
    /// The length of the intact answers, in bytes.
    end: u64,
    file: Option<File>,
}

impl Partial {
    fn open(&mut self) -> io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            unopened => {
                let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
                file.set_len(self.end)?;
                file.seek(io::SeekFrom::End(0))?;
                Ok(unopened.insert(file))
            }
        }
    }
}

impl Answers {
    /// Opens the prediction file at `path` for the job with this `id` and this many answers, and returns those that
    /// earlier attempts left, by number.
    pub(crate) fn open(path: &Path, id: &str, count: usize) -> Result<(Self, BTreeMap<usize, AnsweredUnit>), Error> {
        Self::try_open(path, id, count).or_input().map_err(|error| error.context(cannot_write(path)))
    }

    fn try_open(path: &Path, id: &str, count: usize) -> io::Result<(Self, BTreeMap<usize, AnsweredUnit>)> {
        // Locks the file against other writers for as long as this lives.
        let file = Replacement::create(path)?;
        let mut new = Self { file, written: 0, waiting: BTreeMap::new(), partial: None, path: path.to_owned() };
        let Target::File(place) = Target::of(path)? else { return Ok((new, BTreeMap::new())) };
        let partial = place.with_extension(format!("{id}.partial"));
        let text = match fs::read(&partial) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // A line that a killed process began is cut off; a damaged one costs only itself.
        let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let mut kept = BTreeMap::new();
        for (number, line, answer) in text[..end].split_inclusive(|&byte| byte == b'\n').filter_map(sound) {
            if number < count {
                new.waiting.insert(number, line.to_vec());
                kept.insert(number, answer);
            }
        }
        new.write_in_order()?;
        new.partial = Some(Partial { path: partial, end: end as u64, file: None });
        Ok((new, kept))
    }

    /// Writes the lines whose turn it is.
    fn write_in_order(&mut self) -> io::Result<()> {
        while let Some(line) = self.waiting.remove(&self.written) {
            self.file.write_all(&line)?;
            self.written += 1;
        }
        Ok(())
    }

    /// Whether another attempt can resume after these answers.
    pub(crate) fn are_kept(&self) -> bool {
        self.partial.is_some()
    }

    /// Adds the answer with this number.
    pub(crate) fn add(&mut self, number: usize, answer: &AnsweredUnit) -> Result<(), Error> {
        self.try_add(number, answer).or_failed().map_err(|error| error.context(cannot_write(&self.path)))
    }

    fn try_add(&mut self, number: usize, answer: &AnsweredUnit) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer).expect("a prediction is plain data");
        line.push(b'\n');
        if let Some(partial) = &mut self.partial {
            let numbered = [format!("{number} ").as_bytes(), &line].concat();
            // A line is written at once, so a killed process damages at most the last one.
            let marked = [digest(&numbered).as_bytes(), b" ", &numbered].concat();
            partial.open()?.write_all(&marked)?;
        }
        self.waiting.insert(number, line);
        self.write_in_order()?;
        if self.partial.is_none() {
            // The reader of a pipe may be waiting.
            self.file.flush()?;
        }
        Ok(())
    }

    /// Puts the complete file in place.
    pub(crate) fn finish(self) -> Result<(), Error> {
        writing::finish(self.file, &self.path)?;
        self.partial.map_or(Ok(()), |partial| remove_if_there(&partial.path))
    }
}

/// The first digits of a line's digest.
fn digest(line: &[u8]) -> String {
    blake3::hash(line).to_hex()[..DIGEST].to_owned()
}

/// The number, the line of the prediction file and the answer of a line of the partial file, if it is intact.
fn sound(marked: &[u8]) -> Option<(usize, &[u8], AnsweredUnit)> {
    let (stated, numbered) = marked.split_at_checked(DIGEST + 1)?;
    if stated != format!("{} ", digest(numbered)).as_bytes() {
        return None;
    }
    let (number, line) = numbered.split_at(numbered.iter().position(|&byte| byte == b' ')?);
    let line = &line[1..];
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, line, serde_json::from_slice(line).ok()?))
}

#[cfg(test)]
mod tests {
    use tabpo_ontology::AnswerForm;

    use super::*;

    fn answer(number: usize) -> AnsweredUnit {
        let unit =
            UnitOutput { doc_key: format!("d{number}"), sent: None, form: AnswerForm::List, output: "{}".into() };
        let decision = RecordedDecision { list: List::Relations, at: 7, log_odds: f64::MIN };
        let decisions = vec![decision; number % 3];
        AnsweredUnit { unit, outcome: (number == 1).then_some(NoAnswer::TooLong), decisions }
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("out.jsonl")
    }

    fn open(folder: &tempfile::TempDir, id: &str, count: usize) -> (Answers, Vec<usize>) {
        let (answers, kept) = Answers::open(&path(folder), id, count).unwrap();
        for (&number, found) in &kept {
            assert_eq!(*found, answer(number));
        }
        (answers, kept.into_keys().collect())
    }

    fn add(answers: &mut Answers, numbers: &[usize]) {
        for &number in numbers {
            answers.add(number, &answer(number)).unwrap();
        }
    }

    #[test]
    fn another_attempt_needs_only_what_is_missing_and_writes_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, _) = open(&folder, "id", 6);
        add(&mut answers, &[0, 1, 2, 3, 4, 5]);
        answers.finish().unwrap();
        let whole = fs::read(path(&folder)).unwrap();
        let order = [2, 0, 5, 1, 4, 3];
        // Stopped after each number of answers, and killed within the next line.
        for stop in 0..=order.len() {
            let folder = tempfile::tempdir().unwrap();
            let (mut answers, kept) = open(&folder, "id", 6);
            assert!(kept.is_empty());
            add(&mut answers, &order[..stop]);
            drop(answers);
            let partial = folder.path().join("out.id.partial");
            if stop > 0 {
                let mut text = fs::read(&partial).unwrap();
                text.extend(b"0123456789abcdef 3 {");
                fs::write(&partial, &text).unwrap();
            }
            // Another job does not use it.
            let (other, kept) = open(&folder, "other", 6);
            assert!(kept.is_empty());
            drop(other);
            assert!(!folder.path().join("out.other.partial").exists());

            let (mut answers, kept) = open(&folder, "id", 6);
            let mut expected = order[..stop].to_vec();
            expected.sort_unstable();
            assert_eq!(kept, expected);
            add(&mut answers, &order[stop..]);
            answers.finish().unwrap();
            assert_eq!(fs::read(path(&folder)).unwrap(), whole, "stopped after {stop}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_job_without_answers_leaves_an_empty_file_or_none() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(&folder, "id", 6));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        open(&folder, "id", 0).0.finish().unwrap();
        assert_eq!(fs::read(path(&folder)).unwrap(), b"");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_costs_the_answer_that_it_hits() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, _) = open(&folder, "id", 9);
        add(&mut answers, &[3, 0, 1, 2]);
        drop(answers);
        let partial = folder.path().join("out.id.partial");
        let text = fs::read(&partial).unwrap();
        for position in 0..text.len() {
            let mut damaged = text.clone();
            damaged[position] ^= 1;
            fs::write(&partial, &damaged).unwrap();
            let hit = [3, 0, 1, 2][text[..position].split(|&byte| byte == b'\n').count() - 1];
            let kept = open(&folder, "id", 9).1;
            assert!(!kept.contains(&hit), "{position}");
            // A damaged line end also costs the line that follows.
            let lost = if text[position] == b'\n' { 2 } else { 1 };
            assert!(kept.len() + lost >= 4, "{position}: {kept:?}");
        }
    }

    #[test]
    fn fewer_answers_than_there_are_can_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, _) = open(&folder, "id", 9);
        add(&mut answers, &[4, 2, 0, 3]);
        drop(answers);
        assert_eq!(open(&folder, "id", 3).1, [0, 2]);
    }

    #[test]
    fn a_second_job_for_the_same_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = Answers::open(&path(&folder), "id", 6).unwrap();
        let error = Answers::open(&path(&folder), "other", 6).err().unwrap();
        assert!(error.messages.concat().contains("another process"), "{error:?}");
        drop(first);
        assert!(Answers::open(&path(&folder), "other", 6).is_ok());
    }
}
