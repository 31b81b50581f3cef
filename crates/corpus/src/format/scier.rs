//! `SciER`'s JSONL for language models: a sentence on each line, with mentions and relations as strings.
//!
//! `{"doc_id", "sentence": "tokens with single spaces", "ner": [[text, label]], "rel": [[text, type, text]], "rel_plus":
//! [["text:label", type, "text:label"]]}`. Consecutive lines of one paper are one document. `rel_plus` repeats `rel`; its
//! labels tell mentions of one text apart.
//!
//! The file does not say where a mention stands. Longer texts are placed first, each where no other mention stands
//! already, or else where its text isn't taken, and of these places at the first. Relations connect the nearest mentions
//! with these texts. On the development split, whose offsets are published too, all 2234 mentions get their own places,
//! and 1118 of 1130 relations connect the same mentions. Brackets and blank tokens are those of
//! [`token_document`](super::token_document).

use std::{borrow::Cow, collections::HashMap, ops::Range, path::Path};

use serde::Deserialize;
use tabpo_ontology::Ontology;

use super::{
    json::{Name, json_error, mend_surrogates, values},
    lines::note_unknown_fields,
    nearest::{Place, nearest},
    source::Source,
    token_document::{Ends, Labelled, MentionEntry, RelationEntry, Sentences, Text, TokenDocument},
};
use crate::{
    CorpusError, FilePlace, Loaded, Note, Notes, Problem,
    annotate::{mention_label, relation_label},
};

const FIELDS: [&str; 5] = ["doc_id", "sentence", "ner", "rel", "rel_plus"];

/// A line.
#[derive(Deserialize)]
struct SentenceLine {
    doc_id: Name,
    sentence: String,
    #[serde(default)]
    ner: Vec<(String, String)>,
    #[serde(default)]
    rel: Vec<Triple>,
    rel_plus: Option<Vec<Triple>>,
}

/// Head, type and tail.
type Triple = (String, String, String);

/// Reads a file.
pub(crate) fn read(source: &Source, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let (path, text) = (source.path, source.text()?);
    let mut loaded = Loaded::default();
    let mut first_lines: HashMap<String, usize> = HashMap::new();
    let mut paper: Option<Paper> = None;
    for (line, object) in values(path, &text)? {
        let mut notes = Notes::default();
        let sentence = parse(path, line, object, &mut notes)?;
        let key = sentence.doc_id.0.clone();
        if let Some(done) = paper.take_if(|paper| paper.key != key) {
            done.finish(path, ontology, &mut loaded)?;
        }
        if paper.is_none()
            && let Some(&first_line) = first_lines.get(&key)
        {
            return Err(CorpusError::invalid(path, line, Some(key), Problem::DuplicateKey { first_line }));
        }
        first_lines.entry(key.clone()).or_insert(line);
        let paper = paper.get_or_insert_with(|| Paper { key: key.clone(), line, ..Paper::default() });
        paper
            .add(&sentence, ontology)
            .map_err(|problem| CorpusError::invalid(path, line, Some(key.clone()), problem))?;
        loaded.notes.merge_at(notes, || FilePlace { path: path.to_path_buf(), line, key: Some(key) });
    }
    if let Some(paper) = paper {
        paper.finish(path, ontology, &mut loaded)?;
    }
    Ok(loaded)
}

fn parse(path: &Path, line: usize, object: &str, notes: &mut Notes) -> Result<SentenceLine, CorpusError> {
    let mended;
    let (text, sentence) = match serde_json::from_str(object) {
        Ok(sentence) => (object, sentence),
        Err(error) => match mend_surrogates(object) {
            Some((text, count)) => {
                notes.add_many(Note::LoneSurrogate, count);
                mended = text;
                let failed = |error| json_error(path, line, &mended, &error);
                (mended.as_str(), serde_json::from_str(&mended).map_err(failed)?)
            }
            None => return Err(json_error(path, line, object, &error)),
        },
    };
    note_unknown_fields(text, &FIELDS, notes).map_err(|error| json_error(path, line, text, &error))?;
    Ok(sentence)
}

/// The sentences of a paper, in the making.
#[derive(Default)]
struct Paper {
    key: String,
    /// Its first line.
    line: usize,
    sentences: Vec<Vec<Text<'static>>>,
    mentions: Vec<Vec<MentionEntry<'static>>>,
    relations: Vec<Vec<RelationEntry<'static>>>,
    tokens: usize,
}

impl Paper {
    /// Adds a sentence.
    fn add(&mut self, line: &SentenceLine, ontology: &Ontology) -> Result<(), Problem> {
        let tokens: Vec<&str> = line.sentence.split(' ').collect();
        let places = places(&tokens, &line.ner)?;
        let offset = |token: usize| (self.tokens + token) as i64;
        let text = |text: &str| Text(Cow::Owned(text.to_owned()));
        let mut mentions = Vec::with_capacity(places.len());
        for (place, (surface, label)) in places.iter().zip(&line.ner) {
            // A label that is unknown is named with its own line.
            mention_label(ontology, label, || surface)?;
            let offsets = [offset(place.start), offset(place.end - 1)];
            mentions.push(Labelled { offsets, name: text(label), more: false });
        }
        let mut relations = Vec::with_capacity(line.rel.len());
        for (triple, count) in counted(line)? {
            relation_label(ontology, triple.label)?;
            let (heads, tails) = (triple.head.bearers(&line.ner, &places)?, triple.tail.bearers(&line.ner, &places)?);
            let mut pairs = nearest(&heads, &tails, count);
            let repeated = *pairs.first().expect("a relation connects some mentions");
            pairs.resize(count, repeated);
            for (head, tail) in pairs {
                let [head, tail] = [head, tail].map(|mention| mentions[mention as usize].offsets);
                let offsets = [head[0], head[1], tail[0], tail[1]];
                relations.push(Labelled { offsets, name: text(triple.label), more: false });
            }
        }
        self.tokens += tokens.len();
        self.sentences.push(tokens.into_iter().map(text).collect());
        self.mentions.push(mentions);
        self.relations.push(relations);
        Ok(())
    }

    /// Turns what was collected into a document.
    fn finish(self, path: &Path, ontology: &Ontology, loaded: &mut Loaded) -> Result<(), CorpusError> {
        let Self { key, line, sentences, mentions, relations, tokens: _ } = self;
        let content = TokenDocument {
            sentences: Some(Sentences::from(sentences)),
            ner: Some(mentions),
            relations: Some(relations),
            clusters: None,
        };
        let mut notes = Notes::default();
        let document = content
            .into_document(&key, Ends::Inclusive, ontology, &mut notes)
            .map_err(|problem| CorpusError::invalid(path, line, Some(key.clone()), problem))?;
        loaded.notes.merge_at(notes, || FilePlace { path: path.to_path_buf(), line, key: Some(key) });
        loaded.documents.push(document);
        Ok(())
    }
}

/// An argument of a relation: a text and, where the file says it, the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Argument<'l> {
    text: &'l str,
    label: Option<&'l str>,
}

/// A relation as the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Named<'l> {
    head: Argument<'l>,
    label: &'l str,
    tail: Argument<'l>,
}

/// The relations of a line without repetitions, each with the number of times that it is there.
fn counted(line: &SentenceLine) -> Result<Vec<(Named<'_>, usize)>, Problem> {
    if let Some(plus) = line.rel_plus.as_ref().filter(|plus| plus.len() != line.rel.len()) {
        let (found, expected) = (plus.len(), line.rel.len());
        return Err(Problem::malformed(format!("`rel_plus` has {found} entries, `rel` has {expected}")));
    }
    let mut numbers: HashMap<Named, usize> = HashMap::new();
    let mut counted: Vec<(Named, usize)> = Vec::new();
    for (index, (head, label, tail)) in line.rel.iter().enumerate() {
        let plus = line.rel_plus.as_ref().map(|plus| &plus[index]);
        let named = Named {
            head: argument(head, plus.map(|plus| plus.0.as_str()))?,
            label,
            tail: argument(tail, plus.map(|plus| plus.2.as_str()))?,
        };
        let number = *numbers.entry(named).or_insert(counted.len());
        if number == counted.len() {
            counted.push((named, 0));
        }
        counted[number].1 += 1;
    }
    Ok(counted)
}

/// An argument with the label that `labelled`, such as `text:label`, adds to its text.
fn argument<'l>(text: &'l str, labelled: Option<&'l str>) -> Result<Argument<'l>, Problem> {
    let Some(labelled) = labelled else { return Ok(Argument { text, label: None }) };
    let label = labelled.strip_prefix(text).and_then(|rest| rest.strip_prefix(':'));
    let wrong = || Problem::malformed(format!("`rel_plus` has `{labelled}` where `rel` has `{text}`"));
    Ok(Argument { text, label: Some(label.ok_or_else(wrong)?) })
}

impl Argument<'_> {
    /// The mentions that it may be, in order of their places.
    fn bearers(self, ner: &[(String, String)], places: &[Range<usize>]) -> Result<Vec<Place>, Problem> {
        let is_meant = |(text, label): &(String, String)| {
            text == self.text && self.label.is_none_or(|wanted| wanted == label.as_str())
        };
        let meant = (0_u32..).zip(ner).filter(|(_, mention)| is_meant(mention));
        let mut bearers: Vec<Place> = meant.map(|(index, _)| (places[index as usize].start, index)).collect();
        bearers.sort_unstable();
        if bearers.is_empty() {
            let label = self.label.map_or(String::new(), |label| format!(" with the label `{label}`"));
            return Err(Problem::malformed(format!(
                "a relation names `{}`{label}, which `ner` does not list",
                self.text
            )));
        }
        Ok(bearers)
    }
}

/// The tokens of each mention of a sentence.
fn places(tokens: &[&str], ner: &[(String, String)]) -> Result<Vec<Range<usize>>, Problem> {
    let mut starts: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, token) in tokens.iter().enumerate() {
        starts.entry(token).or_default().push(at);
    }
    let words: Vec<Vec<&str>> = ner.iter().map(|(text, _)| text.split(' ').collect()).collect();
    let mut order: Vec<usize> = (0..ner.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(words[index].len()));
    let mut covered = vec![false; tokens.len()];
    // For each text, where it occurs and how many of these places are taken.
    let mut occurrences: HashMap<&[&str], Vec<(usize, bool)>> = HashMap::new();
    let mut places = vec![0..0; ner.len()];
    for index in order {
        let words = words[index].as_slice();
        let found = occurrences.entry(words).or_insert_with(|| {
            let candidates = starts.get(words[0]).into_iter().flatten().copied();
            candidates.filter(|&at| tokens[at..].starts_with(words)).map(|at| (at, false)).collect()
        });
        let is_free = |&(at, taken): &(usize, bool)| !taken && !covered[at..at + words.len()].contains(&true);
        let free = found.iter().position(is_free).or_else(|| found.iter().position(|&(_, taken)| !taken));
        let Some((at, taken)) = found.get_mut(free.unwrap_or(0)) else {
            return Err(Problem::malformed(format!(
                "`ner` lists `{}`, which is not in the sentence as it stands there, with single spaces between tokens",
                ner[index].0
            )));
        };
        *taken = true;
        covered[*at..*at + words.len()].fill(true);
        places[index] = *at..*at + words.len();
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_do_not_overlap_where_they_need_not() {
        let tokens: Vec<&str> = "the net of a deep net and a net".split(' ').collect();
        let found = |texts: &[&str]| {
            let ner: Vec<(String, String)> = texts.iter().map(|&text| (text.to_owned(), "X".to_owned())).collect();
            places(&tokens, &ner).map_err(|problem| problem.to_string())
        };
        assert_eq!(found(&["net", "deep net", "net"]), Ok(vec![1..2, 4..6, 8..9]));
        // Three nets besides the deep one: one is inside it.
        assert_eq!(found(&["net", "net", "net", "deep net"]), Ok(vec![1..2, 8..9, 5..6, 4..6]));
        // More mentions than places share one.
        assert_eq!(found(&["deep net", "deep net"]), Ok(vec![4..6, 4..6]));
        assert!(found(&["deep"]).is_ok() && found(&["dee"]).unwrap_err().contains("`dee`, which is not in"));
    }
}
