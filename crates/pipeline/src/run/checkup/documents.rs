//! The documents: what they hold, how often each label occurs, and which texts are in two splits.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tabpo_answer::comparable;
use tabpo_corpus::{Document, Level, Unit};

use super::Inputs;
use crate::run::plan::units;

/// A label with fewer mentions or relations in the training documents is hardly learnt.
const FEW: u64 = 10;
/// A larger share of the validation or test texts in the training documents is a problem.
const LEAKED: f64 = 0.01;
/// Shorter texts, such as headings, are often the same in different documents.
const WORDS: usize = 5;

/// The documents of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitRow {
    /// Its name.
    pub split: &'static str,
    /// Documents.
    pub documents: usize,
    /// Prompts: sentences or documents.
    pub units: usize,
    /// Words and other tokens of the documents.
    pub words: usize,
    /// Mentions.
    pub mentions: usize,
    /// Relations.
    pub relations: usize,
    /// Relations that no prompt shows, because their arguments are in different sentences.
    pub relations_not_shown: usize,
}

/// What a label is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelKind {
    /// An entity label.
    Entity,
    /// A relation type.
    Relation,
}

/// How often a label occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelRow {
    /// What it is for.
    pub kind: LabelKind,
    /// Its name.
    pub label: String,
    /// Mentions or shown relations in each split: training, curated, validation, test.
    pub counts: [u64; 4],
}

/// Texts that are in two splits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leak {
    /// The split that should not know them: `validation` or `test`.
    pub split: &'static str,
    /// Its prompts whose text is in the training or curated documents too.
    pub units: usize,
    /// Its prompts with at least five words, of which these are some.
    pub of: usize,
    /// The keys of the first few documents.
    pub documents: Vec<String>,
}

/// All that the documents show.
pub(super) struct Documents {
    pub(super) splits: Vec<SplitRow>,
    pub(super) labels: Vec<LabelRow>,
    pub(super) leaks: Vec<Leak>,
}

impl Documents {
    pub(super) fn count(inputs: &Inputs) -> Self {
        let named = inputs.splits.named();
        let splits = named.iter().map(|(name, documents)| split(name, documents, inputs)).collect();
        let counts = named.map(|(_, documents)| label_counts(documents, inputs.config.data.level));
        let ontology = &inputs.ontology;
        let row = |kind, label: &str, key: Key| LabelRow {
            kind,
            label: label.to_owned(),
            counts: counts.each_ref().map(|counts| counts.get(&key).copied().unwrap_or(0)),
        };
        let entities = ontology
            .entity_ids()
            .map(|id| row(LabelKind::Entity, &ontology.entity(id).name, (LabelKind::Entity as u8, id.index())));
        let relations = ontology
            .relation_ids()
            .map(|id| row(LabelKind::Relation, &ontology.relation(id).name, (LabelKind::Relation as u8, id.index())));
        let labels = entities.chain(relations).collect();
        let known = texts(inputs.splits.train.iter().chain(&inputs.splits.curated), inputs.config.data.level);
        let leaks = [("validation", &inputs.splits.validation), ("test", &inputs.splits.test)]
            .map(|(name, documents)| leak(name, documents, &known, inputs.config.data.level));
        Self { splits, labels, leaks: leaks.into_iter().filter(|leak| leak.units > 0).collect() }
    }

    pub(super) fn judge(&self, inputs: &Inputs, problems: &mut Vec<String>, notes: &mut Vec<String>) {
        let names = |of: &dyn Fn(&[u64; 4]) -> bool| -> Vec<&str> {
            self.labels.iter().filter(|row| of(&row.counts)).map(|row| row.label.as_str()).collect()
        };
        // What is learnt from: training documents, and for preferences the curated ones.
        let learnt = |counts: &[u64; 4]| counts[0].max(counts[1]);
        let unseen = names(&|counts| learnt(counts) == 0 && counts[2] + counts[3] > 0);
        if !unseen.is_empty() {
            problems.push(format!(
                "no training document has these labels, but validation or test do: {}",
                unseen.join(", ")
            ));
        }
        let unused = names(&|counts| counts.iter().sum::<u64>() == 0);
        if !unused.is_empty() {
            notes.push(format!("no document has these labels of the ontology: {}", unused.join(", ")));
        }
        let rare = names(&|counts| (1..FEW).contains(&learnt(counts)));
        if !rare.is_empty() {
            notes.push(format!("fewer than {FEW} in the training documents, too few to learn: {}", rare.join(", ")));
        }
        for row in &self.splits {
            if row.relations_not_shown > 0 {
                notes.push(format!(
                    "{}: {} of {} relations connect different sentences and are not part of any prompt (data.level = \
                     \"document\" shows them)",
                    row.split, row.relations_not_shown, row.relations
                ));
            }
            if row.mentions == 0 {
                problems.push(format!("{}: no document has a mention", row.split));
            }
        }
        let unit = match inputs.config.data.level {
            Level::Sentence => "sentences",
            Level::Document => "documents",
        };
        for leak in &self.leaks {
            let Leak { split, units, of, documents } = leak;
            let said = format!(
                "{units} of {of} {split} {unit} are word for word in the training documents too; the first in {}",
                documents.join(", ")
            );
            if *units as f64 > LEAKED * *of as f64 { problems.push(said) } else { notes.push(said) }
        }
    }
}

fn split(name: &'static str, documents: &[Document], inputs: &Inputs) -> SplitRow {
    let level = inputs.config.data.level;
    let sum = |count: &dyn Fn(&Document) -> usize| documents.iter().map(count).sum::<usize>();
    let relations = sum(&|document| document.relations.len());
    let shown = sum(&|document| Unit::all(document, level).map(|unit| unit.relations().count()).sum());
    SplitRow {
        split: name,
        documents: documents.len(),
        units: units(documents, &inputs.config),
        words: sum(&|document| document.tokens.len()),
        mentions: sum(&|document| document.mentions.len()),
        relations,
        relations_not_shown: relations - shown,
    }
}

/// The kind and the number of a label.
type Key = (u8, usize);

fn label_counts(documents: &[Document], level: Level) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for unit in documents.iter().flat_map(|document| Unit::all(document, level)) {
        for (_, mention) in unit.mentions() {
            *counts.entry((LabelKind::Entity as u8, mention.label.index())).or_default() += 1;
        }
        for relation in unit.relations() {
            *counts.entry((LabelKind::Relation as u8, relation.label.index())).or_default() += 1;
        }
    }
    counts
}

/// The texts of prompts that are long enough to tell something, in the form in which they are compared.
fn texts<'d>(documents: impl Iterator<Item = &'d Document>, level: Level) -> BTreeSet<String> {
    let units = documents.flat_map(|document| Unit::all(document, level));
    units.filter(|unit| unit.span().len() >= WORDS).map(|unit| comparable(unit.text()).into_owned()).collect()
}

fn leak(split: &'static str, documents: &[Document], known: &BTreeSet<String>, level: Level) -> Leak {
    let mut leak = Leak { split, units: 0, of: 0, documents: Vec::new() };
    for unit in documents.iter().flat_map(|document| Unit::all(document, level)) {
        if unit.span().len() < WORDS {
            continue;
        }
        leak.of += 1;
        if known.contains(comparable(unit.text()).as_ref()) {
            leak.units += 1;
            let key = &unit.document.key;
            if leak.documents.len() < 3 && leak.documents.last() != Some(key) {
                leak.documents.push(key.clone());
            }
        }
    }
    leak
}
