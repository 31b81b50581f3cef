//! The training examples of a run: gold answers to documents, and pairs from a file.

use std::{fs::File, io::BufReader, path::Path};

use tabpo_answer::{gold, render};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_ontology::Ontology;
use tabpo_pairs::PairRecord;
use tabpo_train::{ExampleRecord, group_pairs};

use crate::error::{Error, ResultExt};

/// The gold answer to every unit, without rejected answers.
pub(crate) fn gold_records(documents: &[Document], level: Level, ontology: &Ontology) -> Vec<ExampleRecord> {
    let units = documents.iter().flat_map(|document| Unit::all(document, level));
    units
        .map(|unit| ExampleRecord {
            id: unit_id(&unit),
            source: unit.text().to_owned(),
            chosen: render(&gold(&unit), ontology),
            rejected: Vec::new(),
        })
        .collect()
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
