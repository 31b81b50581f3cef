//! Import of brat's `annotation.conf`.
//!
//! A top-level entity type becomes a label. Types nested under it, at any depth, become its
//! sub-labels; a top-level type that may itself be annotated (its line does not start with `!`) is
//! also a sub-label of itself, so that nothing is lost that brat can annotate. The domain
//! of a relation is the union of the types of its first role (usually `Arg1`), its range that of the
//! second; both are hard constraints, because brat refuses anything else. Types of a role that are not
//! entities, such as events, are left out.

use std::collections::{BTreeMap, HashMap};

use crate::{
    Arguments, Constraint, EntityLabel, EntityLabelId, Keys, Ontology, OntologyError, RelationLabel, Subtype,
    brat_project::{Argument, arguments, lines},
    error::OntologyProblem,
    nearest,
    read::is_plain_name,
};

/// An ontology made from brat's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BratImport {
    /// The ontology.
    pub ontology: Ontology,
    /// What the configuration says that an ontology cannot express, one sentence each.
    pub notes: Vec<String>,
}

impl Ontology {
    /// Reads brat's `annotation.conf`; errors call it `origin`.
    pub fn from_brat(text: &str, origin: &str) -> Result<BratImport, OntologyError> {
        Import::default().run(text).map_err(|(line, problem)| OntologyError::Invalid {
            origin: origin.to_owned(),
            line,
            problem: Box::new(problem),
        })
    }
}

/// A line, counted from 1, and what is wrong with it.
type ProblemOnLine = (usize, OntologyProblem);

/// More macro expansions than this in one argument can only mean that a macro contains itself.
const MOST_EXPANSIONS: usize = 1000;

#[derive(Default)]
struct Import {
    entities: Vec<EntityLabel>,
    /// Brat type name to label, for the arguments of relations, with the line of its first use.
    types: HashMap<String, (EntityLabelId, usize)>,
    relations: Vec<RelationLabel>,
    macros: HashMap<String, String>,
    ignored: BTreeMap<String, usize>,
    /// What was left out, besides the ignored sections.
    notes: Vec<String>,
}

impl Import {
    fn run(mut self, text: &str) -> Result<BratImport, ProblemOnLine> {
        let mut relation_lines = Vec::new();
        for line in lines(text) {
            if let Some((name, value)) = line.content.split_once('=').filter(|_| line.content.starts_with('<')) {
                self.macros.insert(name.trim().to_owned(), value.trim().to_owned());
                continue;
            }
            match line.section.as_str() {
                "entities" | "spans" => self.entity(line.raw, line.number)?,
                // Relations may name types and macros that are defined further down.
                "relations" => relation_lines.push(line),
                "" => {
                    let message = format!("`{}` comes before the first section; expected `[entities]`", line.content);
                    return Err((line.number, OntologyProblem::Syntax { message }));
                }
                _ => *self.ignored.entry(line.section).or_default() += 1,
            }
        }
        if self.entities.is_empty() {
            return Err((1, OntologyProblem::NoEntities));
        }
        for line in relation_lines {
            self.relation(line.content, line.number)?;
        }
        let sections = self.ignored.iter().map(|(section, count)| {
            format!("{count} {} of [{section}] not imported", if *count == 1 { "line" } else { "lines" })
        });
        self.notes.splice(0..0, sections);
        // A label that is its own only sub-label has no hierarchy.
        for label in &mut self.entities {
            if label.subtypes.len() == 1 && label.subtypes[0].name == label.name {
                label.subtypes.clear();
            }
        }
        let ontology = Ontology {
            name: String::new(),
            description: String::new(),
            arguments: Arguments::default(),
            keys: Keys::default(),
            entities: self.entities,
            relations: self.relations,
        };
        Ok(BratImport { ontology, notes: self.notes })
    }

    fn entity(&mut self, raw: &str, number: usize) -> Result<(), ProblemOnLine> {
        let nested = raw.starts_with(char::is_whitespace);
        let (name, is_abstract) = type_name(raw, "entity label", number)?;
        let label = if nested {
            let message = format!("`{name}` is indented, but there is no type above it");
            let last = self.entities.len().checked_sub(1).ok_or((number, OntologyProblem::Syntax { message }))?;
            EntityLabelId(last as u16)
        } else {
            let id = u16::try_from(self.entities.len());
            EntityLabelId(id.map_err(|_| (number, OntologyProblem::TooMany { what: "entity labels" }))?)
        };
        if let Some((_, first_line)) = self.types.insert(name.clone(), (label, number)) {
            return Err((number, OntologyProblem::Duplicate { what: "entity label", found: name, first_line }));
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

    fn relation(&mut self, content: &str, number: usize) -> Result<(), ProblemOnLine> {
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
        for property in arguments(content).filter(|argument| argument.role.starts_with('<')) {
            match property.role {
                "<REL-TYPE>" => label.symmetric = property.types.split('-').any(|word| word.trim() == "symmetric"),
                _ => *self.ignored.entry("relations".to_owned()).or_default() += 1,
            }
        }
        let mut roles: Vec<Argument> = arguments(content).filter(|argument| !argument.role.starts_with('<')).collect();
        if let Some(argument) = roles.iter().find(|argument| argument.role.is_empty()) {
            let message = format!("`{}` is not `Arg1:type`, `Arg2:type` or `<REL-TYPE>:symmetric`", argument.types);
            return Err((number, OntologyProblem::Syntax { message }));
        }
        // The first role is the head, whatever its name; only `Arg1` and `Arg2` may come in either order.
        roles.sort_by_key(|argument| argument.role == "Arg2");
        for (index, argument) in roles.iter().enumerate() {
            let Some(side) = [&mut label.domain, &mut label.range].into_iter().nth(index) else {
                *self.ignored.entry("relations".to_owned()).or_default() += 1;
                continue;
            };
            let (types, unknown) = self.argument_types(argument.types, number)?;
            for name in &unknown {
                let known = self.types.keys().map(String::as_str);
                let mut known: Vec<&str> = known.collect();
                known.sort_unstable();
                let hint = nearest(name, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                self.notes.push(format!(
                    "line {number}: `{name}`, in `{}` of `{}`, is not an entity type and is left out{hint}",
                    argument.role, label.name
                ));
            }
            match types {
                Some(types) if types.is_empty() => {
                    self.notes.push(format!(
                        "line {number}: the relation `{}` is not imported: no entity can be its `{}`",
                        label.name, argument.role
                    ));
                    return Ok(());
                }
                types => *side = types.unwrap_or_default(),
            }
        }
        self.add_relation(label).map_err(|()| (number, OntologyProblem::TooMany { what: "relation types" }))
    }

    /// Adds a relation type. brat may list the same type several times, each time with other arguments.
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

    /// The labels of `A|B|<MACRO>`, `None` for any entity, and the names that are not entity types.
    fn argument_types(
        &self,
        value: &str,
        number: usize,
    ) -> Result<(Option<Vec<EntityLabelId>>, Vec<String>), ProblemOnLine> {
        let (mut ids, mut unknown) = (Vec::new(), Vec::new());
        let names = |value: &str| value.split('|').map(|name| name.trim().to_owned()).rev().collect::<Vec<_>>();
        let mut pending = names(value);
        let mut expansions = 0;
        while let Some(name) = pending.pop() {
            if matches!(name.as_str(), "<ENTITY>" | "<ANY>") {
                return Ok((None, unknown));
            }
            if let Some(expansion) = self.macros.get(&name) {
                expansions += 1;
                if expansions > MOST_EXPANSIONS {
                    return Err((
                        number,
                        OntologyProblem::Syntax { message: format!("the macro {name} expands to itself") },
                    ));
                }
                pending.extend(names(expansion));
                continue;
            }
            match self.types.get(&name) {
                Some(&(id, _)) => ids.push(id),
                None => unknown.push(name),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok((Some(ids), unknown))
    }
}

/// The type at the start of a line, and whether `!` marks it as abstract: not to be annotated itself.
fn type_name(line: &str, what: &'static str, number: usize) -> Result<(String, bool), ProblemOnLine> {
    let word = line.split_whitespace().next().unwrap_or_default();
    let (name, is_abstract) = word.strip_prefix('!').map_or((word, false), |name| (name, true));
    if is_plain_name(name) {
        Ok((name.to_owned(), is_abstract))
    } else {
        Err((number, OntologyProblem::InvalidName { what, found: name.to_owned() }))
    }
}
