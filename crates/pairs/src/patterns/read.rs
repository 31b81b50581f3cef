//! Reading patterns from TOML.

use std::{collections::HashMap, path::Path};

use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId};
use toml::de::{DeTable, DeValue};

use super::{
    Change, Condition, EntityCondition, LabelChoice, Order, Pattern, PatternError, PatternProblem, Patterns,
    RelationCondition, Rule, Words,
    table::{ProblemAt, Table, strings, unknown},
};
use crate::{Kind, Side};

const PATTERN_KEYS: &[&str] =
    &["id", "kind", "from", "to", "both", "change", "words", "argument", "same_label", "when", "weight", "rationale"];
const ENTITY_CONDITIONS: &[&str] = &[
    "text",
    "head_word",
    "first_word",
    "contains",
    "before",
    "after",
    "determiner_before",
    "acronym",
    "tokens",
    "repeated",
    "neighbour",
];
const RELATION_CONDITIONS: &[&str] = &["head", "tail", "cue", "order", "mentions_between", "tokens_between"];
const CHANGES: [&str; 4] = ["edge-word", "left-modifier", "acronym", "phrase"];
const ENGLISH_DETERMINERS: &[&str] =
    &["a", "an", "the", "this", "that", "these", "those", "its", "their", "our", "his", "her", "such"];

impl Patterns {
    /// Reads a pattern file for an ontology.
    pub fn read(path: &Path, ontology: &Ontology) -> Result<Self, PatternError> {
        let text =
            tabpo_files::read_text(path).map_err(|source| PatternError::Io { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string(), ontology)
    }

    /// Reads patterns from text; errors call it `origin`.
    pub fn parse(text: &str, origin: &str, ontology: &Ontology) -> Result<Self, PatternError> {
        parse(text, ontology).map_err(|ProblemAt { at, problem }| PatternError::Invalid {
            origin: origin.to_owned(),
            line: line_of(text, at),
            problem,
        })
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at.min(text.len())].matches('\n').count()
}

fn parse(text: &str, ontology: &Ontology) -> Result<Patterns, ProblemAt> {
    let document = DeTable::parse(text).map_err(|error| ProblemAt {
        at: error.span().map_or(0, |span| span.start),
        problem: PatternProblem::Syntax(error.message().to_owned()),
    })?;
    let root = Table::new(document.get_ref(), 0, "the file", &["words", "pattern"])?;
    let mut lists: HashMap<&str, Vec<&str>> = HashMap::from([("determiner", ENGLISH_DETERMINERS.to_vec())]);
    if let Some(value) = root.get("words") {
        let DeValue::Table(table) = value.get_ref() else { return Err(shape(value.span().start, "words", "a table")) };
        for (name, value) in table {
            let entries = strings(value, name.get_ref())?;
            lists.insert(name.get_ref(), entries.into_iter().map(|(entry, _)| entry).collect());
        }
    }
    let reader = Reader { ontology, lists };
    let mut patterns: Vec<Pattern> = Vec::new();
    if let Some(value) = root.get("pattern") {
        let DeValue::Array(array) = value.get_ref() else {
            return Err(shape(value.span().start, "pattern", "a list of tables"));
        };
        for entry in array {
            let at = entry.span().start;
            let DeValue::Table(table) = entry.get_ref() else {
                return Err(shape(at, "pattern", "a list of tables"));
            };
            let table = Table::new(table, at, "[[pattern]]", PATTERN_KEYS)?;
            let pattern = reader.pattern(&table, line_of(text, at))?;
            if let Some(first) = patterns.iter().find(|other| other.id == pattern.id) {
                let problem = PatternProblem::Duplicate { id: pattern.id, first_line: first.line };
                return Err(ProblemAt { at, problem });
            }
            patterns.push(pattern);
        }
    }
    Ok(Patterns { patterns })
}

fn shape(at: usize, key: &str, expected: &'static str) -> ProblemAt {
    let problem = PatternProblem::Wrong { key: key.to_owned(), expected, found: "something else".to_owned() };
    ProblemAt { at, problem }
}

struct Reader<'a> {
    ontology: &'a Ontology,
    lists: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Reader<'a> {
    fn pattern(&self, table: &Table<'a>, line: usize) -> Result<Pattern, ProblemAt> {
        let (id, _) = table.required_string("id")?;
        let (kind_name, at) = table.required_string("kind")?;
        let kind = Kind::named(kind_name)
            .ok_or_else(|| unknown("kind", kind_name, at, Kind::ALL.iter().map(|kind| kind.name())))?;
        for (key, _) in table.entries {
            let key_name = key.get_ref().as_ref();
            let used = match key_name {
                "from" => !matches!(kind, Kind::AddEntity | Kind::AddRelation),
                "to" => matches!(
                    kind,
                    Kind::Label
                        | Kind::Subtype
                        | Kind::RelationLabel
                        | Kind::Argument
                        | Kind::AddEntity
                        | Kind::AddRelation
                ),
                "both" => matches!(kind, Kind::Label | Kind::Subtype | Kind::RelationLabel),
                "change" | "words" => kind == Kind::Boundary,
                "argument" | "same_label" => kind == Kind::Argument,
                _ => true,
            };
            if !used {
                let problem = PatternProblem::NotForKind { key: key_name.to_owned(), kind: kind.name() };
                return Err(ProblemAt { at: key.span().start, problem });
            }
        }
        let rule = self.rule(table, kind)?;
        let rationale = table.optional_string("rationale")?.map_or("", |(text, _)| text).trim().to_owned();
        let when = self.condition(table, kind)?;
        Ok(Pattern { id: id.to_owned(), weight: table.weight("weight")?, rationale, line, rule, when })
    }

    fn rule(&self, table: &Table<'a>, kind: Kind) -> Result<Rule, ProblemAt> {
        let both = table.boolean("both")?.unwrap_or(false);
        let empty = |reason| ProblemAt { at: table.at, problem: PatternProblem::Empty(reason) };
        Ok(match kind {
            Kind::Label => {
                let swaps = exchange(&self.labels(table, "from")?, &self.labels(table, "to")?, both, |from, to| {
                    from.label != to.label
                });
                if swaps.is_empty() {
                    return Err(empty("`from` and `to` are the same label"));
                }
                Rule::Label(swaps)
            }
            Kind::Subtype => {
                let swaps = exchange(&self.subtypes(table, "from")?, &self.subtypes(table, "to")?, both, |from, to| {
                    from.0 == to.0 && from.1 != to.1
                });
                if swaps.is_empty() {
                    return Err(empty("no two sub-labels of one label"));
                }
                Rule::Subtype(swaps.into_iter().map(|((label, from), (_, to))| (label, from, to)).collect())
            }
            Kind::RelationLabel => {
                let swaps =
                    exchange(&self.relations(table, "from")?, &self.relations(table, "to")?, both, |a, b| a != b);
                if swaps.is_empty() {
                    return Err(empty("`from` and `to` are the same relation type"));
                }
                Rule::RelationLabel(swaps)
            }
            Kind::Direction => {
                let mut relations = self.relations(table, "from")?;
                relations.retain(|&label| !self.ontology.relation(label).symmetric);
                if relations.is_empty() {
                    return Err(empty("a symmetric relation has no direction"));
                }
                Rule::Direction(relations)
            }
            Kind::Argument => Rule::Argument {
                relations: self.relations(table, "from")?,
                side: match table.optional_string("argument")? {
                    None => None,
                    Some(("head", _)) => Some(Side::Head),
                    Some(("tail", _)) => Some(Side::Tail),
                    Some((found, at)) => return Err(unknown("argument", found, at, ["head", "tail"])),
                },
                labels: self.labels(table, "to")?,
                same_label: table.boolean("same_label")?.unwrap_or(false),
            },
            Kind::Boundary => Rule::Boundary { labels: self.labels(table, "from")?, change: self.change(table)? },
            Kind::DropEntity => Rule::DropEntity(self.labels(table, "from")?),
            Kind::AddEntity => Rule::AddEntity(self.labels(table, "to")?),
            Kind::DropRelation => Rule::DropRelation(self.relations(table, "from")?),
            Kind::AddRelation => Rule::AddRelation(self.relations(table, "to")?),
            Kind::Grounding => Rule::Grounding(self.labels(table, "from")?),
            Kind::Occurrence => Rule::Occurrence(self.labels(table, "from")?),
        })
    }

    fn change(&self, table: &Table<'a>) -> Result<Change, ProblemAt> {
        let (name, at) = table.required_string("change")?;
        let words = table.words("words", &self.lists)?;
        let missing = || ProblemAt { at, problem: PatternProblem::Missing { key: "words", place: "[[pattern]]" } };
        match name {
            "edge-word" => Ok(Change::EdgeWord(words.ok_or_else(missing)?)),
            "phrase" => Ok(Change::Phrase { joints: words.ok_or_else(missing)?, determiners: self.determiners() }),
            "left-modifier" => Ok(Change::LeftModifier(words.unwrap_or_default())),
            "acronym" if words.is_none() => Ok(Change::Acronym),
            "acronym" => {
                let problem = PatternProblem::NotForChange { change: "acronym" };
                Err(ProblemAt { at: table.get("words").map_or(at, |value| value.span().start), problem })
            }
            _ => Err(unknown("change", name, at, CHANGES)),
        }
    }

    fn condition(&self, table: &Table<'a>, kind: Kind) -> Result<Condition, ProblemAt> {
        let about_relations = matches!(
            kind,
            Kind::RelationLabel | Kind::Direction | Kind::Argument | Kind::DropRelation | Kind::AddRelation
        );
        let Some(value) = table.get("when") else {
            return Ok(if about_relations {
                Condition::Relation(RelationCondition::default())
            } else {
                Condition::Entity(Box::default())
            });
        };
        let at = value.span().start;
        let DeValue::Table(entries) = value.get_ref() else { return Err(shape(at, "when", "a table")) };
        let valid = if about_relations { RELATION_CONDITIONS } else { ENTITY_CONDITIONS };
        let when = Table::new(entries, at, "`when`", valid)?;
        let words = |key| when.words(key, &self.lists);
        if about_relations {
            return Ok(Condition::Relation(RelationCondition {
                head: self.label_ids(&when, "head")?,
                tail: self.label_ids(&when, "tail")?,
                cue: words("cue")?,
                order: match when.optional_string("order")? {
                    None => None,
                    Some(("head-first", _)) => Some(Order::HeadFirst),
                    Some(("tail-first", _)) => Some(Order::TailFirst),
                    Some((found, at)) => return Err(unknown("order", found, at, ["head-first", "tail-first"])),
                },
                mentions_between: when.bounds("mentions_between")?,
                tokens_between: when.bounds("tokens_between")?,
            }));
        }
        Ok(Condition::Entity(Box::new(EntityCondition {
            text: words("text")?,
            head_word: words("head_word")?,
            first_word: words("first_word")?,
            contains: words("contains")?,
            before: words("before")?,
            after: words("after")?,
            determiner_before: when.boolean("determiner_before")?.map(|wanted| (wanted, self.determiners())),
            acronym: when.boolean("acronym")?,
            tokens: when.bounds("tokens")?,
            repeated: when.boolean("repeated")?,
            neighbour: self.label_ids(&when, "neighbour")?,
        })))
    }

    /// The list `determiner` of the file, or the English one.
    fn determiners(&self) -> Words {
        Words::new(self.lists["determiner"].iter().copied())
    }

    /// Entity labels by name, data alias or `Label/sub-label`; all labels if the key is missing.
    fn labels(&self, table: &Table<'a>, key: &str) -> Result<Vec<LabelChoice>, ProblemAt> {
        let any = |label| LabelChoice { label, subtype: None };
        let Some(entries) = table.strings(key)? else { return Ok(self.ontology.entity_ids().map(any).collect()) };
        let read = |(name, at): (&str, usize)| match (self.ontology.entity_in_data(name), name.split_once('/')) {
            (Some(label), _) => Ok(any(label)),
            (None, Some((label, subtype))) => self.subtype(label, subtype, at),
            (None, None) => Err(self.unknown_label(name, at)),
        };
        entries.into_iter().map(read).collect()
    }

    fn label_ids(&self, table: &Table<'a>, key: &str) -> Result<Option<Vec<EntityLabelId>>, ProblemAt> {
        let Some(entries) = table.strings(key)? else { return Ok(None) };
        let read =
            |(name, at): (&str, usize)| self.ontology.entity_in_data(name).ok_or_else(|| self.unknown_label(name, at));
        entries.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// `Label/sub-label` names, or all sub-labels if the key is missing.
    fn subtypes(
        &self,
        table: &Table<'a>,
        key: &str,
    ) -> Result<Vec<(EntityLabelId, tabpo_ontology::SubtypeId)>, ProblemAt> {
        let Some(entries) = table.strings(key)? else {
            let all = |label| self.ontology.subtype_ids(label).map(move |subtype| (label, subtype));
            return Ok(self.ontology.entity_ids().flat_map(all).collect());
        };
        let mut subtypes = Vec::new();
        for (name, at) in entries {
            let (label, subtype) = name.split_once('/').unwrap_or((name, ""));
            let choice = self.subtype(label, subtype, at)?;
            subtypes.extend(choice.subtype.map(|subtype| (choice.label, subtype)));
        }
        Ok(subtypes)
    }

    fn subtype(&self, label_name: &str, name: &str, at: usize) -> Result<LabelChoice, ProblemAt> {
        let label = self.ontology.entity_in_data(label_name).ok_or_else(|| self.unknown_label(label_name, at))?;
        let subtype = self.ontology.subtype_named(label, name).ok_or_else(|| {
            let valid = self.ontology.entity(label).subtypes.iter().map(|subtype| subtype.name.as_str());
            unknown("sub-label", name, at, valid)
        })?;
        Ok(LabelChoice { label, subtype: Some(subtype) })
    }

    fn relations(&self, table: &Table<'a>, key: &str) -> Result<Vec<RelationLabelId>, ProblemAt> {
        let Some(entries) = table.strings(key)? else { return Ok(self.ontology.relation_ids().collect()) };
        let read = |(name, at): (&str, usize)| {
            self.ontology.relation_in_data(name).ok_or_else(|| {
                let valid = self.ontology.relations.iter().map(|label| label.name.as_str());
                unknown("relation type", name, at, valid)
            })
        };
        entries.into_iter().map(read).collect()
    }

    fn unknown_label(&self, name: &str, at: usize) -> ProblemAt {
        unknown("entity label", name, at, self.ontology.entities.iter().map(|label| label.name.as_str()))
    }
}

/// Every (from, to) that is a change, and the reverse if `both`, each once.
fn exchange<T: Copy + PartialEq>(from: &[T], to: &[T], both: bool, is_change: impl Fn(T, T) -> bool) -> Vec<(T, T)> {
    let mut swaps = Vec::new();
    for &a in from {
        for &b in to {
            for swap in [Some((a, b)), both.then_some((b, a))].into_iter().flatten() {
                if is_change(a, b) && !swaps.contains(&swap) {
                    swaps.push(swap);
                }
            }
        }
    }
    swaps
}
