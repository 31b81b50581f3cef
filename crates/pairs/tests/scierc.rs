//! Pairs for SciERC, with the example patterns and the errors of a fixture. Ignored by default, because
//! the data are not part of the repository.

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use support::checker;
use tabpo_corpus::{Document, read};
use tabpo_metrics::{
    ErrorModes, Predictions,
    modes::{EXAMPLES, measure},
};
use tabpo_ontology::Ontology;
use tabpo_pairs::{
    BuildSettings, BuildSummary, Kind, ModeRates, PairBuilder, PairRecord, Patterns, Source, StatsCollector,
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct SciErc {
    ontology: Ontology,
    train: Vec<Document>,
    errors: ErrorModes,
    patterns: Patterns,
}

fn load() -> SciErc {
    let shared = workspace().join("../shared");
    let example = workspace().join("examples/scierc");
    let ontology = Ontology::read(&example.join("ontology.toml")).expect("the example is valid");
    let documents = |split: &str| {
        let path = shared.join("data/scierc").join(split);
        read(&path, None, &ontology).expect("the data are valid").documents
    };
    let fixture = shared.join("golden/metrics/d1_label_noise.dev.pred.jsonl.gz");
    let mut predictions = Predictions::open(&fixture).expect("the fixture is valid");
    let dev = documents("dev.json");
    let errors =
        measure(dev.iter().map(Ok), &mut predictions, &ontology, EXAMPLES).expect("the fixture covers the split");
    let patterns = Patterns::read(&example.join("patterns.toml"), &ontology).expect("the example is valid");
    SciErc { train: documents("train.json"), ontology, errors, patterns }
}

/// The tokens that a byte-level BPE with whole labels would roughly make: words and single signs.
fn tokenize(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut word = 0u32;
    for character in text.chars() {
        if character.is_alphanumeric() {
            word = word.max(7).wrapping_mul(31).wrapping_add(u32::from(character));
        } else {
            ids.extend((word != 0).then_some(word));
            word = 0;
            ids.push(u32::from(character));
        }
    }
    ids.extend((word != 0).then_some(word));
    ids
}

fn build(data: &SciErc, settings: BuildSettings) -> (Vec<PairRecord>, BuildSummary) {
    let rates = ModeRates::new(&data.errors, &data.ontology, ModeRates::SMOOTHING).expect("the labels are known");
    let mut builder = PairBuilder::new(&data.ontology, &data.patterns, &rates, settings, Some(&tokenize));
    let records = support::build(&mut builder, &data.train, |_| Vec::new());
    let summary = builder.summary();
    (records, summary)
}

#[test]
#[ignore = "needs SciERC in ../shared/data"]
fn four_negatives_for_each_sentence_without_a_violation() {
    let data = load();
    let before = data.train.clone();
    let (records, summary) = build(&data, BuildSettings::default());
    assert_eq!(data.train, before, "gold was touched");
    let sentences: usize = data.train.iter().map(|document| document.sentences.len()).sum();
    assert_eq!((records.len(), summary.short), (4 * sentences, 0));
    let documents: BTreeMap<&str, &Document> =
        data.train.iter().map(|document| (document.key.as_str(), document)).collect();
    for record in &records {
        if let Err(problem) = checker::check(record, documents[record.doc_key.as_str()], &data.ontology) {
            panic!("{problem}\n{record:#?}");
        }
    }
    let mut stats = StatsCollector::default();
    for record in &records {
        stats.add(record);
    }
    let stats = stats.finish(Some(&data.errors));
    for kind in [Kind::Label, Kind::Direction] {
        let found = stats.kinds.iter().find(|stats| stats.kind == kind).expect("the kind occurs");
        assert!(found.distances.median <= 3, "{kind}: median distance {}", found.distances.median);
    }
    assert!(summary.kind_distance <= 0.02, "kinds are {} away from the mix", summary.kind_distance);
    let label_distance = stats.label_distance.expect("there are label edits from modes");
    assert!(label_distance <= 0.02, "labels are {label_distance} away from the modes");
}

#[test]
#[ignore = "needs SciERC in ../shared/data"]
fn no_mode_is_used_that_validation_did_not_show() {
    let data = load();
    let sources = tabpo_pairs::SourceShares::equal(&[Source::Mode]).expect("one source");
    let (records, _) = build(&data, BuildSettings { sources, ..BuildSettings::default() });
    let seen = |record: &PairRecord| {
        data.errors.modes.iter().any(|mode| {
            mode.kind == tabpo_metrics::modes::ModeKind::LabelConfusion
                && mode.gold == record.edit.from
                && mode.predicted == record.edit.to
        })
    };
    let labels: Vec<&PairRecord> = records.iter().filter(|record| record.edit.kind == Kind::Label).collect();
    assert!(labels.len() > 500);
    assert!(labels.into_iter().all(seen));
    assert!(records.iter().all(|record| record.edit.source == Source::Mode && record.edit.pattern.is_none()));
}
