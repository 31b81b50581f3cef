//! Prediction files of both kinds against a small gold.

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
    match counts(&path) {
        Ok(counts) => {
            let _ = serde_json::to_string(&Evaluation::of(&counts));
            let systems = [("fuzz".to_owned(), vec![counts])];
            let _ = compare(&systems, Profile::Default, Resampling { resamples: 20, ..Resampling::default() });
            let modes = modes_of(&path).expect("what can be counted can be measured");
            let _ = serde_json::to_string(&modes);
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});

fn counts(path: &Path) -> Result<Counts, EvaluationError> {
    count(DOCUMENTS.iter().map(Ok), &mut Predictions::open(path)?, &ONTOLOGY)
}

fn modes_of(path: &Path) -> Result<ErrorModes, EvaluationError> {
    modes::measure(DOCUMENTS.iter().map(Ok), &mut Predictions::open(path)?, &ONTOLOGY, modes::EXAMPLES)
}
