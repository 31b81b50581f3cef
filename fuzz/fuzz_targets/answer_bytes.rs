//! Arbitrary bytes, read as text, as a model's output.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_corpus::Document;
use tabpo_fuzz::{check, document, ontology};
use tabpo_ontology::Ontology;

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(ontology);
static SOURCE: LazyLock<Document> =
    LazyLock::new(|| document(&["the parser beats the older parser on Caf\u{e9} menus , the parser-based one too"]));

fuzz_target!(|bytes: &[u8]| {
    check(&String::from_utf8_lossy(bytes), &SOURCE, &ONTOLOGY);
});
