//! Reading an ontology from TOML.
//!
//! The reader walks over tables that know the position of every key and value, so that every error can
//! name its line.

use std::{collections::HashMap, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    Alternatives, Arguments, Constraint, EntityLabel, EntityLabelId, Keys, Ontology, OntologyError, RelationLabel,
    Subtype,
    error::OntologyProblem,
    names::{canonical_name, find_named},
};

impl Ontology {
    /// Reads an ontology file.
    pub fn read(path: &Path) -> Result<Self, OntologyError> {
        let text =
            tabpo_files::read_text(path).map_err(|source| OntologyError::Io { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads an ontology from text; errors call it `origin`.
    pub fn parse(text: &str, origin: &str) -> Result<Self, OntologyError> {
        parse(text).map_err(|ProblemAt { at, problem }| OntologyError::Invalid {
            origin: origin.to_owned(),
            line: line_of(text, at),
            problem: Box::new(problem),
        })
    }
}

/// A problem and its byte offset.
struct ProblemAt {
    at: usize,
    problem: OntologyProblem,
}

impl ProblemAt {
    fn new(at: usize, problem: OntologyProblem) -> Self {
        Self { at, problem }
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].split(|&byte| byte == b'\n').count()
}

fn parse(text: &str) -> Result<Ontology, ProblemAt> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        ProblemAt::new(at, OntologyProblem::Syntax { message: error.message().to_owned() })
    })?;
    let root = Table::new(document.get_ref(), 0, "the file", &["ontology", "keys", "entity", "relation"])?;

    let (mut name, mut description, mut arguments) = (String::new(), String::new(), Arguments::default());
    if let Some(table) = root.table("ontology", "[ontology]", &["name", "description", "arguments"])? {
        description = table.optional_string("description")?;
        if let Some(value) = table.get("name") {
            name = table.name(value, "name", "ontology name")?;
        }
        arguments = table.one_of("arguments", Arguments::ALL.map(|way| (way.name(), way)))?.unwrap_or_default();
    }
    let keys = match root.table("keys", "[keys]", KEY_NAMES)? {
        Some(table) => read_keys(&table)?,
        None => Keys::default(),
    };

    let mut entity_names = Taken { what: "entity label", lines: HashMap::new(), text };
    let mut entities = Vec::new();
    for table in root.tables("entity", "[[entity]]", &["name", "aliases", "description", "subtypes"])? {
        let (name, aliases) = read_names(&table, "entity label", &mut entity_names)?;
        let mut subtype_names = Taken { what: "subtype", lines: HashMap::new(), text };
        let mut subtypes = Vec::new();
        for entry in table.array("subtypes")? {
            subtypes.push(read_subtype(&table, entry, &mut subtype_names)?);
        }
        entities.push(EntityLabel { name, aliases, description: table.optional_string("description")?, subtypes });
        if entities.len() > usize::from(u16::MAX) {
            return Err(ProblemAt::new(table.at, OntologyProblem::TooMany { what: "entity labels" }));
        }
    }
    if entities.is_empty() {
        return Err(ProblemAt::new(0, OntologyProblem::NoEntities));
    }

    let mut relation_names = Taken { what: "relation type", lines: HashMap::new(), text };
    let mut relations = Vec::new();
    let valid = ["name", "aliases", "description", "symmetric", "domain", "range", "constraint"];
    for table in root.tables("relation", "[[relation]]", &valid)? {
        let (name, aliases) = read_names(&table, "relation type", &mut relation_names)?;
        relations.push(RelationLabel {
            name,
            aliases,
            description: table.optional_string("description")?,
            symmetric: table.boolean("symmetric")?,
            domain: read_labels(&table, "domain", &entities)?,
            range: read_labels(&table, "range", &entities)?,
            constraint: read_constraint(&table)?,
        });
        if relations.len() > usize::from(u16::MAX) {
            return Err(ProblemAt::new(table.at, OntologyProblem::TooMany { what: "relation types" }));
        }
    }
    Ok(Ontology { name, description, arguments, keys, entities, relations })
}

/// `name` and `aliases` of a label, none of which may be in use already.
fn read_names(table: &Table, what: &'static str, taken: &mut Taken) -> Result<(String, Vec<String>), ProblemAt> {
    let value = table.required("name")?;
    let name = table.name(value, "name", what)?;
    taken.claim(&name, value.span().start)?;
    let mut aliases = Vec::new();
    for entry in table.array("aliases")? {
        let alias = table.name(entry, "aliases", what)?;
        taken.claim(&alias, entry.span().start)?;
        aliases.push(alias);
    }
    Ok((name, aliases))
}

/// A subtype: a plain string, or a table with a description.
fn read_subtype(table: &Table, entry: &Spanned<DeValue>, taken: &mut Taken) -> Result<Subtype, ProblemAt> {
    if let Some(inner) = entry.get_ref().as_table() {
        let inner = Table::new(inner, entry.span().start, "`subtypes` of [[entity]]", &["name", "description"])?;
        let value = inner.required("name")?;
        let name = inner.name(value, "name", "subtype")?;
        taken.claim(&name, value.span().start)?;
        return Ok(Subtype { name, description: inner.optional_string("description")? });
    }
    let name = table.name(entry, "subtypes", "subtype")?;
    taken.claim(&name, entry.span().start)?;
    Ok(Subtype { name, description: String::new() })
}

/// The entity labels that `domain` or `range` lists, by name or alias.
fn read_labels(table: &Table, key: &'static str, entities: &[EntityLabel]) -> Result<Vec<EntityLabelId>, ProblemAt> {
    let mut ids = Vec::new();
    for entry in table.array(key)? {
        let found = table.string(entry, key)?;
        let names = |position: usize| {
            let label: &EntityLabel = &entities[position];
            [&label.name].into_iter().chain(&label.aliases).map(String::as_str)
        };
        let position = find_named(0..entities.len(), names, found).ok_or_else(|| {
            let alternatives = Alternatives::to(found, entities.iter().map(|label| label.name.as_str()));
            let problem = OntologyProblem::UnknownLabel { found: found.to_owned(), key: key.to_owned(), alternatives };
            ProblemAt::new(entry.span().start, problem)
        })?;
        let id = EntityLabelId(position as u16);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn read_constraint(table: &Table) -> Result<Constraint, ProblemAt> {
    let found = table.one_of("constraint", [("soft", Constraint::Soft), ("hard", Constraint::Hard)])?;
    Ok(found.unwrap_or(Constraint::Soft))
}

/// The names that `[keys]` may rename, as [`Keys`] spells them in a file.
const KEY_NAMES: &[&str] = &[
    "entities",
    "id",
    "text",
    "type",
    "subtype",
    "occ",
    "relations",
    "head",
    "head_number",
    "relation_type",
    "tail",
    "tail_number",
];

fn read_keys(table: &Table) -> Result<Keys, ProblemAt> {
    let mut keys = Keys::default();
    let mut at = HashMap::new();
    for (key, value) in table.entries {
        let new_name = table.name(value, key.get_ref(), "key")?;
        at.insert(key.get_ref().as_ref(), value.span().start);
        let slot = match key.get_ref().as_ref() {
            "entities" => &mut keys.entities,
            "id" => &mut keys.id,
            "text" => &mut keys.text,
            "type" => &mut keys.entity_type,
            "subtype" => &mut keys.subtype,
            "occ" => &mut keys.occ,
            "relations" => &mut keys.relations,
            "head" => &mut keys.head,
            "head_number" => &mut keys.head_number,
            "tail_number" => &mut keys.tail_number,
            "relation_type" => &mut keys.relation_type,
            _ => &mut keys.tail,
        };
        *slot = new_name;
    }
    let objects: [&[(&'static str, &String)]; 3] = [
        &[("entities", &keys.entities), ("relations", &keys.relations)],
        &[
            ("id", &keys.id),
            ("text", &keys.text),
            ("type", &keys.entity_type),
            ("subtype", &keys.subtype),
            ("occ", &keys.occ),
        ],
        &[
            ("head", &keys.head),
            ("head_number", &keys.head_number),
            ("relation_type", &keys.relation_type),
            ("tail", &keys.tail),
            ("tail_number", &keys.tail_number),
        ],
    ];
    for object in objects {
        for (index, &(second, name)) in object.iter().enumerate() {
            if let Some(&(first, _)) = object[..index].iter().find(|(_, other)| *other == name) {
                let line = at.get(second).or_else(|| at.get(first)).copied().unwrap_or(table.at);
                return Err(ProblemAt::new(line, OntologyProblem::KeysCollide { first, second, name: name.clone() }));
            }
        }
    }
    Ok(keys)
}

/// Names in use, with the byte offset of their first use.
struct Taken<'a> {
    what: &'static str,
    lines: HashMap<String, usize>,
    text: &'a str,
}

impl Taken<'_> {
    fn claim(&mut self, name: &str, at: usize) -> Result<(), ProblemAt> {
        // Names that differ only in their composition would be confused.
        match self.lines.insert(canonical_name(name).into_owned(), at) {
            None => Ok(()),
            Some(first) => Err(ProblemAt::new(
                at,
                OntologyProblem::Duplicate {
                    what: self.what,
                    found: name.to_owned(),
                    first_line: line_of(self.text, first),
                },
            )),
        }
    }
}

/// A TOML table whose keys are all valid.
struct Table<'a> {
    entries: &'a DeTable<'a>,
    at: usize,
    place: &'static str,
}

impl<'a> Table<'a> {
    fn new(entries: &'a DeTable<'a>, at: usize, place: &'static str, valid: &[&str]) -> Result<Self, ProblemAt> {
        for key in entries.keys() {
            let found = key.get_ref().as_ref();
            if !valid.contains(&found) {
                let problem = OntologyProblem::UnknownKey {
                    found: found.to_owned(),
                    place,
                    alternatives: Alternatives::to(found, valid.iter().copied()),
                };
                return Err(ProblemAt::new(key.span().start, problem));
            }
        }
        Ok(Self { entries, at, place })
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn required(&self, key: &'static str) -> Result<&'a Spanned<DeValue<'a>>, ProblemAt> {
        self.get(key).ok_or_else(|| ProblemAt::new(self.at, OntologyProblem::MissingKey { key, place: self.place }))
    }

    fn wrong_type(&self, key: &str, expected: &'static str, value: &Spanned<DeValue>) -> ProblemAt {
        let problem = OntologyProblem::WrongType {
            key: key.to_owned(),
            place: self.place,
            expected,
            found: value.get_ref().type_str().to_owned(),
        };
        ProblemAt::new(value.span().start, problem)
    }

    fn string(&self, value: &'a Spanned<DeValue<'a>>, key: &str) -> Result<&'a str, ProblemAt> {
        value.get_ref().as_str().ok_or_else(|| self.wrong_type(key, "a string", value))
    }

    /// A string that an answer can contain unescaped.
    fn name(&self, value: &Spanned<DeValue>, key: &str, what: &'static str) -> Result<String, ProblemAt> {
        let Some(found) = value.get_ref().as_str() else { return Err(self.wrong_type(key, "a string", value)) };
        if is_plain_name(found) {
            Ok(found.to_owned())
        } else {
            Err(ProblemAt::new(value.span().start, OntologyProblem::InvalidName { what, found: found.to_owned() }))
        }
    }

    fn optional_string(&self, key: &str) -> Result<String, ProblemAt> {
        self.get(key).map_or(Ok(String::new()), |value| Ok(self.string(value, key)?.trim().to_owned()))
    }

    fn boolean(&self, key: &str) -> Result<bool, ProblemAt> {
        self.get(key).map_or(Ok(false), |value| {
            value.get_ref().as_bool().ok_or_else(|| self.wrong_type(key, "true or false", value))
        })
    }

    /// The value that a word stands for, if the key is there.
    fn one_of<T: Copy, const N: usize>(
        &self,
        key: &'static str,
        values: [(&'static str, T); N],
    ) -> Result<Option<T>, ProblemAt> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = self.string(value, key)?;
        let known = values.iter().find(|(name, _)| *name == found);
        known.map(|&(_, meant)| Some(meant)).ok_or_else(|| {
            let alternatives = Alternatives::to(found, values.map(|(name, _)| name));
            let problem = OntologyProblem::UnknownValue { key, found: found.to_owned(), alternatives };
            ProblemAt::new(value.span().start, problem)
        })
    }

    fn array(&self, key: &str) -> Result<&'a [Spanned<DeValue<'a>>], ProblemAt> {
        let Some(value) = self.get(key) else { return Ok(&[]) };
        match value.get_ref() {
            DeValue::Array(array) => Ok(array),
            _ => Err(self.wrong_type(key, "a list", value)),
        }
    }

    fn table(&self, key: &str, place: &'static str, valid: &[&str]) -> Result<Option<Table<'a>>, ProblemAt> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let entries = value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, "a table", value))?;
        Table::new(entries, value.span().start, place, valid).map(Some)
    }

    fn tables(&self, key: &str, place: &'static str, valid: &[&str]) -> Result<Vec<Table<'a>>, ProblemAt> {
        let mut tables = Vec::new();
        for entry in self.array(key)? {
            let entries = entry.get_ref().as_table().ok_or_else(|| self.wrong_type(key, "a list of tables", entry))?;
            tables.push(Table::new(entries, entry.span().start, place, valid)?);
        }
        Ok(tables)
    }
}

/// Whether a name needs no escapes between JSON quotes and is not changed by trimming.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(|c: char| c == '"' || c == '\\' || c.is_control())
}
