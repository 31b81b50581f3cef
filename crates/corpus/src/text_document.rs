//! A document in terms of character offsets, and the conversion to a [`Document`] and back.
//!
//! # Tokens and sentences
//!
//! Where a file does not say what a token is, tokens are the words of Unicode Standard Annex 29
//! (letters, digits and what joins them) and each other character that is not whitespace.
//! Where it does not say what a sentence is, sentences are those of the same annex, which end at
//! line breaks and after `.`, `?` and `!` if no lower-case letter follows. A mention or sentence
//! boundary inside a token splits the token; sentences that a mention crosses are joined.

use std::{collections::BTreeSet, ops::Range};

use tabpo_ontology::{EntityLabelId, Ontology, SubtypeId};
use unicode_segmentation::UnicodeSegmentation;

use crate::{
    Document, Mention, Note, Notes, Problem, Relation, Span,
    characters::{CharacterMap, Characters, found, is_blank},
};

/// A document by character offsets. Labels are already resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextDocument {
    pub(crate) key: String,
    pub(crate) text: String,
    /// Token boundaries, where the file gives them.
    pub(crate) tokens: Option<Vec<Characters>>,
    /// Sentence boundaries, where the file gives them.
    pub(crate) sentences: Option<Vec<Characters>>,
    pub(crate) entities: Vec<TextEntity>,
    /// Arguments are positions in `entities`.
    pub(crate) relations: Vec<Relation>,
    pub(crate) clusters: Vec<Vec<Characters>>,
}

/// A mention by character offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextEntity {
    pub(crate) at: Characters,
    pub(crate) label: EntityLabelId,
    pub(crate) subtype: Option<SubtypeId>,
}

impl TextDocument {
    /// Finds tokens and sentences and checks everything.
    pub(crate) fn into_document(self, ontology: &Ontology, notes: &mut Notes) -> Result<Document, Problem> {
        let map = CharacterMap::new(&self.text);
        let mut mention_bytes = Vec::with_capacity(self.entities.len());
        for entity in &self.entities {
            let range = map.bytes("the mention", entity.at)?;
            let trimmed = trim(map.text, range.clone());
            if trimmed.is_empty() {
                return Err(Problem::EmptySpan { what: "the mention", found: found(entity.at) });
            }
            if trimmed != range {
                notes.add(Note::TrimmedMention);
            }
            mention_bytes.push(trimmed);
        }
        let mut cluster_bytes = Vec::with_capacity(self.clusters.len());
        for cluster in &self.clusters {
            let ranges = cluster.iter().map(|&at| Ok(trim(map.text, map.bytes("the cluster mention", at)?)));
            cluster_bytes.push(ranges.collect::<Result<Vec<_>, Problem>>()?);
        }
        let sentence_bytes = match &self.sentences {
            Some(sentences) => stated_ranges("the sentence", sentences, &map, CharacterMap::bytes_or_empty)?,
            None => map.text.split_sentence_bound_indices().map(|(at, text)| at..at + text.len()).collect(),
        };
        let token_bytes = match &self.tokens {
            Some(tokens) => stated_ranges("the token", tokens, &map, CharacterMap::bytes)?,
            None => words(map.text),
        };
        let marks = mention_bytes.iter().chain(cluster_bytes.iter().flatten());
        let mut cuts: BTreeSet<usize> = marks.flat_map(|range| [range.start, range.end]).collect();
        cuts.extend(sentence_bytes.iter().map(|range| range.start));
        let tokens = split_at(map.text, token_bytes, &cuts);

        let mut document = Document { key: self.key, ..Document::default() };
        document.tokens = tokens.iter().map(|range| range.start as u32..range.end as u32).collect();
        let span = |range: &Range<usize>, what: &'static str, at: Characters| {
            let start = tokens.partition_point(|token| token.start < range.start);
            let end = tokens.partition_point(|token| token.end <= range.end);
            let outside =
                || Problem::OutOfRange { what, found: found(at), bounds: "the tokens of the document".into() };
            let covers = start < end && tokens[start].start == range.start && tokens[end - 1].end == range.end;
            if covers { Ok(Span::new(start as u32, end as u32)) } else { Err(outside()) }
        };
        let mut mentions = Vec::with_capacity(self.entities.len());
        for (entity, range) in self.entities.iter().zip(&mention_bytes) {
            let span = span(range, "the mention", entity.at)?;
            mentions.push(Mention { span, label: entity.label, subtype: entity.subtype });
        }
        for (cluster, ranges) in self.clusters.iter().zip(&cluster_bytes) {
            let spans = cluster.iter().zip(ranges).map(|(&at, range)| span(range, "the cluster mention", at));
            document.clusters.push(spans.collect::<Result<_, _>>()?);
        }
        let stated = self.sentences.is_some();
        document.sentences = sentence_spans(&tokens, &sentence_bytes, stated)?;
        join_crossed(&mut document.sentences, &mentions, notes);
        document.text = self.text;
        document.annotate(mentions, &self.relations, ontology, notes)?;
        Ok(document)
    }

    /// The document by character offsets, with all token and sentence boundaries.
    pub(crate) fn from_document(document: &Document) -> Self {
        let map = CharacterMap::new(&document.text);
        let at = |span: Span| map.characters(document.byte_range(span));
        let tokens = document.tokens.iter().map(|token| map.characters(token.start as usize..token.end as usize));
        let mut end_of_last = 0;
        let sentences = document.sentences.iter().map(|&sentence| {
            let characters =
                if sentence.is_empty() { Characters { start: end_of_last, end: end_of_last } } else { at(sentence) };
            end_of_last = characters.end;
            characters
        });
        let entities = document.mentions.iter();
        Self {
            key: document.key.clone(),
            text: document.text.clone(),
            tokens: Some(tokens.collect()),
            sentences: Some(sentences.collect()),
            entities: entities
                .map(|mention| TextEntity { at: at(mention.span), label: mention.label, subtype: mention.subtype })
                .collect(),
            relations: document.listed_relations().copied().collect(),
            clusters: document.clusters.iter().map(|cluster| cluster.iter().map(|&span| at(span)).collect()).collect(),
        }
    }
}

/// Counts what a format that holds text, mentions and relations only cannot say about a document:
/// boundaries other than those that reading it back gives, and clusters.
pub(crate) fn note_losses(document: &Document, ontology: &Ontology, notes: &mut Notes) {
    let written =
        TextDocument { tokens: None, sentences: None, clusters: Vec::new(), ..TextDocument::from_document(document) };
    let read = written
        .into_document(ontology, &mut Notes::default())
        .expect("what a valid document says about its text is valid by character offsets");
    if read.tokens != document.tokens {
        notes.add(Note::TokenBoundaries);
    }
    let starts = |document: &Document| -> Vec<Option<u32>> {
        let first = |span: &Span| document.tokens.get(span.start as usize).map(|token| token.start);
        document.sentences.iter().map(first).collect()
    };
    if starts(&read) != starts(document) {
        notes.add(Note::SentenceBoundaries);
    }
    if !document.clusters.is_empty() {
        notes.add(Note::Clusters);
    }
}

/// The range without blanks at its ends.
fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let content = &text[range.clone()];
    let start = range.start + (content.len() - content.trim_start_matches(is_blank).len());
    start..start + content.trim_matches(is_blank).len()
}

/// Unicode words and single other characters, without whitespace.
fn words(text: &str) -> Vec<Range<usize>> {
    let pieces = text.split_word_bound_indices().map(|(at, piece)| trim(text, at..at + piece.len()));
    pieces.filter(|range| !range.is_empty()).collect()
}

/// Ranges that a file states; they must be in order and apart.
fn stated_ranges<'a>(
    what: &'static str,
    stated: &[Characters],
    map: &CharacterMap<'a>,
    bytes: impl Fn(&CharacterMap<'a>, &'static str, Characters) -> Result<Range<usize>, Problem>,
) -> Result<Vec<Range<usize>>, Problem> {
    let mut ranges: Vec<Range<usize>> = Vec::with_capacity(stated.len());
    for &at in stated {
        let range = bytes(map, what, at)?;
        if ranges.last().is_some_and(|last| last.end > range.start) {
            return Err(Problem::malformed(format!("{what} {} begins before the one before it ends", found(at))));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// Tokens cut at all the given bytes that lie inside one, without whitespace at the new ends.
fn split_at(text: &str, tokens: Vec<Range<usize>>, cuts: &BTreeSet<usize>) -> Vec<Range<usize>> {
    let mut pieces = Vec::with_capacity(tokens.len());
    for token in tokens {
        let mut start = token.start;
        for &cut in cuts.range(token.start + 1..token.end.max(token.start + 1)) {
            pieces.push(trim(text, start..cut));
            start = cut;
        }
        pieces.push(trim(text, start..token.end));
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Sentences as token spans. Every token must belong to one; only a stated sentence may be empty.
fn sentence_spans(tokens: &[Range<usize>], sentences: &[Range<usize>], stated: bool) -> Result<Vec<Span>, Problem> {
    let mut spans = Vec::with_capacity(sentences.len());
    let mut next = 0;
    for sentence in sentences {
        let inside =
            tokens[next..].iter().take_while(|token| token.start >= sentence.start && token.end <= sentence.end);
        let end = next + inside.count();
        if stated || end > next {
            spans.push(Span::new(next as u32, end as u32));
        }
        next = end;
    }
    match tokens.get(next) {
        None => Ok(spans),
        Some(token) => {
            Err(Problem::malformed(format!("the token at bytes {} to {} is in no sentence", token.start, token.end)))
        }
    }
}

/// Joins sentences that a mention crosses.
fn join_crossed(sentences: &mut Vec<Span>, mentions: &[Mention], notes: &mut Notes) {
    let mut spans: Vec<Span> = mentions.iter().map(|mention| mention.span).collect();
    spans.sort_unstable();
    let mut spans = spans.into_iter().peekable();
    // The furthest end of the mentions that begin before the sentence.
    let mut reach = 0;
    let mut joined: Vec<Span> = Vec::with_capacity(sentences.len());
    for &sentence in sentences.iter() {
        while let Some(span) = spans.next_if(|span| span.start < sentence.start) {
            reach = reach.max(span.end);
        }
        match joined.last_mut() {
            Some(last) if reach > sentence.start => {
                notes.add(Note::JoinedSentences);
                last.end = sentence.end;
            }
            _ => joined.push(sentence),
        }
    }
    *sentences = joined;
}
