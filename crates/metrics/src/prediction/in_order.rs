//! Reading a prediction file that has its documents in the order of gold.

use std::io;
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
        let end = file.line_end(&mut text, 0)?;
        let first = str::from_utf8(&text[..end]).ok().and_then(plain_head);
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

    /// Where the line that starts at `start` ends in a text, which gets more of the file if it has to.
    fn line_end(&mut self, text: &mut Vec<u8>, start: usize) -> io::Result<usize> {
        let mut searched = start;
        loop {
            if let Some(length) = memchr(b'\n', &text[searched..]) {
                return Ok(searched + length + 1);
            }
            searched = text.len();
            if self.ended {
                return Ok(searched);
            }
            self.ended = read_more(&mut self.source, text, STEP)? < STEP;
        }
    }

    /// Replaces `text` by the lines of the next documents, a run for each.
    pub(super) fn read(&mut self, documents: usize, text: &mut RunText, path: &Path) -> Result<(), EvaluationError> {
        let RunText { bytes, runs } = text;
        runs.clear();
        bytes.clear();
        bytes.append(&mut self.rest);
        let mut line_end = |bytes: &mut Vec<u8>, start| self.line_end(bytes, start).map_err(EvaluationError::io(path));
        let (mut start, mut end) = (0, line_end(bytes, 0)?);
        for _ in 0..documents {
            let head = str::from_utf8(&bytes[start..end]).ok().and_then(plain_head);
            let head = start..start + head.ok_or(EvaluationError::NotInOrder)?.key_end;
            // Lines that begin alike up to the end of the document's name are about the same document.
            let mut line = start;
            while bytes[line..].starts_with(&bytes[head.clone()]) {
                line = end;
                end = line_end(bytes, line)?;
            }
            // Where it matters which line it is, the index says it.
            runs.push((1, start..line));
            start = line;
        }
        self.rest.extend_from_slice(&bytes[start..]);
        bytes.truncate(start);
        Ok(())
    }

    /// Fails if lines are left.
    pub(super) fn check_end(&self) -> Result<(), EvaluationError> {
        let is_over = self.ended && self.rest.trim_ascii().is_empty();
        if is_over { Ok(()) } else { Err(EvaluationError::NotInOrder) }
    }
}
