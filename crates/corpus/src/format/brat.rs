//! brat's standoff directory: `KEY.txt` with the text, `KEY.ann` with the annotation; character
//! (code point) offsets, exclusive ends.
//!
//! Read are text-bound annotations (`T1<tab>Label 0 5<tab>words`) and relations (`R1<tab>Type
//! Arg1:T1 Arg2:T2`, with other roles where the project's `annotation.conf` names them). The words are
//! checked. A mention in several pieces (`0 5;8 12`) becomes the stretch from its first to its last
//! character. Events are counted as not read, and so are their triggers, unless the
//! ontology has their labels, and relations with events or with missing arguments. Attributes, normalisations,
//! equivalences and comments are counted as not read, and texts without annotation as such. Spaces in label
//! names are written as `_`, because brat separates fields by spaces.

mod annotation;
mod folder;

use std::path::Path;

use tabpo_ontology::{Ontology, brat_name};

use super::write_file;
use crate::{
    CorpusError, Document, FilePlace, Loaded, Note, Notes, Problem,
    text_document::{TextDocument, note_losses},
};
use annotation::Reader;
use folder::Folder;

/// Reads every `.txt` of a directory with its `.ann`, by name.
pub(crate) fn read(directory: &Path, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let folder = Folder::list(directory)?;
    let mut reader = Reader::new(directory, ontology);
    let mut loaded = Loaded::default();
    folder.note_unread(&mut loaded.notes);
    for text_path in &folder.texts {
        let stem = text_path.file_stem().and_then(|stem| stem.to_str());
        let key = stem.expect("a folder lists files with a UTF-8 name").to_owned();
        // brat counts the mark that some editors begin a text with, so it stays.
        let text =
            tabpo_files::read_text_with_mark(text_path).map_err(|source| CorpusError::read(text_path, source))?;
        let annotations = folder.annotations_of(text_path)?;
        let path = annotations.first().map_or(text_path, |(path, _)| path).clone();
        let mut notes = Notes::default();
        if annotations.is_empty() {
            notes.add(Note::WithoutAnnotation);
        }
        let document = reader.read(&key, text, &annotations, &mut notes)?;
        loaded.notes.merge_at(notes, || FilePlace { path, line: 1, key: Some(key) });
        loaded.documents.push(document);
    }
    Ok(loaded)
}

/// The content of a document's `.ann` file; what the format cannot hold is counted in `notes`. A mention
/// that goes over a line break is written in pieces, one a line, as brat does: it takes no line break.
pub fn to_annotation(document: &Document, ontology: &Ontology, notes: &mut Notes) -> String {
    note_losses(document, ontology, notes);
    let written = TextDocument::from_document(document);
    let mut lines = Vec::new();
    for (number, (entity, mention)) in (1..).zip(written.entities.iter().zip(&document.mentions)) {
        let name = brat_name(&ontology.mention_data_name(entity.label, entity.subtype));
        let (mut offsets, mut words) = (Vec::new(), Vec::new());
        for (start, piece) in pieces(document.span_text(mention.span)) {
            let start = entity.at.start + start as i64;
            offsets.push(format!("{start} {}", start + piece.chars().count() as i64));
            words.push(piece);
        }
        lines.push(format!("T{number}\t{name} {}\t{}\n", offsets.join(";"), words.join(" ")));
    }
    for (number, relation) in (1..).zip(&written.relations) {
        let name = brat_name(ontology.relation_data_name(relation.label));
        lines.push(format!("R{number}\t{name} Arg1:T{} Arg2:T{}\n", relation.head + 1, relation.tail + 1));
    }
    lines.concat()
}

/// The content of each line of a text, without whitespace at its ends, with the position of its first
/// character.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    let mut characters = 0;
    let mut pieces = Vec::new();
    for line in text.split_inclusive(is_line_break) {
        let start = line.chars().take_while(|c| c.is_whitespace()).count();
        if !line.trim().is_empty() {
            pieces.push((characters + start, line.trim()));
        }
        characters += line.chars().count();
    }
    pieces
}

/// Whether brat, which reads lines as Python does, ends one here.
fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Writes the two files of each document, and brat's configuration where the directory has none. A
/// name that cannot be a file name is an error, and so are labels that brat cannot tell apart.
pub(crate) fn write(
    directory: &Path,
    documents: &[Document],
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<(), CorpusError> {
    let refuse = |key: Option<String>, message: String| {
        Err(CorpusError::invalid(directory, 1, key, Problem::malformed(message)))
    };
    for document in documents {
        if !is_file_name(&document.key) {
            let message = format!(
                "brat names files after documents, and this name is not a file name: it may have up to {LONGEST_NAME} \
                 bytes, no slash and no dot in front"
            );
            return refuse(Some(document.key.clone()), message);
        }
    }
    for mut names in [written_mention_names(ontology), written_relation_names(ontology)] {
        names.sort_by_key(|name| brat_name(name));
        let twins = names.windows(2).find(|pair| brat_name(&pair[0]) == brat_name(&pair[1]));
        if let Some([first, second]) = twins {
            let message = format!("brat would know both `{first}` and `{second}` as `{}`", brat_name(first));
            return refuse(None, message);
        }
    }
    let configuration = directory.join("annotation.conf");
    if !configuration.exists() {
        write_file(&configuration, ontology.to_brat().as_bytes())?;
    }
    for document in documents {
        let annotation = to_annotation(document, ontology, notes);
        write_file(&directory.join(format!("{}.txt", document.key)), document.text.as_bytes())?;
        write_file(&directory.join(format!("{}.ann", document.key)), annotation.as_bytes())?;
    }
    Ok(())
}

/// What mentions may be called in files that are written.
fn written_mention_names(ontology: &Ontology) -> Vec<String> {
    let labels = ontology.entity_ids().flat_map(|label| {
        let subtypes = ontology.subtype_ids(label).map(move |subtype| (label, Some(subtype)));
        let own = ontology.entity(label).subtypes.is_empty().then_some((label, None));
        own.into_iter().chain(subtypes)
    });
    labels.map(|(label, subtype)| ontology.mention_data_name(label, subtype)).collect()
}

/// What relations may be called in files that are written.
fn written_relation_names(ontology: &Ontology) -> Vec<String> {
    ontology.relation_ids().map(|label| ontology.relation_data_name(label).to_owned()).collect()
}

/// Bytes that a document's name may have: systems allow 255 in the name of a file, with `.txt`.
const LONGEST_NAME: usize = 251;

fn is_file_name(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= LONGEST_NAME
        && !key.starts_with('.')
        && !key.contains(|c: char| matches!(c, '/' | '\\') || c.is_control())
}
