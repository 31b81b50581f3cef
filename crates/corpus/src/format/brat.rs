//! brat's standoff directory: `KEY.txt` with the text, `KEY.ann` with the annotation; character
//! (code point) offsets, exclusive ends.
//!
//! Read are text-bound annotations (`T1<tab>Label 0 5<tab>words`) and relations (`R1<tab>Type
//! Arg1:T1 Arg2:T2`). A mention in several pieces (`0 5;8 12`) becomes the stretch from its first to
//! its last character. Events, attributes, normalisations, equivalences and comments are counted as
//! not read. Blanks in label names are written as `_`, because brat separates fields by blanks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tabpo_ontology::{Ontology, brat_name};

use crate::{
    CorpusError, Document, Loaded, Note, Notes, Problem,
    annotate::{mention_label, relation_label},
    format::write_file,
    text_document::{Characters, TextDocument, TextEntity, note_losses, relation_between, text_at},
};

/// Reads every `.txt` with its `.ann` in a directory, by name.
pub(crate) fn read(directory: &Path, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let mut loaded = Loaded::default();
    for text_path in text_files(directory)? {
        let stem = text_path.file_stem().and_then(|stem| stem.to_str());
        let key = stem.expect("text_files returns files with a UTF-8 name").to_owned();
        let text = fs::read_to_string(&text_path).map_err(|source| CorpusError::read(&text_path, source))?;
        let path = text_path.with_extension("ann");
        let annotation = fs::read_to_string(&path).map_err(|source| CorpusError::read(&path, source))?;
        let document = parse(key.clone(), text, &annotation, ontology, &mut loaded.notes)
            .map_err(|(line, problem)| CorpusError::invalid(&path, line, Some(key), problem))?;
        loaded.documents.push(document);
    }
    Ok(loaded)
}

fn text_files(directory: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let failed = |source| CorpusError::read(directory, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") && path.to_str().is_some() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

type Fault = (usize, Problem);

fn parse(
    key: String,
    text: String,
    annotation: &str,
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<Document, Fault> {
    let mut entities = Vec::new();
    let mut ids = Vec::new();
    let mut relation_lines = Vec::new();
    for (number, line) in (1..).zip(annotation.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match line.as_bytes()[0] {
            b'T' => {
                let (id, entity) = text_bound(line, &text, ontology, notes).map_err(|problem| (number, problem))?;
                ids.push(id);
                entities.push(entity);
            }
            // Relations may stand before their arguments.
            b'R' => relation_lines.push((number, line)),
            b'E' => notes.add(Note::IgnoredAnnotation("events".into())),
            b'A' | b'M' => notes.add(Note::IgnoredAnnotation("attributes".into())),
            b'N' => notes.add(Note::IgnoredAnnotation("normalisations".into())),
            b'*' => notes.add(Note::IgnoredAnnotation("equivalences".into())),
            b'#' => notes.add(Note::IgnoredAnnotation("comments".into())),
            _ => {
                let message = format!("`{line}` is no annotation; a line starts with T, R, E, A, M, N, * or #");
                return Err((number, Problem::malformed(message)));
            }
        }
    }
    let mut relations = Vec::new();
    for &(number, line) in &relation_lines {
        let relation = relation(line).and_then(|(name, head, tail)| {
            let label = relation_label(ontology, &data_name(name, &relation_names(ontology)))?;
            relation_between(&ids, (head, label, tail), || format!("`{line}`"))
        });
        relations.push(relation.map_err(|problem| (number, problem))?);
    }
    let last_line = annotation.lines().count().max(1);
    TextDocument { key, text, entities, relations, ..TextDocument::default() }
        .into_document(ontology, notes)
        .map_err(|problem| (last_line, problem))
}

/// `T1<tab>Label 0 5;8 12<tab>words`
fn text_bound(line: &str, text: &str, ontology: &Ontology, notes: &mut Notes) -> Result<(String, TextEntity), Problem> {
    let malformed = || Problem::malformed(format!("`{line}` is not `T1<tab>Label START END<tab>text`"));
    let mut fields = line.splitn(3, '\t');
    let (Some(id), Some(head), stated) = (fields.next(), fields.next(), fields.next()) else { return Err(malformed()) };
    let (name, offsets) = head.split_once(' ').ok_or_else(malformed)?;
    let mut pieces = Vec::new();
    for piece in offsets.split(';') {
        let (start, end) = piece.trim().split_once(' ').ok_or_else(malformed)?;
        let number = |text: &str| text.trim().parse::<i64>().map_err(|_| malformed());
        pieces.push(Characters { start: number(start)?, end: number(end)? });
    }
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    let at = Characters { start: first.start, end: last.end };
    let covered = text_at(text, at)?;
    if pieces.len() > 1 {
        notes.add(Note::DiscontinuousMention);
    } else if let Some(stated) = stated.filter(|stated| !same_words(stated, covered)) {
        let found = format!("{} to {}", at.start, at.end);
        return Err(Problem::TextMismatch { found, actual: covered.to_owned(), stated: stated.to_owned() });
    }
    let (label, subtype) = mention_label(ontology, &data_name(name, &ontology.mention_data_names()), || covered)?;
    Ok((id.to_owned(), TextEntity { at, label, subtype }))
}

/// Equal but for the kind of blanks: brat writes line breaks as blanks.
fn same_words(a: &str, b: &str) -> bool {
    let blanks = |c: char| if c.is_whitespace() { ' ' } else { c };
    a.chars().map(blanks).eq(b.chars().map(blanks))
}

/// `R1<tab>Type Arg1:T1 Arg2:T2`: type, head id, tail id.
fn relation(line: &str) -> Result<(&str, &str, &str), Problem> {
    let malformed = || Problem::malformed(format!("`{line}` is not `R1<tab>Type Arg1:T1 Arg2:T2`"));
    let (_, content) = line.split_once('\t').ok_or_else(malformed)?;
    let mut words = content.split_whitespace();
    let name = words.next().ok_or_else(malformed)?;
    let (mut head, mut tail) = (None, None);
    for word in words {
        match word.split_once(':') {
            Some(("Arg1", id)) => head = Some(id),
            Some(("Arg2", id)) => tail = Some(id),
            _ => return Err(malformed()),
        }
    }
    Ok((name, head.ok_or_else(malformed)?, tail.ok_or_else(malformed)?))
}

/// The name among `names` that brat writes as `name`, or `name` itself.
fn data_name(name: &str, names: &[String]) -> String {
    names.iter().find(|known| brat_name(known) == name).map_or_else(|| name.to_owned(), Clone::clone)
}

fn relation_names(ontology: &Ontology) -> Vec<String> {
    ontology.relations.iter().flat_map(|label| [&label.name].into_iter().chain(&label.aliases)).cloned().collect()
}

/// The content of a document's `.ann` file; what the format cannot hold is counted in `notes`.
pub fn to_annotation(document: &Document, ontology: &Ontology, notes: &mut Notes) -> String {
    note_losses(document, ontology, notes);
    let written = TextDocument::from_document(document);
    let mut lines = Vec::new();
    for (number, (entity, mention)) in (1..).zip(written.entities.iter().zip(&document.mentions)) {
        let name = brat_name(&ontology.mention_data_name(entity.label, entity.subtype));
        let words = document.span_text(mention.span).replace(char::is_whitespace, " ");
        lines.push(format!("T{number}\t{name} {} {}\t{words}\n", entity.at.start, entity.at.end));
    }
    for (number, relation) in (1..).zip(&written.relations) {
        let name = brat_name(ontology.relation_data_name(relation.label));
        lines.push(format!("R{number}\t{name} Arg1:T{} Arg2:T{}\n", relation.head + 1, relation.tail + 1));
    }
    lines.concat()
}

/// Writes the two files of each document, and brat's configuration where the directory has none. A
/// name that cannot be a file name is an error.
pub(crate) fn write(
    directory: &Path,
    documents: &[Document],
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<(), CorpusError> {
    for document in documents {
        if !is_file_name(&document.key) {
            let problem = Problem::malformed("brat names files after documents, and this name is no file name");
            return Err(CorpusError::invalid(directory, 1, Some(document.key.clone()), problem));
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

fn is_file_name(key: &str) -> bool {
    !key.is_empty() && !key.starts_with('.') && !key.contains(|c: char| matches!(c, '/' | '\\') || c.is_control())
}
