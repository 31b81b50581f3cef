//! Prediction files of both kinds against a small gold, in its order and in any.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_corpus::Document;
use tabpo_fuzz::{Scratch, corpus_ontology, documents};
use tabpo_metrics::{
    Counts, ErrorModes, Evaluation, EvaluationError, Predictions, Profile, Resampling, compare, count, modes,
};
use tabpo_ontology::Ontology;

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(corpus_ontology);
static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| documents(&ONTOLOGY));
static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|bytes: &[u8]| {
    let path = SCRATCH.write("predictions.jsonl", bytes);
    let in_order = counts(&path, true);
    let indexed = counts(&path, false);
    match (in_order, indexed) {
        // What is read in order is read alike in any; only then are faults explained.
        (Ok(in_order), Ok(indexed)) => {
            assert_eq!(in_order.table.pooled(), indexed.table.pooled());
            assert_eq!(in_order.faults, indexed.faults);
            let _ = serde_json::to_string(&Evaluation::of(&indexed));
            let systems = [("fuzz".to_owned(), vec![indexed])];
            let _ = compare(&systems, Profile::Default, Resampling { resamples: 20, ..Resampling::default() });
            let _ = modes_of(&path).map(|modes| serde_json::to_string(&modes));
        }
        (Err(EvaluationError::NotInOrder), _) | (Err(_), Err(_)) => {}
        (in_order, indexed) => panic!("{:?}, {:?}", in_order.err(), indexed.err()),
    }
});

fn counts(path: &Path, in_order: bool) -> Result<Counts, EvaluationError> {
    let mut predictions = if in_order { Predictions::open_in_order(path)? } else { Predictions::open(path)? };
    let counts = count(&DOCUMENTS[..], &mut predictions, &ONTOLOGY, true);
    if let Err(error) = &counts {
        let _ = error.to_string();
    }
    counts
}

fn modes_of(path: &Path) -> Result<ErrorModes, EvaluationError> {
    modes::measure(&DOCUMENTS[..], &mut Predictions::open(path)?, &ONTOLOGY)
}
