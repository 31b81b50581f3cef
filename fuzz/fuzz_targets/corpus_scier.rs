//! Sentences with mentions and relations as strings, as `SciER` distributes them.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tabpo_corpus::Format;
use tabpo_fuzz::{Scratch, check_file, corpus_ontology};
use tabpo_ontology::Ontology;

static ONTOLOGY: LazyLock<Ontology> = LazyLock::new(corpus_ontology);
static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|bytes: &[u8]| check_file(bytes, "corpus.jsonl", Format::SciEr, &ONTOLOGY, &SCRATCH));
