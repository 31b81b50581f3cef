//! An index of a prediction file: where the lines of each document are.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use tabpo_files::{Block, Line, LineBlocks};
use tabpo_ontology::{canonical_name, nearest};

use super::{PredictionKind, RunText, Source, head};
use crate::error::EvaluationError;

/// An indexed prediction file, read document by document in any order.
pub(super) struct Index {
    reader: BufReader<Box<dyn Source>>,
    /// Where `reader` stands in the file; `None` if that is not known, because reading failed.
    position: Option<u64>,
    /// The number of each document, in the order of their first lines.
    documents: FxHashMap<Box<str>, u32>,
    /// The same by composed names, of documents whose names are not ASCII.
    composed: FxHashMap<String, u32>,
    /// The last run of each document.
    last_runs: Vec<u32>,
    runs: Vec<Run>,
    /// Whether units are whole documents.
    pub(super) whole_documents: bool,
    /// Whether each document was read, and how many were.
    seen: Vec<bool>,
    found: usize,
    /// The keys that were asked for, one behind the other, and where each ends.
    asked: (String, Vec<usize>),
}

/// Lines of one document that follow each other in the file, blank ones between them included.
struct Run {
    offset: u64,
    length: u32,
    /// Number of the first line.
    number: u32,
    /// The run before this one of the same document.
    previous: Option<u32>,
}

/// Bytes that are read at a time for the index.
const BLOCK: usize = 1 << 18;

/// Lines that one thread takes at a time.
const LINES: usize = 64;

/// What indexing gathers.
#[derive(Default)]
struct Builder {
    kind: Option<PredictionKind>,
    documents: FxHashMap<Box<str>, u32>,
    last_runs: Vec<u32>,
    runs: Vec<Run>,
    whole_documents: bool,
    /// The document of the last line.
    key: String,
}

impl Builder {
    fn add(&mut self, line: &Line, kind: PredictionKind, key: &str, path: &Path) -> Result<(), EvaluationError> {
        if *self.kind.get_or_insert(kind) != kind {
            let found = "the file holds raw output and predictions by offset; use one kind";
            return Err(EvaluationError::invalid(path, line.number as u32, found.into()));
        }
        let end = line.offset + line.bytes.len() as u64;
        if let Some(run) = self.runs.last_mut().filter(|_| self.key == key)
            && let Ok(length) = u32::try_from(end - run.offset)
        {
            run.length = length;
            return Ok(());
        }
        let number = self.runs.len() as u32;
        let previous = match self.documents.get(key) {
            Some(&document) => Some(std::mem::replace(&mut self.last_runs[document as usize], number)),
            None => {
                self.documents.insert(key.into(), self.last_runs.len() as u32);
                self.last_runs.push(number);
                None
            }
        };
        self.runs.push(Run {
            offset: line.offset,
            length: line.bytes.len() as u32,
            number: line.number as u32,
            previous,
        });
        key.clone_into(&mut self.key);
        Ok(())
    }
}

impl Index {
    /// Reads a file from its start to its end.
    pub(super) fn build(mut source: Box<dyn Source>, path: &Path) -> Result<(Self, PredictionKind), EvaluationError> {
        let io = EvaluationError::io(path);
        let mut index = Builder::default();
        let mut blocks = LineBlocks::new(&mut source);
        let (mut block, mut next) = (Block::default(), Block::default());
        blocks.fill(&mut block, BLOCK).map_err(&io)?;
        while !block.is_empty() {
            let lines: Vec<Line> = block.lines().collect();
            let heads = || lines.par_iter().with_min_len(LINES).map(|line| head(line, path)).collect::<Vec<_>>();
            // The next block is read meanwhile.
            let (read, heads) = rayon::join(|| blocks.fill(&mut next, BLOCK), heads);
            for (line, head) in lines.iter().zip(heads) {
                let Some((kind, key, whole)) = head? else { continue };
                index.add(line, kind, &key, path)?;
                index.whole_documents |= whole;
            }
            read.map_err(&io)?;
            std::mem::swap(&mut block, &mut next);
        }
        let position = Some(source.stream_position().map_err(&io)?);
        let Builder { kind, documents, last_runs, runs, whole_documents, .. } = index;
        let kind = kind.ok_or_else(|| EvaluationError::invalid(path, 1, "the file holds no prediction".into()))?;
        let wide = documents.iter().filter(|(key, _)| !key.is_ascii());
        let composed = wide.map(|(key, &document)| (canonical_name(key).into_owned(), document)).collect();
        let reader = BufReader::with_capacity(1 << 18, source);
        let (seen, found, asked) = (vec![false; documents.len()], 0, Default::default());
        Ok((Self { reader, position, documents, composed, last_runs, runs, whole_documents, seen, found, asked }, kind))
    }

    /// Starts anew with the documents that were asked for.
    pub(super) fn start(&mut self) {
        self.seen.fill(false);
        self.found = 0;
        self.asked.0.clear();
        self.asked.1.clear();
    }

    /// Reads the lines of a document behind those that `text` holds already; returns its runs, `None`
    /// if it has no prediction.
    pub(super) fn read(
        &mut self,
        key: &str,
        text: &mut RunText,
        path: &Path,
    ) -> Result<Option<Range<usize>>, EvaluationError> {
        self.asked.0.push_str(key);
        self.asked.1.push(self.asked.0.len());
        let in_any_composition = || self.composed.get(&*canonical_name(key)).filter(|_| !key.is_ascii());
        let Some(&document) = self.documents.get(key).or_else(in_any_composition) else { return Ok(None) };
        self.found += usize::from(!std::mem::replace(&mut self.seen[document as usize], true));
        let first = text.runs.len();
        let mut next = Some(self.last_runs[document as usize]);
        let mut chain = Vec::new();
        while let Some(run) = next {
            chain.push(run);
            next = self.runs[run as usize].previous;
        }
        for run in chain.into_iter().rev() {
            let run = &self.runs[run as usize];
            let start = text.bytes.len();
            let end = start + run.length as usize;
            text.bytes.resize(end, 0);
            let seek = match self.position.take() {
                // This keeps what is buffered: files in the order of gold are read once.
                Some(position) => self.reader.seek_relative(run.offset as i64 - position as i64),
                None => self.reader.seek(SeekFrom::Start(run.offset)).map(|_| ()),
            };
            seek.and_then(|()| self.reader.read_exact(&mut text.bytes[start..end]))
                .map_err(EvaluationError::io(path))?;
            self.position = Some(run.offset + u64::from(run.length));
            text.runs.push((run.number, start..end));
        }
        Ok(Some(first..text.runs.len()))
    }

    /// Fails if the file has a document that was not asked for.
    pub(super) fn check_unknown(&self, path: &Path) -> Result<(), EvaluationError> {
        if self.found == self.documents.len() {
            return Ok(());
        }
        let unseen = self.documents.iter().filter(|&(_, &document)| !self.seen[document as usize]);
        let lines = unseen.map(|(key, &document)| (&**key, self.first_line(document)));
        let Some((key, line)) = lines.min_by_key(|&(_, number)| number) else { return Ok(()) };
        let (asked, ends) = &self.asked;
        let mut start = 0;
        let asked = ends.iter().map(|&end| &asked[std::mem::replace(&mut start, end)..end]);
        // Threads ask in whatever order; of equally near keys it is always the same that is named.
        let mut asked: Vec<&str> = asked.collect();
        asked.sort_unstable();
        let hint = nearest(key, asked).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        Err(EvaluationError::invalid(path, line, format!("the gold corpus has no document `{key}`{hint}")))
    }

    /// The number of the first line of a document.
    fn first_line(&self, document: u32) -> u32 {
        let mut run = &self.runs[self.last_runs[document as usize] as usize];
        while let Some(previous) = run.previous {
            run = &self.runs[previous as usize];
        }
        run.number
    }
}
