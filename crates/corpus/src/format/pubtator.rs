//! `PubTator`, the form of `BioRED`, BC5CDR and other corpora of abstracts.
//!
//! ```text
//! 7|t|Title of the abstract
//! 7|a|Its text.
//! 7⇥0⇥5⇥Title⇥Label⇥identifier
//! 7⇥Type⇥identifier⇥identifier
//! ```
//!
//! Offsets count characters of title and abstract with one character between them, which is read as a line break. A
//! mention may have several identifiers (`D1,D2` or `D1|D2`) or none (`-1`). Relations hold between identifiers; each is
//! read as one between the two nearest mentions that bear them. One whose identifier no mention bears is counted and left
//! out. What follows the identifiers of a mention (the parts of a composite one) or a relation (whether it is novel) is
//! counted as not read, and so are identifiers, of which a document keeps nothing but the relations.

use std::collections::HashMap;

use tabpo_ontology::Ontology;

use super::{
    nearest::{Place, nearest},
    source::Source,
};
use crate::{
    CorpusError, Document, FilePlace, Loaded, Note, Notes, Problem, Relation,
    annotate::{mention_label, relation_label},
    characters::{CharacterMap, Characters, Offsets, Stated},
    text_document::{TextDocument, TextEntity},
};

/// Reads a file.
pub(crate) fn read(source: &Source, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let (path, text) = (source.path, source.text()?);
    let invalid = |number, key: &str, problem| CorpusError::invalid(path, number, Some(key.to_owned()), problem);
    let mut loaded = Loaded::default();
    let mut first_lines: HashMap<&str, usize> = HashMap::new();
    let mut open: Option<Abstract> = None;
    let mut finish = |content: Abstract<'_>| -> Result<(), CorpusError> {
        let (line, key) = (content.line, content.key.to_owned());
        let mut notes = Notes::default();
        let document =
            content.into_document(ontology, &mut notes).map_err(|(number, problem)| invalid(number, &key, problem))?;
        loaded.notes.merge_at(notes, || FilePlace { path: path.to_path_buf(), line, key: Some(key) });
        loaded.documents.push(document);
        Ok(())
    };
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            open.take().map_or(Ok(()), &mut finish)?;
            continue;
        }
        let Some(line) = Line::parse(line) else {
            let start = line.chars().take(40).collect::<String>();
            return Err(CorpusError::invalid(
                path,
                number,
                None,
                Problem::malformed(format!(
                    "`{start}` is neither a text, such as `7|t|Title`, nor a mention or relation, whose fields tabs separate"
                )),
            ));
        };
        let key = line.key();
        if let Some(done) = open.take_if(|content| content.key != key) {
            finish(done)?;
        }
        if open.is_none() {
            if let Some(&first_line) = first_lines.get(key) {
                return Err(invalid(number, key, Problem::DuplicateKey { first_line }));
            }
            first_lines.insert(key, number);
        }
        let content = open.get_or_insert_with(|| Abstract { key, line: number, ..Abstract::default() });
        content.add(number, &line).map_err(|problem| invalid(number, key, problem))?;
    }
    open.map_or(Ok(()), finish)?;
    Ok(loaded)
}

/// A line that is not blank.
#[derive(Debug)]
enum Line<'t> {
    /// The title or the abstract.
    Text { key: &'t str, is_title: bool, text: &'t str },
    /// The fields of a mention or a relation, the document's number first.
    Fields(Vec<&'t str>),
}

impl<'t> Line<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let mut parts = line.splitn(3, '|');
        if let (Some(key), Some(kind @ ("t" | "a")), Some(text)) = (parts.next(), parts.next(), parts.next())
            && !key.contains('\t')
        {
            return Some(Self::Text { key, is_title: kind == "t", text });
        }
        let fields: Vec<&str> = line.split('\t').collect();
        (fields.len() > 3).then_some(Self::Fields(fields))
    }

    /// The name of the document.
    fn key(&self) -> &'t str {
        match self {
            Self::Text { key, .. } => key,
            Self::Fields(fields) => fields[0],
        }
    }
}

/// A document, in the making.
#[derive(Default)]
struct Abstract<'t> {
    key: &'t str,
    /// Its first line.
    line: usize,
    title: Option<&'t str>,
    body: Option<&'t str>,
    mentions: Vec<MentionLine<'t>>,
    relations: Vec<RelationLine<'t>>,
    notes: Notes,
}

struct MentionLine<'t> {
    number: usize,
    at: Characters,
    words: &'t str,
    label: &'t str,
    identifier: &'t str,
}

struct RelationLine<'t> {
    number: usize,
    label: &'t str,
    arguments: [&'t str; 2],
}

impl<'t> Abstract<'t> {
    fn add(&mut self, number: usize, line: &Line<'t>) -> Result<(), Problem> {
        match line {
            &Line::Text { is_title, text, .. } => {
                let (place, field) = if is_title { (&mut self.title, "t") } else { (&mut self.body, "a") };
                if place.replace(text).is_some() {
                    return Err(Problem::malformed(format!("the document has a second text `{}|{field}|`", self.key)));
                }
            }
            Line::Fields(fields) => self.add_fields(number, fields)?,
        }
        Ok(())
    }

    fn add_fields(&mut self, number: usize, fields: &[&'t str]) -> Result<(), Problem> {
        let offset = |field: &str| field.trim().parse::<i64>().ok();
        match (offset(fields[1]), fields) {
            (Some(start), [_, _, end, words, label, rest @ ..]) => {
                let end = offset(end).ok_or_else(|| {
                    Problem::malformed(format!("the mention ends at `{end}`, which is not a whole number"))
                })?;
                let (at, identifier) = (Characters { start, end }, rest.first().copied().unwrap_or_default());
                if rest.len() > 1 {
                    self.notes.ignore("parts of composite mentions");
                }
                if identifiers(identifier).next().is_some() {
                    self.notes.ignore("identifiers of mentions, except for what they say of relations,");
                }
                self.mentions.push(MentionLine { number, at, words, label, identifier });
            }
            (None, [_, label, head, tail, rest @ ..]) => {
                if !rest.is_empty() {
                    self.notes.ignore("marks after relations");
                }
                self.relations.push(RelationLine { number, label, arguments: [head, tail] });
            }
            _ => {
                return Err(Problem::malformed(
                    "a mention has at least five fields: document, start, end, text and label".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Checks everything and connects the mentions. An error comes with its line.
    fn into_document(self, ontology: &Ontology, notes: &mut Notes) -> Result<Document, (usize, Problem)> {
        let title = self.title.ok_or((self.line, Problem::MissingField { field: "t" }))?;
        notes.merge(self.notes);
        let text = match self.body {
            Some(body) if !body.is_empty() => format!("{title}\n{body}"),
            _ => title.to_owned(),
        };
        let map = CharacterMap::new(&text);
        let stated =
            self.mentions.iter().map(|mention| Stated { pieces: vec![mention.at], words: Some(mention.words) });
        let offsets = Offsets::check(&map, &stated.collect::<Vec<_>>())
            .map_err(|(index, problem)| (self.mentions[index].number, problem))?;
        notes.add_many(Note::Utf16Offsets, u64::from(offsets.utf16));
        let mut bearers: HashMap<&str, Vec<Place>> = HashMap::new();
        let mut entities = Vec::with_capacity(self.mentions.len());
        for (index, (mention, at)) in (0..).zip(self.mentions.iter().zip(offsets.spans)) {
            let (label, subtype) = mention_label(ontology, mention.label, || mention.words)
                .map_err(|problem| (mention.number, problem))?;
            entities.push(TextEntity { at, label, subtype });
            for identifier in identifiers(mention.identifier) {
                bearers.entry(identifier).or_default().push((at.start as usize, index));
            }
        }
        for places in bearers.values_mut() {
            places.sort_unstable();
            places.dedup();
        }
        let mut relations = Vec::with_capacity(self.relations.len());
        for RelationLine { number, label, arguments: [head, tail] } in self.relations {
            let label = relation_label(ontology, label).map_err(|problem| (number, problem))?;
            let (Some(heads), Some(tails)) = (bearers.get(head), bearers.get(tail)) else {
                notes.ignore("relations with an identifier that no mention has");
                continue;
            };
            let (head, tail) = nearest(heads, tails, 1)[0];
            relations.push(Relation { head, tail, label });
        }
        let content = TextDocument {
            key: self.key.to_owned(),
            text: text.clone(),
            entities,
            relations,
            ..TextDocument::default()
        };
        content.into_document(ontology, notes).map_err(|problem| (self.line, problem))
    }
}

/// The identifiers that a field names: the field as a whole, which may contain the characters that separate others, and
/// its parts.
fn identifiers(field: &str) -> impl Iterator<Item = &str> {
    let parts = field.split([',', '|']).filter(move |part| *part != field);
    std::iter::once(field).chain(parts).filter(|identifier| !["", "-", "-1"].contains(identifier))
}
