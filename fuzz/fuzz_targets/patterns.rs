//! Pattern files, and where their patterns fire.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_corpus::{Document, Level};
use tabpo_fuzz::{corpus_ontology, documents};
use tabpo_ontology::Ontology;
use tabpo_pairs::{PatternMatcher, Patterns};

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(corpus_ontology);
static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| documents(&ONTOLOGY));

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let patterns = match Patterns::parse(text, "patterns.toml", &ONTOLOGY) {
        Ok(patterns) => patterns,
        Err(error) => return drop(error.to_string()),
    };
    let mut matcher = PatternMatcher::new(&ONTOLOGY, &patterns, 1);
    for document in DOCUMENTS.iter() {
        let _ = matcher.matches(document, Level::Sentence);
        let _ = matcher.matches(document, Level::Document);
    }
});
