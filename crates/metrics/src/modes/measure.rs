//! Collecting error modes over a corpus.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use tabpo_corpus::{CorpusError, Document};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use super::align::{Event, Tallies, UnitModes, align_unit};
use super::{ErrorMode, ErrorModes, Example, Exposure, ModeKind};
use crate::error::EvaluationError;
use crate::prediction::Predictions;
use crate::scan::{Coverage, DocumentUnits, UnitItems, scan};

/// How many examples of each mode are usually kept.
pub const EXAMPLES: usize = 5;

/// The error modes of predictions against gold, with the first `examples` cases of each.
///
/// Documents and predictions are read as by [`count`](crate::count()); a unit without prediction
/// counts as an empty prediction. The result does not depend on the number of threads.
pub fn measure<D: Borrow<Document> + Sync>(
    gold: impl IntoIterator<Item = Result<D, CorpusError>>,
    predictions: &mut Predictions,
    ontology: &Ontology,
    examples: usize,
) -> Result<ErrorModes, EvaluationError> {
    let mut collector = Collector::new(ontology, examples);
    let coverage = scan(
        gold,
        predictions,
        ontology,
        |DocumentUnits { document, units }| {
            let align = |unit: &UnitItems| (unit.sentence, align_unit(ontology, document, &unit.gold, &unit.predicted));
            (document.key.clone(), units.iter().map(align).collect::<Vec<_>>())
        },
        |(key, units)| {
            for (sent, unit) in units {
                collector.add(&key, sent, unit);
            }
        },
    )?;
    Ok(collector.finish(&coverage))
}

/// What tells entries of [`ErrorModes::modes`] apart.
type Key = (ModeKind, Option<u16>, Option<SubtypeId>, Option<u16>, Option<SubtypeId>);

struct Collector<'a> {
    ontology: &'a Ontology,
    examples: usize,
    units: u64,
    entities: Vec<Tallies>,
    relations: Vec<Tallies>,
    modes: BTreeMap<Key, (u64, Vec<Example>)>,
}

impl<'a> Collector<'a> {
    fn new(ontology: &'a Ontology, examples: usize) -> Self {
        Self {
            ontology,
            examples,
            units: 0,
            entities: vec![Tallies::default(); ontology.entities.len()],
            relations: vec![Tallies::default(); ontology.relations.len()],
            modes: BTreeMap::new(),
        }
    }

    fn add(&mut self, key: &str, sent: Option<u32>, unit: UnitModes) {
        self.units += 1;
        for (totals, seen) in [(&mut self.entities, unit.entities), (&mut self.relations, unit.relations)] {
            for (label, tallies) in seen {
                let total = &mut totals[usize::from(label)];
                total.gold += tallies.gold;
                total.predicted += tallies.predicted;
                total.located += tallies.located;
                total.correct += tallies.correct;
            }
        }
        for event in unit.events {
            let Event { kind, gold, gold_subtype, predicted, predicted_subtype, gold_text, predicted_text, .. } = event;
            let entry = self.modes.entry((kind, gold, gold_subtype, predicted, predicted_subtype)).or_default();
            entry.0 += 1;
            if entry.1.len() < self.examples {
                let doc_key = key.to_owned();
                entry.1.push(Example { doc_key, sent, gold: gold_text, predicted: predicted_text });
            }
        }
    }

    fn finish(self, coverage: &Coverage) -> ErrorModes {
        let ontology = self.ontology;
        let exposure = |(label, tallies): (String, Tallies)| Exposure {
            label,
            gold: tallies.gold,
            predicted: tallies.predicted,
            located: tallies.located,
            correct: tallies.correct,
        };
        let entity_names = ontology.entities.iter().map(|label| label.name.clone());
        let relation_names = ontology.relations.iter().map(|label| label.name.clone());
        let modes = self.modes.into_iter().map(|(key, (count, examples))| {
            let (kind, gold, gold_subtype, predicted, predicted_subtype) = key;
            let label = |number: Option<u16>| {
                number.map(|number| {
                    if kind.is_relational() {
                        ontology.relation(RelationLabelId(number)).name.clone()
                    } else {
                        ontology.entity(EntityLabelId(number)).name.clone()
                    }
                })
            };
            let subtype = |number: Option<u16>, subtype: Option<SubtypeId>| {
                let (number, subtype) = number.zip(subtype)?;
                Some(ontology.subtype(EntityLabelId(number), subtype).name.clone())
            };
            ErrorMode {
                kind,
                gold: label(gold),
                gold_subtype: subtype(gold, gold_subtype),
                predicted: label(predicted),
                predicted_subtype: subtype(predicted, predicted_subtype),
                count,
                examples,
            }
        });
        ErrorModes {
            version: ErrorModes::VERSION,
            ontology: ontology.name.clone(),
            documents: coverage.documents as u64,
            units: self.units,
            notes: coverage.notes(),
            modes: modes.collect(),
            entities: entity_names.zip(self.entities).map(exposure).collect(),
            relations: relation_names.zip(self.relations).map(exposure).collect(),
        }
    }
}
