//! brat's `annotation.conf`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tabpo_ontology::Ontology;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ontology = match Ontology::from_brat(text, "annotation.conf") {
        Ok(import) => import.ontology,
        Err(error) => return drop(error.to_string()),
    };
    let again = Ontology::parse(&ontology.to_toml(), "written");
    assert_eq!(again.map_err(|error| error.to_string()).as_ref(), Ok(&ontology));
    let _ = (ontology.prompt(), ontology.json_schema(), ontology.to_brat());
});
