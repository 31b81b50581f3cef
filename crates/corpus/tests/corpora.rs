//! The ontologies in `examples`, and the corpora that they are for.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use tabpo_corpus::{Document, Format, Note, read};
use tabpo_ontology::Ontology;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn ontology(name: &str) -> Ontology {
    Ontology::read(&examples().join(name).join("ontology.toml")).expect("a valid ontology")
}

/// The folder that holds the corpora in folders of their own names.
fn corpora() -> PathBuf {
    env::var_os("TABPO_CORPORA").expect("TABPO_CORPORA names the folder of the corpora").into()
}

#[test]
fn every_example_ontology_says_what_its_labels_mean() {
    let mut names = Vec::new();
    for folder in fs::read_dir(examples()).expect("the folder") {
        let folder = folder.expect("an entry").path();
        if !folder.join("ontology.toml").exists() {
            continue;
        }
        let ontology = Ontology::read(&folder.join("ontology.toml")).unwrap_or_else(|error| panic!("{error}"));
        let labels = ontology.entities.iter().map(|label| (&label.name, &label.description));
        let relations = ontology.relations.iter().map(|label| (&label.name, &label.description));
        for (name, description) in labels.chain(relations) {
            assert!(!description.is_empty(), "{name} of {} has no description", folder.display());
        }
        for relation in &ontology.relations {
            assert!(!relation.symmetric || relation.domain == relation.range, "{}", relation.name);
        }
        names.push(folder.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["ade", "biored", "cdr", "clinical", "conll04", "crossre", "scier", "scierc"]);
}

/// The labels that documents use, entity labels and relation types.
fn used(documents: &[Document]) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let mentions = documents.iter().flat_map(|document| &document.mentions).map(|mention| mention.label.0);
    let relations = documents.iter().flat_map(|document| &document.relations).map(|relation| relation.label.0);
    (mentions.collect(), relations.collect())
}

/// Every label of the files is one of the ontology's, or they could not be read; and every label of the ontology is one
/// of the files'.
#[test]
#[ignore = "needs the corpora: TABPO_CORPORA names a folder with ade, conll04, crossre, scier and scierc"]
fn ontologies_cover_their_corpora() {
    let counts = [
        ("ade", Format::Spert, vec!["train.fold0.json", "valid.fold0.json"], 3738),
        ("conll04", Format::Spert, vec!["train.json", "valid.json"], 1153),
        ("scier", Format::SciEr, vec!["train.jsonl", "dev.jsonl"], 90),
        ("scierc", Format::Dygie, vec!["train.json", "dev.json"], 400),
    ];
    let domains = ["ai", "literature", "music", "news", "politics", "science"];
    let crossre: Vec<String> =
        domains.iter().flat_map(|domain| ["train", "dev"].map(|split| format!("{domain}-{split}.json"))).collect();
    let crossre = ("crossre", Format::CrossRe, crossre.iter().map(String::as_str).collect(), 2819);
    for (name, format, files, expected) in counts.into_iter().chain([crossre]) {
        let ontology = ontology(name);
        let mut documents = Vec::new();
        for file in files {
            let path = corpora().join(name).join(file);
            assert_eq!(Format::detect(&path).expect("a known format"), format, "{}", path.display());
            documents.extend(read(&path, None, &ontology).unwrap_or_else(|error| panic!("{error}")).documents);
        }
        assert_eq!(documents.len(), expected, "{name}");
        let all = |count: usize| (0..count as u16).collect::<BTreeSet<u16>>();
        assert_eq!(used(&documents), (all(ontology.entities.len()), all(ontology.relations.len())), "{name}");
    }
}

/// The same sentences are published without offsets and with them.
#[test]
#[ignore = "needs SciER: TABPO_CORPORA names a folder with scier"]
fn mentions_without_offsets_get_the_places_that_they_have() {
    let ontology = ontology("scier");
    let folder = corpora().join("scier");
    let strings = read(&folder.join("dev.jsonl"), None, &ontology).expect("the sentences");
    let offsets = read(&folder.join("dev.offsets.jsonl"), None, &ontology).expect("the documents");
    assert_eq!(strings.notes.count(&Note::DuplicateMention), 0);
    let (mut places, mut relations) = ([0; 3], [0; 3]);
    for (own, theirs) in strings.documents.iter().zip(&offsets.documents) {
        assert_eq!((&own.key, &own.text, &own.sentences), (&theirs.key, &theirs.text, &theirs.sentences));
        let mentions = |document: &Document| document.mentions.iter().copied().collect::<BTreeSet<_>>();
        let connected = |document: &Document| {
            let at = |mention: u32| document.mentions[mention as usize].span;
            let relations = document.relations.iter();
            relations.map(|relation| (at(relation.head), relation.label, at(relation.tail))).collect::<BTreeSet<_>>()
        };
        for (counts, [common, of_own, of_theirs]) in [
            (&mut places, {
                let (own, theirs) = (mentions(own), mentions(theirs));
                [own.intersection(&theirs).count(), own.len(), theirs.len()]
            }),
            (&mut relations, {
                let (own, theirs) = (connected(own), connected(theirs));
                [own.intersection(&theirs).count(), own.len(), theirs.len()]
            }),
        ] {
            counts[0] += common;
            counts[1] += of_own;
            counts[2] += of_theirs;
        }
    }
    assert_eq!(places, [2234, 2234, 2234]);
    assert_eq!(relations, [1118, 1131, 1130]);
}
