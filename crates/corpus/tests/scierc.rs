//! The `SciERC` release: everything is read, the numbers are the published ones, and writing it back says
//! the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tabpo_corpus::{Format, Note, Notes, dygie, read, statistics};

fn scierc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/scierc").join(name)
}

#[test]
#[ignore = "needs SciERC in the shared folder"]
fn statistics_are_the_published_ones() {
    let expected = [
        // documents, sentences, tokens, mentions, relations, without mention, without relation, nested
        ("train.json", [350, 1861, 45412, 5598, 3215, 99, 495, 61], [894, 1445, 231, 542, 1536, 950], 4),
        ("dev.json", [50, 275, 6521, 811, 455, 15, 88, 7], [127, 216, 38, 71, 212, 147], 0),
    ];
    for (name, totals, labels, duplicates) in expected {
        let path = scierc(name);
        let loaded = read(&path, Some(Format::Dygie), tabpo_synthetic::ontology()).unwrap();
        assert_eq!(loaded.notes.count(&Note::DuplicateRelation), duplicates);
        assert_eq!(loaded.notes.iter().count(), usize::from(duplicates > 0), "{:?}", loaded.notes);
        let found = statistics(&loaded.documents, tabpo_synthetic::ontology());
        let numbers = [
            found.documents,
            found.sentences,
            found.tokens,
            found.mentions,
            found.relations,
            found.sentences_without_mention,
            found.sentences_without_relation,
            found.nested_pairs,
        ];
        assert_eq!(numbers, totals, "{name}");
        assert_eq!((found.crossing_pairs, found.same_span_pairs, found.relations_across_sentences), (0, 0, 0));
        let by_label: Vec<u64> = found.mentions_by_label.iter().map(|label| label.count).collect();
        assert_eq!(by_label, labels, "{name}");
    }
}

#[test]
#[ignore = "needs SciERC in the shared folder"]
fn train_has_the_published_ambiguity() {
    let path = scierc("train.json");
    let documents = read(&path, None, tabpo_synthetic::ontology()).unwrap().documents;
    let found = statistics(&documents, tabpo_synthetic::ontology());
    let counts: Vec<u64> = found.relations_by_type.iter().map(|label| label.count).collect();
    assert_eq!(counts, [1687, 173, 298, 179, 312, 166, 400]);
    let sentence = &found.surfaces_in_sentence;
    assert_eq!([sentence.mentions_repeated, sentence.mentions_not_first], [233, 122]);
    assert_eq!([sentence.repeated, sentence.ambiguous], [64, 3]);
    let document = &found.surfaces_in_document;
    assert_eq!([document.mentions_repeated, document.mentions_not_first], [1630, 1086]);
    assert_eq!([document.repeated, document.ambiguous], [496, 28]);
    assert_eq!((found.sentence_length.max, found.mentions_per_sentence.max, found.mention_length.max), (101, 13, 13));
    assert_eq!(found.clusters, 720);
}

/// What a `DyGIE` line says, without what its order does not say.
fn meaning(line: &str) -> (String, Value, Vec<BTreeSet<String>>, Vec<BTreeSet<String>>, Value) {
    let line: Value = serde_json::from_str(line).unwrap();
    let sets = |field: &str| -> Vec<BTreeSet<String>> {
        let lists = line[field].as_array().unwrap().iter();
        lists.map(|list| list.as_array().unwrap().iter().map(Value::to_string).collect()).collect()
    };
    let key = line["doc_key"].as_str().unwrap().to_owned();
    (key, line["sentences"].clone(), sets("ner"), sets("relations"), line["clusters"].clone())
}

#[test]
#[ignore = "needs SciERC in the shared folder"]
fn writing_back_says_the_same() {
    for name in ["train.json", "dev.json"] {
        let path = scierc(name);
        let documents = read(&path, None, tabpo_synthetic::ontology()).unwrap().documents;
        let original = fs::read_to_string(&path).unwrap();
        let originals: BTreeMap<String, _> = original.lines().map(|line| (meaning(line).0, meaning(line))).collect();
        let mut notes = Notes::default();
        for document in &documents {
            let written = meaning(&dygie::to_line(document, tabpo_synthetic::ontology(), &mut notes));
            assert_eq!(Some(&written), originals.get(&document.key));
        }
        assert_eq!(documents.len(), originals.len());
        assert!(notes.is_empty(), "{notes:?}");
    }
}
