//! Import of brat's `annotation.conf`.
//!
//! A top-level entity type becomes a label. Types nested under it, at any depth, become its
//! sub-labels; a top-level type that may itself be annotated (its line does not start with `!`) is
//! also a sub-label of itself, so that nothing that brat can annotate is lost. Relations get the
//! union of their `Arg1` types as domain and of their `Arg2` types as range, as a hard constraint,
//! because brat refuses anything else.

use std::collections::{BTreeMap, HashMap};

use crate::{
    Constraint, EntityLabel, EntityLabelId, Keys, Ontology, OntologyError, RelationLabel, Subtype, error::Problem,
    nearest, read::is_plain_name,
};

/// An ontology made from brat's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BratImport {
    /// The ontology.
    pub ontology: Ontology,
    /// What the configuration holds that an ontology cannot say, one sentence each.
    pub notes: Vec<String>,
}

impl Ontology {
    /// Reads brat's `annotation.conf`; `origin` is what errors call it.
    pub fn from_brat(text: &str, origin: &str) -> Result<BratImport, OntologyError> {
        Import::default().run(text).map_err(|(line, problem)| OntologyError::Invalid {
            origin: origin.to_owned(),
            line,
            problem: Box::new(problem),
        })
    }
}

type Fault = (usize, Problem);

/// More macro expansions than this in one argument mean that a macro contains itself.
const MOST_EXPANSIONS: usize = 1000;

#[derive(Default)]
struct Import {
    entities: Vec<EntityLabel>,
    /// Brat type name to label, for the arguments of relations, with the line of its first use.
    types: HashMap<String, (EntityLabelId, usize)>,
    relations: Vec<RelationLabel>,
    macros: HashMap<String, String>,
    ignored: BTreeMap<String, usize>,
}

impl Import {
    fn run(mut self, text: &str) -> Result<BratImport, Fault> {
        let mut section = String::new();
        let mut relation_lines = Vec::new();
        for (number, raw) in (1..).zip(text.lines()) {
            let content = raw.trim();
            if content.is_empty() || content.starts_with('#') || content.chars().all(|c| c == '-') {
                continue;
            }
            if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_lowercase();
                continue;
            }
            if let Some((name, value)) = content.split_once('=').filter(|_| content.starts_with('<')) {
                self.macros.insert(name.trim().to_owned(), value.trim().to_owned());
                continue;
            }
            match section.as_str() {
                "entities" | "spans" => self.entity(raw, number)?,
                // Relations may name types and macros that are defined further down.
                "relations" => relation_lines.push((number, content)),
                "" => {
                    let message = format!("`{content}` stands before the first section; expected `[entities]`");
                    return Err((number, Problem::Syntax { message }));
                }
                other => *self.ignored.entry(other.to_owned()).or_default() += 1,
            }
        }
        if self.entities.is_empty() {
            return Err((1, Problem::NoEntities));
        }
        for (number, content) in relation_lines {
            self.relation(content, number)?;
        }
        let notes =
            self.ignored.iter().map(|(section, count)| format!("{count} lines of [{section}] are not imported"));
        let notes = notes.collect();
        // A label that is its own only sub-label has no hierarchy.
        for label in &mut self.entities {
            if label.subtypes.len() == 1 && label.subtypes[0].name == label.name {
                label.subtypes.clear();
            }
        }
        let ontology = Ontology {
            name: String::new(),
            description: String::new(),
            keys: Keys::default(),
            entities: self.entities,
            relations: self.relations,
        };
        Ok(BratImport { ontology, notes })
    }

    fn entity(&mut self, raw: &str, number: usize) -> Result<(), Fault> {
        let nested = raw.starts_with(char::is_whitespace);
        let (name, is_abstract) = type_name(raw, "entity label", number)?;
        let label = if nested {
            let message = format!("`{name}` is indented, but no type stands above it");
            let last = self.entities.len().checked_sub(1).ok_or((number, Problem::Syntax { message }))?;
            EntityLabelId(last as u16)
        } else {
            let id = u16::try_from(self.entities.len());
            EntityLabelId(id.map_err(|_| (number, Problem::TooMany { what: "entity labels" }))?)
        };
        if let Some((_, first_line)) = self.types.insert(name.clone(), (label, number)) {
            return Err((number, Problem::Duplicate { what: "entity label", found: name, first_line }));
        }
        if !nested {
            let own = Subtype { name: name.clone(), description: String::new() };
            let subtypes = if is_abstract { Vec::new() } else { vec![own] };
            self.entities.push(EntityLabel { name, aliases: Vec::new(), description: String::new(), subtypes });
        } else if !is_abstract {
            self.entities[label.index()].subtypes.push(Subtype { name, description: String::new() });
        }
        Ok(())
    }

    fn relation(&mut self, content: &str, number: usize) -> Result<(), Fault> {
        let (name, is_abstract) = type_name(content, "relation type", number)?;
        if is_abstract || name == "<OVERLAP>" {
            *self.ignored.entry("relations".to_owned()).or_default() += 1;
            return Ok(());
        }
        let mut label = RelationLabel {
            name,
            aliases: Vec::new(),
            description: String::new(),
            symmetric: false,
            domain: Vec::new(),
            range: Vec::new(),
            constraint: Constraint::Hard,
        };
        let arguments = content.split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
        for argument in arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
            let Some((role, value)) = argument.split_once(':') else {
                let message = format!("`{argument}` is not `Arg1:type`, `Arg2:type` or `<REL-TYPE>:symmetric`");
                return Err((number, Problem::Syntax { message }));
            };
            match role.trim() {
                "Arg1" => label.domain = self.argument_types("Arg1", value, number)?,
                "Arg2" => label.range = self.argument_types("Arg2", value, number)?,
                "<REL-TYPE>" => label.symmetric = value.split('-').any(|property| property.trim() == "symmetric"),
                _ => *self.ignored.entry("relations".to_owned()).or_default() += 1,
            }
        }
        self.add_relation(label).map_err(|()| (number, Problem::TooMany { what: "relation types" }))
    }

    /// Adds a relation type; brat may list one several times, with other arguments each time.
    fn add_relation(&mut self, label: RelationLabel) -> Result<(), ()> {
        let Some(known) = self.relations.iter_mut().find(|known| known.name == label.name) else {
            self.relations.push(label);
            return if self.relations.len() > usize::from(u16::MAX) { Err(()) } else { Ok(()) };
        };
        known.symmetric |= label.symmetric;
        for (into, from) in [(&mut known.domain, label.domain), (&mut known.range, label.range)] {
            if into.is_empty() || from.is_empty() {
                into.clear();
            } else {
                into.extend(from);
                into.sort_unstable();
                into.dedup();
            }
        }
        Ok(())
    }

    /// The labels of `A|B|<MACRO>`; empty for "any entity".
    fn argument_types(&self, role: &str, value: &str, number: usize) -> Result<Vec<EntityLabelId>, Fault> {
        let mut ids = Vec::new();
        let mut pending: Vec<String> = value.split('|').map(|name| name.trim().to_owned()).collect();
        let mut expansions = 0;
        while let Some(name) = pending.pop() {
            if matches!(name.as_str(), "<ENTITY>" | "<ANY>") {
                return Ok(Vec::new());
            }
            if let Some(expansion) = self.macros.get(&name) {
                expansions += 1;
                if expansions > MOST_EXPANSIONS {
                    return Err((number, Problem::Syntax { message: format!("the macro {name} expands to itself") }));
                }
                pending.extend(expansion.split('|').map(|name| name.trim().to_owned()));
                continue;
            }
            let Some(&(id, _)) = self.types.get(&name) else {
                let mut valid: Vec<String> = self.types.keys().chain(self.macros.keys()).cloned().collect();
                valid.sort_unstable();
                let nearest = nearest(&name, valid.iter().map(String::as_str)).map(str::to_owned);
                return Err((number, Problem::UnknownLabel { found: name, key: role.to_owned(), nearest, valid }));
            };
            ids.push(id);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// The type that a line starts with, and whether `!` marks it as not to be annotated.
fn type_name(line: &str, what: &'static str, number: usize) -> Result<(String, bool), Fault> {
    let word = line.split_whitespace().next().unwrap_or_default();
    let (name, is_abstract) = word.strip_prefix('!').map_or((word, false), |name| (name, true));
    if is_plain_name(name) {
        Ok((name.to_owned(), is_abstract))
    } else {
        Err((number, Problem::InvalidName { what, found: name.to_owned() }))
    }
}
