//! Ontology files.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tabpo_ontology::{AnswerGrammar, AnswerLimits, Ontology};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ontology = match Ontology::parse(text, "ontology.toml") {
        Ok(ontology) => ontology,
        Err(error) => return drop(error.to_string()),
    };
    let again = Ontology::parse(&ontology.to_toml(), "written");
    assert_eq!(again.map_err(|error| error.to_string()).as_ref(), Ok(&ontology));
    let _ = (ontology.prompt(), ontology.json_schema(), ontology.json_schema_strict(), ontology.to_brat());
    let grammar = AnswerGrammar::new(Arc::new(ontology), "a drill", &[0..1, 2..7], AnswerLimits::for_words(2));
    let _ = grammar.first();
});
