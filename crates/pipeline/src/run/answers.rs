//! Writes the answers of a job while it runs, so that it can be resumed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tabpo_files::{Replacement, Target};
use tabpo_metrics::UnitOutput;

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
/// The prediction file appears when the job is done. Until then every answer is also kept, with a digest, in a partial
/// file beside it, and another attempt at the same job resumes after those that are intact. Answers that go to a pipe
/// or a device are not kept.
pub(crate) struct Answers {
    file: Replacement,
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
    /// Opens the prediction file at `path` for the job with this `id`, and returns the answers that an earlier attempt
    /// left: a multiple of `chunk`, and at most `most`.
    pub(crate) fn open(path: &Path, id: &str, chunk: usize, most: usize) -> Result<(Self, Vec<AnsweredUnit>), Error> {
        Self::try_open(path, id, chunk, most).or_input().map_err(|error| error.context(cannot_write(path)))
    }

    fn try_open(path: &Path, id: &str, chunk: usize, most: usize) -> io::Result<(Self, Vec<AnsweredUnit>)> {
        // Locks the file against other writers for as long as this lives.
        let mut file = Replacement::create(path)?;
        let Target::File(place) = Target::of(path)? else {
            return Ok((Self { file, partial: None, path: path.to_owned() }, Vec::new()));
        };
        let partial = place.with_extension(format!("{id}.partial"));
        let text = match fs::read(&partial) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut lines: Vec<(&[u8], AnsweredUnit)> =
            text.split_inclusive(|&byte| byte == b'\n').map_while(sound).collect();
        // Only whole chunks, because what is sampled depends on the chunk and the position in it.
        lines.truncate(lines.len().min(most) / chunk * chunk);
        for (line, _) in &lines {
            file.write_all(line)?;
        }
        let end = lines.iter().map(|(line, _)| DIGEST + 1 + line.len()).sum::<usize>() as u64;
        let partial = Partial { path: partial, end, file: None };
        let kept = lines.into_iter().map(|(_, answer)| answer).collect();
        Ok((Self { file, partial: Some(partial), path: path.to_owned() }, kept))
    }

    /// Whether another attempt can resume after these answers.
    pub(crate) fn are_kept(&self) -> bool {
        self.partial.is_some()
    }

    /// Adds an answer.
    pub(crate) fn add(&mut self, answer: &AnsweredUnit) -> Result<(), Error> {
        let mut line = serde_json::to_vec(answer).expect("a prediction is plain data");
        line.push(b'\n');
        writing::add(&mut self.file, &line, &self.path)?;
        if let Some(partial) = &mut self.partial {
            // A line is written at once, so a killed process damages at most the last one.
            let marked = [digest(&line).as_bytes(), b" ", &line].concat();
            let written = partial.open().and_then(|mut file| file.write_all(&marked));
            written.or_failed().map_err(|error| error.context(cannot_write(&self.path)))?;
        }
        Ok(())
    }

    /// Passes on what the reader of a pipe may be waiting for.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.partial.is_some() {
            return Ok(());
        }
        self.file.flush().or_failed().map_err(|error| error.context(cannot_write(&self.path)))
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

/// A line of the prediction file from a line of the partial file, as text and as the answer it holds, if it is intact.
fn sound(marked: &[u8]) -> Option<(&[u8], AnsweredUnit)> {
    let (stated, line) = marked.split_at_checked(DIGEST + 1)?;
    if stated != format!("{} ", digest(line)).as_bytes() {
        return None;
    }
    Some((line, serde_json::from_slice(line).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: usize) -> AnsweredUnit {
        let unit = UnitOutput { doc_key: format!("d{number}"), sent: None, output: "{}".into() };
        AnsweredUnit { unit, outcome: (number == 1).then_some(NoAnswer::TooLong) }
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("out.jsonl")
    }

    #[test]
    fn another_attempt_resumes_after_the_last_whole_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, done) = Answers::open(&path(&folder), "id", 2, 6).unwrap();
        assert!(done.is_empty());
        (0..5).for_each(|number| answers.add(&answer(number)).unwrap());
        drop(answers);
        let partial = folder.path().join("out.id.partial");
        let mut text = fs::read(&partial).unwrap();
        // The last line was cut off in the middle.
        text.truncate(text.len() - 3);
        fs::write(&partial, &text).unwrap();

        // Another job does not use it.
        let (other, done) = Answers::open(&path(&folder), "other", 2, 6).unwrap();
        assert!(done.is_empty());
        drop(other);
        assert!(!folder.path().join("out.other.partial").exists());

        let (mut answers, done) = Answers::open(&path(&folder), "id", 2, 6).unwrap();
        assert_eq!(done, [0, 1, 2, 3].map(answer));
        (4..6).for_each(|number| answers.add(&answer(number)).unwrap());
        answers.finish().unwrap();
        let lines = fs::read_to_string(path(&folder)).unwrap();
        let keys: Vec<String> =
            lines.lines().map(|line| serde_json::from_str::<UnitOutput>(line).unwrap().doc_key).collect();
        assert_eq!(keys, ["d0", "d1", "d2", "d3", "d4", "d5"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_job_without_answers_leaves_an_empty_file_or_none() {
        let folder = tempfile::tempdir().unwrap();
        drop(Answers::open(&path(&folder), "id", 2, 6).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Answers::open(&path(&folder), "id", 2, 0).unwrap().0.finish().unwrap();
        assert_eq!(fs::read(path(&folder)).unwrap(), b"");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_answer_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, _) = Answers::open(&path(&folder), "id", 1, 9).unwrap();
        (0..4).for_each(|number| answers.add(&answer(number)).unwrap());
        drop(answers);
        let partial = folder.path().join("out.id.partial");
        let text = fs::read(&partial).unwrap();
        for position in 0..text.len() {
            let mut damaged = text.clone();
            damaged[position] ^= 1;
            fs::write(&partial, &damaged).unwrap();
            let before = text[..position].split(|&byte| byte == b'\n').count() - 1;
            assert_eq!(Answers::open(&path(&folder), "id", 1, 9).unwrap().1.len(), before, "{position}");
        }
    }

    #[test]
    fn fewer_answers_than_there_are_can_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, _) = Answers::open(&path(&folder), "id", 1, 9).unwrap();
        (0..5).for_each(|number| answers.add(&answer(number)).unwrap());
        drop(answers);
        assert_eq!(Answers::open(&path(&folder), "id", 1, 3).unwrap().1.len(), 3);
    }

    #[test]
    fn a_second_job_for_the_same_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = Answers::open(&path(&folder), "id", 2, 6).unwrap();
        let error = Answers::open(&path(&folder), "other", 2, 6).err().unwrap();
        assert!(error.messages.concat().contains("another process"), "{error:?}");
        drop(first);
        assert!(Answers::open(&path(&folder), "other", 2, 6).is_ok());
    }
}
