//! Label Studio's JSON export of text labelling with relations: character (code point) offsets,
//! exclusive ends.
//!
//! A file is one list of tasks: `{"id", "data": {"text", "doc_key"?}, "annotations": [{"result":
//! [{"id", "type": "labels", "value": {"start", "end", "text", "labels": [name]}}, {"type": "relation",
//! "from_id", "to_id", "direction", "labels": [name]}]}]}`. Before version 1 the list of annotations was
//! called `completions`. If a task has several labelled texts, the one with the most regions is read; if it has
//! several annotations, the first that was not cancelled. A relation's direction may be `right` (from, to), `left` (to, from) or `bi` (both; once for a symmetric
//! type). `value.text` repeats the words of a region: offsets are accepted where they fit, in UTF-16
//! units if only that fits.

mod task;

use std::collections::HashMap;

use serde_json::{Value, json};
use tabpo_ontology::Ontology;

use super::{
    json::{Name, json_error, mend_surrogates, values},
    source::Source,
};
use crate::{
    CorpusError, Document, FilePlace, Loaded, Note, Notes, Problem, Relation,
    annotate::{Holder, Ids, mention_label, relation_label},
    characters::{CharacterMap, Characters, Offsets, Stated},
    text_document::{TextDocument, TextEntity, note_losses},
};
use task::{Item, Region, Task};

/// Reads all tasks of a file.
pub(crate) fn read(source: &Source, ontology: &Ontology) -> Result<Loaded, CorpusError> {
    let (path, content) = (source.path, source.text()?);
    let mut tasks = Vec::new();
    for (line, raw) in values(path, &content)? {
        let mut notes = Notes::default();
        let mut task = Task::read(raw, &mut notes);
        if task.is_err()
            && let Some((mended, count)) = mend_surrogates(raw)
        {
            notes = Notes::default();
            task = Task::read(&mended, &mut notes);
            notes.add_many(Note::LoneSurrogate, count);
        }
        tasks.push((line, task.map_err(|error| json_error(path, line, raw, &error))?, notes));
    }
    // If a project labels several texts, one of them is read.
    let labelled = most_labelled(tasks.iter().flat_map(|(_, task, _)| task.labelled_names()));
    if let Some(labelled) = &labelled {
        for (_, task, _) in &mut tasks {
            task.keep_regions_of(labelled);
        }
    }
    // The project's configuration, which the export lacks, names the field that holds the text.
    let usual = tasks.iter().find_map(|(_, task, _)| task.field_that_fits()).or(labelled);
    let mut loaded = Loaded::default();
    let mut keys: HashMap<String, usize> = HashMap::new();
    for (line, task, mut notes) in tasks {
        let invalid = |key, problem| Err(CorpusError::invalid(path, line, key, problem));
        let Some(key) = task.key() else { return invalid(None, Problem::MissingName { field: "id" }) };
        if let Some(first_line) = keys.insert(key.clone(), line) {
            return invalid(Some(key), Problem::DuplicateKey { first_line });
        }
        match document(&key, &task, usual.as_deref(), ontology, &mut notes) {
            Ok(document) => loaded.documents.push(document),
            Err(problem) => return invalid(Some(key), problem),
        }
        loaded.notes.merge_at(notes, || FilePlace { path: path.to_path_buf(), line, key: Some(key) });
    }
    Ok(loaded)
}

/// The text that most regions label, if they label several. Of equally many it is `text`, or else the first.
fn most_labelled<'t>(names: impl Iterator<Item = &'t str>) -> Option<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(other, _)| *other == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    // `max_by_key` takes the last of equals.
    let most = counts.iter().rev().max_by_key(|(name, count)| (*count, *name == "text"));
    most.filter(|_| counts.len() > 1).map(|&(name, _)| name.to_owned())
}

fn document(
    key: &str,
    task: &Task,
    usual: Option<&str>,
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<Document, Problem> {
    let text = task.text(usual, notes)?.to_owned();
    let map = CharacterMap::new(&text);
    let mut ids = Ids::default();
    for region in task.regions_elsewhere() {
        notes.ignore("regions of another field");
        ids.add(region.id.as_str(), Holder::LeftOut);
    }
    let mut regions: Vec<&Region> = Vec::new();
    for region in task.regions() {
        let is_wordless = region.words().is_none_or(|words| words.trim().is_empty());
        let is_blank = is_wordless
            && region.at.is_ok_and(|at| {
                let surface = map.bytes_or_empty("the mention", at).map(|range| &text[range]);
                surface.is_ok_and(|surface| surface.trim().is_empty())
            });
        let fault = match region.at {
            _ if region.labels.is_empty() => Some("regions without a label"),
            Err(fault) => Some(fault),
            Ok(_) if is_blank => Some("regions of nothing but whitespace"),
            Ok(_) => None,
        };
        match fault {
            Some(fault) => {
                notes.ignore(fault);
                ids.add(region.id.as_str(), Holder::LeftOut);
            }
            None => regions.push(region),
        }
    }
    let stated =
        regions.iter().filter_map(|region| Some(Stated { pieces: vec![region.at.ok()?], words: region.words() }));
    let offsets = Offsets::check(&map, &stated.collect::<Vec<_>>()).map_err(|(_, problem)| problem)?;
    notes.add_many(Note::Utf16Offsets, u64::from(offsets.utf16));
    let mut entities = Vec::new();
    for (region, at) in regions.iter().zip(offsets.spans) {
        let surface = map.surface(at)?;
        for name in &region.labels {
            let (label, subtype) = mention_label(ontology, name, || surface)?;
            ids.add(region.id.as_str(), Holder::Mention(entities.len() as u32));
            entities.push(TextEntity { at, label, subtype });
        }
    }
    let mut relations = Vec::new();
    for item in task.items().iter().filter(|item| item.kind == "relation") {
        relation(item, &ids, ontology, &mut relations, notes)?;
    }
    for item in task.items().iter().filter(|item| !matches!(item.kind.as_str(), "labels" | "relation")) {
        notes.ignore(match item.kind.as_str() {
            "" => "results without a type".to_owned(),
            kind => format!("results of type `{kind}`"),
        });
    }
    TextDocument { key: key.to_owned(), text, entities, relations, ..TextDocument::default() }
        .into_document(ontology, notes)
}

/// Adds the relations of an arrow.
fn relation(
    item: &Item,
    ids: &Ids,
    ontology: &Ontology,
    relations: &mut Vec<Relation>,
    notes: &mut Notes,
) -> Result<(), Problem> {
    if item.labels.is_empty() {
        notes.ignore("relations without a label");
        return Ok(());
    }
    let ends = (ids.get(&item.from_id), ids.get(&item.to_id));
    let (Some(Holder::Mention(head)), Some(Holder::Mention(tail))) = ends else {
        notes.ignore("relations with an unread region");
        return Ok(());
    };
    for name in &item.labels {
        let label = relation_label(ontology, name)?;
        let forward = Relation { head, tail, label };
        let backward = Relation { head: tail, tail: head, label };
        match item.direction.as_deref() {
            None | Some("right") => relations.push(forward),
            Some("left") => relations.push(backward),
            Some("bi") if ontology.relation(label).symmetric => relations.push(forward),
            Some("bi") => relations.extend([forward, backward]),
            Some(other) => notes.ignore(format!("relations with the direction `{other}`")),
        }
    }
    Ok(())
}

/// The task that says what `document` says; `number` becomes its id. What the format cannot hold is
/// counted in `notes`.
pub fn to_task(document: &Document, number: usize, ontology: &Ontology, notes: &mut Notes) -> Value {
    note_losses(document, ontology, notes);
    let written = TextDocument::from_document(document);
    let mut result = Vec::new();
    for (index, (entity, mention)) in written.entities.iter().zip(&document.mentions).enumerate() {
        result.push(json!({
            "id": format!("m{index}"),
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {
                "start": entity.at.start,
                "end": entity.at.end,
                "text": document.span_text(mention.span),
                "labels": [ontology.mention_data_name(entity.label, entity.subtype)],
            },
        }));
    }
    for relation in &written.relations {
        result.push(json!({
            "type": "relation",
            "from_id": format!("m{}", relation.head),
            "to_id": format!("m{}", relation.tail),
            "direction": "right",
            "labels": [ontology.relation_data_name(relation.label)],
        }));
    }
    json!({
        "id": number,
        "data": {"text": written.text, "doc_key": written.key},
        "annotations": [{"result": result}],
    })
}
