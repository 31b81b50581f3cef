//! Reading `.ann` files.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use tabpo_ontology::{BratProject, Ontology, brat_name, canonical_name};

use crate::{
    CorpusError, Document, Note, Notes, Problem, Relation,
    annotate::{Holder, Ids, mention_label, relation_label},
    characters::{CharacterMap, Characters, Offsets, Stated},
    text_document::{TextDocument, TextEntity},
};

/// Reads the documents of a project.
pub(super) struct Reader<'a> {
    directory: &'a Path,
    ontology: &'a Ontology,
    /// The ontology's names by those that brat uses.
    mentions: HashMap<String, String>,
    relations: HashMap<String, String>,
    /// What `annotation.conf` says, read when it is first needed.
    project: Option<BratProject>,
}

/// A line of an annotation file.
#[derive(Clone, Copy)]
struct AnnotationLine<'f> {
    path: &'f Path,
    number: usize,
    text: &'f str,
}

/// `T1<tab>Label 0 5;8 12<tab>words`
struct TextBound<'f> {
    line: AnnotationLine<'f>,
    id: &'f str,
    name: &'f str,
    stated: Stated<'f>,
}

impl<'f> TextBound<'f> {
    fn read(line: AnnotationLine<'f>) -> Result<Self, Problem> {
        let malformed = || Problem::malformed(format!("`{}` is not `T1<tab>Label START END<tab>text`", line.text));
        let mut fields = line.text.splitn(3, '\t');
        let (Some(id), Some(head), words) = (fields.next(), fields.next(), fields.next()) else {
            return Err(malformed());
        };
        let (name, offsets) = head.split_once(' ').ok_or_else(malformed)?;
        let mut pieces = Vec::new();
        for piece in offsets.split(';') {
            let (start, end) = piece.trim().split_once(' ').ok_or_else(malformed)?;
            let number = |text: &str| text.trim().parse::<i64>().map_err(|_| malformed());
            pieces.push(Characters { start: number(start)?, end: number(end)? });
        }
        Ok(Self { line, id, name, stated: Stated { pieces, words } })
    }
}

/// A name as it is looked up.
fn composed(name: &str) -> String {
    canonical_name(name).into_owned()
}

/// A role and an id.
type Argument<'l> = (&'l str, &'l str);

/// `R1<tab>Type Arg1:T1 Arg2:T2`: the type, and what it connects.
fn relation(line: &str) -> Result<(&str, Vec<Argument<'_>>), Problem> {
    let malformed = || Problem::malformed(format!("`{line}` is not `R1<tab>Type Arg1:T1 Arg2:T2`"));
    let (_, content) = line.split_once('\t').ok_or_else(malformed)?;
    let mut words = content.split_whitespace();
    let name = words.next().ok_or_else(malformed)?;
    let roles = words.map(|word| word.split_once(':').ok_or_else(malformed)).collect::<Result<Vec<_>, _>>()?;
    if roles.len() == 2 { Ok((name, roles)) } else { Err(malformed()) }
}

impl<'a> Reader<'a> {
    pub(super) fn new(directory: &'a Path, ontology: &'a Ontology) -> Self {
        let relations = ontology.relations.iter().flat_map(|label| [&label.name].into_iter().chain(&label.aliases));
        // Where brat would not distinguish two names, the first one is meant.
        let by_brat_name = |names: Vec<String>| {
            let mut known = HashMap::new();
            for name in names {
                known.entry(composed(&brat_name(&name))).or_insert(name);
            }
            known
        };
        Self {
            directory,
            ontology,
            mentions: by_brat_name(ontology.mention_data_names()),
            relations: by_brat_name(relations.cloned().collect()),
            project: None,
        }
    }

    /// The project's configuration: in the folder or in the nearest one above it that has one.
    fn project(&mut self) -> &BratProject {
        let directory = self.directory;
        self.project.get_or_insert_with(|| {
            let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
            let configurations = directory.ancestors().map(|folder| folder.join("annotation.conf"));
            let text = configurations.into_iter().find_map(|path| tabpo_files::read_text(&path).ok());
            text.map(|text| BratProject::parse(&text)).unwrap_or_default()
        })
    }

    /// The document with this text and these annotation files.
    pub(super) fn read(
        &mut self,
        key: &str,
        text: String,
        files: &[(PathBuf, String)],
        notes: &mut Notes,
    ) -> Result<Document, CorpusError> {
        let invalid =
            |line: AnnotationLine, problem| CorpusError::invalid(line.path, line.number, Some(key.to_owned()), problem);
        let lines = files.iter().flat_map(|(path, content)| {
            (1..).zip(content.lines()).map(move |(number, text)| AnnotationLine { path, number, text })
        });
        let (mut bound, mut relation_lines, mut triggers) = (Vec::new(), Vec::new(), HashSet::new());
        let mut ids = Ids::default();
        let mut last = None;
        for line in lines.filter(|line| !line.text.trim().is_empty()) {
            last = Some(line);
            match line.text.as_bytes()[0] {
                b'T' => bound.push(TextBound::read(line).map_err(|problem| invalid(line, problem))?),
                // Relations may come before their arguments.
                b'R' => relation_lines.push(line),
                b'E' => {
                    // `E1<tab>Type:T1 Role:T2`: the first is the trigger.
                    let (id, content) = line.text.split_once('\t').unwrap_or((line.text, ""));
                    ids.add(id, Holder::LeftOut);
                    let trigger = content.split_whitespace().next().and_then(|word| word.split_once(':'));
                    triggers.extend(trigger.map(|(_, id)| id));
                    notes.ignore("events");
                }
                b'A' | b'M' => notes.ignore("attributes"),
                b'N' => notes.ignore("normalisations"),
                b'*' => notes.ignore("equivalences"),
                b'#' => notes.ignore("comments"),
                _ => {
                    let message =
                        format!("`{}` is not an annotation; a line starts with T, R, E, A, M, N, * or #", line.text);
                    return Err(invalid(line, Problem::malformed(message)));
                }
            }
        }
        let mut kept = Vec::with_capacity(bound.len());
        for mention in bound {
            let is_known = self.mentions.contains_key(&composed(mention.name));
            if !is_known && (triggers.contains(mention.id) || self.project().is_event(mention.name)) {
                ids.add(mention.id, Holder::LeftOut);
                notes.ignore("triggers of events");
            } else {
                ids.add(mention.id, Holder::Mention(kept.len() as u32));
                kept.push(mention);
            }
        }
        let map = CharacterMap::new(&text);
        let entities =
            self.mentions(&map, &kept, notes).map_err(|(index, problem)| invalid(kept[index].line, problem))?;
        let mut relations = Vec::with_capacity(relation_lines.len());
        for line in relation_lines {
            let relation = self.relation(line.text, &ids, notes).map_err(|problem| invalid(line, problem))?;
            relations.extend(relation);
        }
        let document = TextDocument { key: key.to_owned(), text, entities, relations, ..TextDocument::default() };
        document.into_document(self.ontology, notes).map_err(|problem| match last {
            Some(line) => invalid(line, problem),
            None => CorpusError::invalid(self.directory, 1, Some(key.to_owned()), problem),
        })
    }

    fn mentions(
        &self,
        map: &CharacterMap,
        mentions: &[TextBound],
        notes: &mut Notes,
    ) -> Result<Vec<TextEntity>, (usize, Problem)> {
        let stated: Vec<Stated> = mentions.iter().map(|mention| mention.stated.clone()).collect();
        let offsets = Offsets::check(map, &stated)?;
        notes.add_many(Note::Utf16Offsets, u64::from(offsets.utf16));
        let mut entities = Vec::with_capacity(mentions.len());
        for (index, (mention, at)) in mentions.iter().zip(offsets.spans).enumerate() {
            let fault = |problem| (index, problem);
            let surface = map.surface(at).map_err(fault)?;
            // brat ends a piece at every line break; such pieces leave out nothing but whitespace.
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let words = mention.stated.words;
            if mention.stated.pieces.len() > 1 && words.is_none_or(|words| letters(words) != letters(surface)) {
                notes.add(Note::DiscontinuousMention);
            }
            let name = self.mentions.get(&composed(mention.name)).map_or(mention.name, String::as_str);
            let (label, subtype) = mention_label(self.ontology, name, || surface).map_err(fault)?;
            entities.push(TextEntity { at, label, subtype });
        }
        Ok(entities)
    }

    /// The relation of a line; `None` for one with something that is not read.
    fn relation(&mut self, line: &str, ids: &Ids, notes: &mut Notes) -> Result<Option<Relation>, Problem> {
        let (name, roles) = relation(line)?;
        let id = |wanted: &str| roles.iter().find(|(role, _)| *role == wanted).map(|&(_, id)| id);
        let usual = id("Arg1").zip(id("Arg2"));
        let arguments = usual.or_else(|| {
            let named = self.project().roles(name).iter();
            named.into_iter().find_map(|[head, tail]| id(head).zip(id(tail)))
        });
        let Some((head, tail)) = arguments else {
            let roles = roles.iter().map(|(role, _)| format!("`{role}`")).collect::<Vec<_>>().join(" and ");
            return Err(Problem::malformed(format!(
                "`{line}` has the roles {roles}: without an `annotation.conf` that names them for `{name}`, which one \
                 is the head is not known; the usual ones are `Arg1` and `Arg2`"
            )));
        };
        let (head, tail) = match (ids.get(head), ids.get(tail)) {
            (Some(Holder::Mention(head)), Some(Holder::Mention(tail))) => (head, tail),
            (None, _) | (_, None) => {
                notes.ignore("relations of annotations that are not there");
                return Ok(None);
            }
            _ => {
                notes.ignore("relations with an event");
                return Ok(None);
            }
        };
        let label = relation_label(self.ontology, self.relations.get(&composed(name)).map_or(name, String::as_str))?;
        Ok(Some(Relation { head, tail, label }))
    }
}
