//! `CoNLL` columns: a token on each line, its word in the first column and its tag in the last one.
//!
//! Tags are `O`, or a letter for the token's place in a mention and a label: `B-` begins one, `I-` goes on, `E-` and `L-`
//! end one, `S-` and `U-` are one alone (IOB1, IOB2, BIOES and BILOU). A blank line ends a sentence, and `-DOCSTART-`
//! begins a document. In a file without it every sentence is a document of its own, so that sentences can be held out
//! and resampled. There are no relations. Columns between word and tag, and lines that begin with `#` and a blank, are
//! counted as not read.

use std::borrow::Cow;

use tabpo_ontology::Ontology;

use super::{
    source::Source,
    token_document::{Ends, Labelled, MentionEntry, Sentences, Text, TokenDocument},
};
use crate::{CorpusError, Document, Loaded, Notes, Problem};

/// What begins a document.
const DOCUMENT: &str = "-DOCSTART-";

/// The sentences of a document, in the making.
#[derive(Default)]
struct Content<'t> {
    sentences: Vec<Vec<Text<'t>>>,
    mentions: Vec<Vec<MentionEntry<'t>>>,
    /// The line of its first token.
    line: usize,
    tokens: i64,
    /// Whether the last token's mention may go on.
    open: bool,
}

/// Reads a file.
pub(crate) fn read(source: &Source, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let text = source.text()?;
    let path = source.path;
    let has_documents = text.lines().any(|line| line.starts_with(DOCUMENT));
    let mut loaded = Loaded::default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut content = Content::default();
    let mut sentence_is_open = false;
    for (number, line) in (1..).zip(text.lines().chain([""])) {
        let mut columns = line.split_whitespace();
        let word = columns.next();
        let starts = word == Some(DOCUMENT);
        if word.is_none() || starts {
            sentence_is_open = false;
            content.open = false;
            if starts || !has_documents {
                content.finish(&stem, path, ontology, &mut loaded)?;
            }
            continue;
        }
        if line.starts_with("# ") {
            loaded.notes.ignore("comment lines");
            continue;
        }
        let invalid = |problem| CorpusError::invalid(path, number, None, problem);
        let word = word.expect("a line that is not blank has a word");
        let columns: Vec<&str> = columns.collect();
        let Some((tag, between)) = columns.split_last() else {
            return Err(invalid(Problem::malformed(format!(
                "`{word}` has no tag: a line is a word and a tag, such as `{word} O`"
            ))));
        };
        if !between.is_empty() {
            loaded.notes.ignore("columns between word and tag");
        }
        if !sentence_is_open {
            content.sentences.push(Vec::new());
            content.mentions.push(Vec::new());
            sentence_is_open = true;
        }
        if content.tokens == 0 {
            content.line = number;
        }
        content.add(word, tag).map_err(invalid)?;
    }
    content.finish(&stem, path, ontology, &mut loaded)?;
    Ok(loaded)
}

impl<'t> Content<'t> {
    /// Adds a token to the last sentence.
    fn add(&mut self, word: &'t str, tag: &'t str) -> Result<(), Problem> {
        let at = self.tokens;
        self.tokens += 1;
        let last = "a token is in a sentence";
        self.sentences.last_mut().expect(last).push(Text(Cow::Borrowed(word)));
        if tag == "O" {
            self.open = false;
            return Ok(());
        }
        let parts = tag.split_once('-').filter(|(_, label)| !label.is_empty());
        let Some((place @ ("B" | "I" | "E" | "S" | "L" | "U"), label)) = parts else {
            return Err(Problem::malformed(format!(
                "the tag of `{word}` is `{tag}`; a tag is O, or B- or I- with a label, such as B-PER"
            )));
        };
        let mentions = self.mentions.last_mut().expect(last);
        let goes_on = matches!(place, "I" | "E" | "L") && self.open;
        match mentions.last_mut().filter(|mention| goes_on && mention.name.0 == label) {
            Some(mention) => mention.offsets[1] = at,
            None => mentions.push(Labelled { offsets: [at, at], name: Text(Cow::Borrowed(label)), more: false }),
        }
        self.open = matches!(place, "B" | "I");
        Ok(())
    }

    /// Turns what was collected into a document, if there is any, and begins another one.
    fn finish(
        &mut self,
        stem: &str,
        path: &std::path::Path,
        ontology: &Ontology,
        loaded: &mut Loaded,
    ) -> Result<(), CorpusError> {
        let Self { sentences, mentions, line, .. } = std::mem::take(self);
        if sentences.is_empty() {
            return Ok(());
        }
        let key = format!("{stem}-{}", loaded.documents.len() + 1);
        let content = TokenDocument {
            sentences: Some(Sentences::from(sentences)),
            ner: Some(mentions),
            relations: None,
            clusters: None,
        };
        let mut notes = Notes::default();
        let document: Document = content
            .into_document(&key, Ends::Inclusive, ontology, &mut notes)
            .map_err(|problem| CorpusError::invalid(path, line, Some(key.clone()), problem))?;
        loaded.notes.merge(notes);
        loaded.documents.push(document);
        Ok(())
    }
}
