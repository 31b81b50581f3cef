//! A folder of brat's with one document: its text, its annotation and an `annotation.conf` behind each other.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_corpus::Format;
use tabpo_fuzz::{Scratch, check_corpus, corpus_ontology, parts};
use tabpo_ontology::Ontology;

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(corpus_ontology);
static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);
/// What is read; the scratch folder has other files, too.
static FOLDER: LazyLock<Scratch> = LazyLock::new(|| SCRATCH.inside("brat"));

fuzz_target!(|bytes: &[u8]| {
    let [text, annotation, settings] = parts(bytes);
    FOLDER.write("a.txt", text);
    FOLDER.write("a.ann", annotation);
    FOLDER.write_or_remove("annotation.conf", settings);
    check_corpus(FOLDER.path(), Some(Format::Brat), &ONTOLOGY, &SCRATCH);
});
