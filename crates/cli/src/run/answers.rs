//! Where answers go while a job is under way.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use tabpo_files::{Claim, Replacement, Target};
use tabpo_metrics::UnitOutput;

use crate::{
    error::{CliError, ResultExt},
    writing::{self, cannot_write},
};

/// The answers of a job, written as they come: into a file beside the one that they will be, which a
/// later try of the same job goes on with, or straight into a pipe or device.
pub struct Answers {
    sink: Sink,
    /// The prediction file, as it was named.
    path: PathBuf,
}

enum Sink {
    File {
        /// Nobody else writes the same predictions as long as this lives.
        _claim: Claim,
        partial: PartialFile,
        place: PathBuf,
    },
    Stream(Replacement),
}

impl Answers {
    /// Opens the answers to `path` of the job called `id`, with the number of answers that an earlier
    /// try left. These are whole multiples of `chunk` and no more than `most`.
    pub fn open(path: &Path, id: &str, chunk: usize, most: usize) -> Result<(Self, usize), CliError> {
        Self::try_open(path, id, chunk, most).or_input().map_err(|error| error.context(cannot_write(path)))
    }

    fn try_open(path: &Path, id: &str, chunk: usize, most: usize) -> io::Result<(Self, usize)> {
        let Target::File(place) = Target::of(path)? else {
            let stream = Sink::Stream(Replacement::create(path)?);
            return Ok((Self { sink: stream, path: path.to_owned() }, 0));
        };
        let claim = Claim::of(&place)?;
        let partial = place.with_extension(format!("{id}.partial"));
        let ends = match fs::read(&partial) {
            Ok(text) => whole_lines(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // Whole chunks only, because a draw depends on the chunk and the position in it.
        let done = ends.len().min(most) / chunk * chunk;
        let end = if done == 0 { 0 } else { ends[done - 1] };
        let file = PartialFile { path: partial, end: end as u64, file: None };
        Ok((Self { sink: Sink::File { _claim: claim, partial: file, place }, path: path.to_owned() }, done))
    }

    /// Whether a later try can go on with what is there.
    pub fn are_kept(&self) -> bool {
        matches!(self.sink, Sink::File { .. })
    }

    /// Adds an answer.
    pub fn add(&mut self, answer: &UnitOutput) -> Result<(), CliError> {
        let mut line = serde_json::to_vec(answer).expect("a prediction is plain data");
        line.push(b'\n');
        match &mut self.sink {
            Sink::Stream(stream) => writing::add(stream, &line, &self.path),
            Sink::File { partial, .. } => partial
                .open()
                .and_then(|mut file| file.write_all(&line))
                .or_failed()
                .map_err(|error| error.context(cannot_write(&self.path))),
        }
    }

    /// Hands on what a pipe's reader may wait for.
    pub fn flush(&mut self) -> Result<(), CliError> {
        match &mut self.sink {
            Sink::Stream(stream) => stream.flush().or_failed().map_err(|error| error.context(cannot_write(&self.path))),
            Sink::File { .. } => Ok(()),
        }
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<(), CliError> {
        match self.sink {
            Sink::Stream(stream) => writing::finish(stream, &self.path),
            Sink::File { _claim, mut partial, place } => partial
                .open()
                .and_then(File::sync_all)
                .and_then(|()| fs::rename(&partial.path, &place))
                .or_failed()
                .map_err(|error| error.context(cannot_write(&self.path))),
        }
    }
}

/// The file beside the prediction file. It is opened with the first answer, so that a job that fails
/// before leaves nothing.
struct PartialFile {
    path: PathBuf,
    /// The length of what is gone on with, in bytes.
    end: u64,
    file: Option<File>,
}

impl PartialFile {
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

/// The ends of the lines that were written whole, up to the first that was not; a kill can cut off the
/// last one.
fn whole_lines(text: &[u8]) -> Vec<usize> {
    let mut end = 0;
    text.split_inclusive(|&byte| byte == b'\n')
        .take_while(|line| line.ends_with(b"\n") && serde_json::from_slice::<UnitOutput>(line).is_ok())
        .map(|line| {
            end += line.len();
            end
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: usize) -> UnitOutput {
        UnitOutput { doc_key: format!("d{number}"), sent: None, output: "{}".into() }
    }

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("out.jsonl")
    }

    #[test]
    fn a_later_try_goes_on_after_the_last_whole_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, done) = Answers::open(&path(&folder), "id", 2, 6).unwrap();
        assert_eq!(done, 0);
        (0..5).for_each(|number| answers.add(&answer(number)).unwrap());
        drop(answers);
        let partial = folder.path().join("out.id.partial");
        let mut text = fs::read(&partial).unwrap();
        text.truncate(text.len() - 3);
        text.extend_from_slice(b"\n{\"doc_key\"");
        fs::write(&partial, &text).unwrap();

        // Another job does not go on with it.
        let (other, done) = Answers::open(&path(&folder), "other", 2, 6).unwrap();
        assert_eq!(done, 0);
        drop(other);
        assert!(!folder.path().join("out.other.partial").exists());

        let (mut answers, done) = Answers::open(&path(&folder), "id", 2, 6).unwrap();
        assert_eq!(done, 4);
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
    fn fewer_answers_than_there_are_can_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mut answers, _) = Answers::open(&path(&folder), "id", 1, 9).unwrap();
        (0..5).for_each(|number| answers.add(&answer(number)).unwrap());
        drop(answers);
        assert_eq!(Answers::open(&path(&folder), "id", 1, 3).unwrap().1, 3);
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
