//! Pair files, and what training makes of them.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_fuzz::corpus_ontology;
use tabpo_ontology::Ontology;
use tabpo_pairs::{PairRecord, difference};
use tabpo_train::group_pairs;

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(corpus_ontology);

fuzz_target!(|bytes: &[u8]| {
    let mut pairs = Vec::new();
    for pair in PairRecord::read(bytes, Path::new("pairs.jsonl")) {
        match pair {
            Ok(pair) => pairs.push(pair),
            Err(error) => drop(error.to_string()),
        }
    }
    match group_pairs(pairs, &ONTOLOGY) {
        Ok(records) => {
            for record in &records {
                for rejected in &record.rejected {
                    let _ = difference(&record.chosen.text, &rejected.answer.text);
                }
            }
        }
        Err(error) => drop(error.to_string()),
    }
});
