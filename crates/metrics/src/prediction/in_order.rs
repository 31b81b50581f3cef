//! Reading a prediction file that has its documents in the order of gold.

use std::io;
use std::ops::Range;
use std::path::Path;

use memchr::memchr;
use tabpo_files::read_more;

use super::{PredictionKind, RunText, Source, plain_head};
use crate::error::EvaluationError;

/// A prediction file that is read once from its start to its end.
///
/// It holds the lines of every document of gold, one document behind the other as gold has them, and
/// the lines are as programs write them. Of anything else the index knows what to make, and so it does
/// of faults: this reader only says that it cannot go on.
pub(super) struct InOrder {
    source: Box<dyn Source>,
    kind: PredictionKind,
    /// What was read and not given out.
    rest: Vec<u8>,
    /// Whether `rest` ends where the file does.
    ended: bool,
}

/// Bytes that are read at a time, into the text of whoever asks.
const STEP: usize = 1 << 16;

impl InOrder {
    /// At the first line of a file; `None` for a file that is to be read by its index.
    pub(super) fn open(source: Box<dyn Source>) -> io::Result<Option<Self>> {
        let mut file = Self { source, kind: PredictionKind::Raw, rest: Vec::new(), ended: false };
        let mut text = Vec::new();
        let line = file.next_line(&mut text, 0)?;
        let first = str::from_utf8(&text[line]).ok().and_then(plain_head);
        let kind = first.and_then(|head| head.kind());
        Ok(kind.map(|kind| Self { kind, ..file }))
    }

    /// Which kind of lines the file holds.
    pub(super) fn kind(&self) -> PredictionKind {
        self.kind
    }

    /// Starts anew at the first line.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.rest.clear();
        self.ended = false;
        self.source.rewind()
    }

    /// The first line from `start` on that is not blank, empty at the end of the file. The text gets more
    /// of the file if it has to.
    fn next_line(&mut self, text: &mut Vec<u8>, mut start: usize) -> io::Result<Range<usize>> {
        let mut searched = start;
        loop {
            if let Some(length) = memchr(b'\n', &text[searched..]) {
                let end = searched + length + 1;
                if !text[start..end].trim_ascii_start().is_empty() {
                    return Ok(start..end);
                }
                (start, searched) = (end, end);
            } else if self.ended {
                let is_blank = text[start..].trim_ascii_start().is_empty();
                return Ok(if is_blank { text.len() } else { start }..text.len());
            } else {
                searched = text.len();
                self.ended = read_more(&mut self.source, text, STEP)? < STEP;
            }
        }
    }

    /// Replaces `text` by the lines of the next documents, a run for each.
    pub(super) fn read(&mut self, documents: usize, text: &mut RunText, path: &Path) -> Result<(), EvaluationError> {
        let RunText { bytes, runs } = text;
        runs.clear();
        bytes.clear();
        bytes.append(&mut self.rest);
        let kind = self.kind;
        let mut next_line =
            |bytes: &mut Vec<u8>, start| self.next_line(bytes, start).map_err(EvaluationError::io(path));
        let mut line = next_line(bytes, 0)?;
        for _ in 0..documents {
            let start = line.start;
            let head = str::from_utf8(&bytes[line.clone()]).ok().and_then(plain_head);
            let head = head.filter(|head| head.kind() == Some(kind)).ok_or(EvaluationError::NotInOrder)?;
            // Lines that begin alike up to the end of the document's name are about the same document.
            let head = start..start + head.key_end;
            while bytes[line.clone()].starts_with(&bytes[head.clone()]) {
                line = next_line(bytes, line.end)?;
            }
            // Where it matters which line it is, the index says it.
            runs.push((1, start..line.start));
        }
        self.rest.extend_from_slice(&bytes[line.start..]);
        bytes.truncate(line.start);
        Ok(())
    }

    /// Fails if lines are left.
    pub(super) fn check_end(&self) -> Result<(), EvaluationError> {
        if self.ended && self.rest.is_empty() { Ok(()) } else { Err(EvaluationError::NotInOrder) }
    }
}
