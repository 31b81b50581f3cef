//! The training examples of a run: gold answers to documents, and pairs from a file.

use std::{fs::File, io::BufReader, path::Path};

use tabpo_answer::{NotMarkable, gold, render_as};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_ontology::{AnswerForm, Ontology};
use tabpo_pairs::PairRecord;
use tabpo_train::{ExampleRecord, group_pairs};

use crate::error::{Error, ResultExt};

/// The gold answers to units, without rejected answers.
pub(crate) struct GoldRecords {
    pub(crate) records: Vec<ExampleRecord>,
    /// What became of units whose answers cannot be written in the form.
    pub(crate) unmarkable: Unmarkable,
}

/// Units whose gold answers cannot be written in the marked form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unmarkable {
    /// How many there are.
    pub(crate) count: usize,
    /// How many units there are in all.
    pub(crate) of: usize,
    /// The first one, with the reason.
    first: String,
}

impl Unmarkable {
    /// Counts a unit.
    pub(crate) fn add<T>(&mut self, unit: &Unit, written: Result<T, NotMarkable>) -> Option<T> {
        self.of += 1;
        written
            .map_err(|reason| {
                self.count += 1;
                if self.count == 1 {
                    self.first = format!("`{}`: {reason}", unit_id(unit));
                }
            })
            .ok()
    }

    /// What there is to say, if anything.
    pub(crate) fn said(&self) -> Option<String> {
        let Self { count, of, first } = self;
        (*count > 0)
            .then(|| format!("{count} of {of} gold answers cannot be written in the marked form (first {first})"))
    }
}

/// The gold answer to every unit, without rejected answers.
pub(crate) fn gold_records(documents: &[Document], level: Level, ontology: &Ontology, form: AnswerForm) -> GoldRecords {
    let (mut records, mut unmarkable) = (Vec::new(), Unmarkable::default());
    for unit in documents.iter().flat_map(|document| Unit::all(document, level)) {
        let Some(chosen) = unmarkable.add(&unit, render_as(&gold(&unit), &unit, ontology, form)) else { continue };
        let (id, source) = (unit_id(&unit), unit.text().to_owned());
        records.push(ExampleRecord { id, source, chosen, rejected: Vec::new() });
    }
    GoldRecords { records, unmarkable }
}

/// The examples in a pair file, each with all of its rejected answers.
pub(crate) fn pair_records(path: &Path, ontology: &Ontology) -> Result<Vec<ExampleRecord>, Error> {
    let pairs = read_pairs(path)?;
    group_pairs(pairs, ontology).or_input()
}

/// The pairs of a file, in order.
pub(crate) fn read_pairs(path: &Path) -> Result<Vec<PairRecord>, Error> {
    let file =
        File::open(path).map_err(|error| Error::input(format!("cannot read the pairs {}: {error}", path.display())))?;
    PairRecord::read(BufReader::new(file), path).collect::<Result<_, _>>().or_input()
}

/// The name of a unit: its document's key, and the number of the sentence if it is one.
pub(crate) fn unit_id(unit: &Unit) -> String {
    match unit.sentence {
        Some(sentence) => format!("{}:{sentence}", unit.document.key),
        None => unit.document.key.clone(),
    }
}
