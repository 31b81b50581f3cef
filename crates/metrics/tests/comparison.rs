//! Systems against each other.

mod common;

use std::collections::BTreeMap;

use tabpo_metrics::{Comparison, Counts, Family, Predictions, Profile, Resampling, UnitOutput, compare};
use tabpo_ontology::AnswerForm;

const RESAMPLING: Resampling = Resampling { resamples: 2000, seed: 11 };

fn counts(name: &str) -> Counts {
    let ontology = common::scierc_ontology();
    let gold = common::read_gold(&common::fixture("gold.jsonl"), &ontology);
    let mut predictions = Predictions::open(&common::fixture(&format!("{name}.jsonl"))).expect("valid predictions");
    common::count_documents(&gold, &mut predictions, &ontology).expect("predictions that fit")
}

fn systems(names: &[(&str, &[&str])]) -> Vec<(String, Vec<Counts>)> {
    names.iter().map(|(name, files)| ((*name).to_owned(), files.iter().map(|file| counts(file)).collect())).collect()
}

fn comparison(names: &[(&str, &[&str])]) -> Comparison {
    compare(&systems(names), Profile::Default, RESAMPLING).expect("systems that fit together")
}

#[test]
fn a_system_equals_itself() {
    let comparison = comparison(&[("one", &["offsets_a"]), ("other", &["offsets_a"])]);
    for difference in &comparison.differences[0].differences {
        assert_eq!((difference.difference, difference.low, difference.high), (Some(0.0), Some(0.0), Some(0.0)));
        assert_eq!(
            (difference.p_bootstrap, difference.p_randomisation, difference.p_holm),
            (Some(1.0), Some(1.0), Some(1.0))
        );
    }
    let [one, other] = &comparison.systems[..] else { panic!("two systems") };
    assert_eq!(one.scores, other.scores);
    for estimate in &one.scores {
        assert!(estimate.low <= estimate.value && estimate.value <= estimate.high, "{estimate:?}");
    }
}

#[test]
fn the_better_system_is_found() {
    let comparison = comparison(&[("a", &["offsets_a"]), ("b", &["offsets_b"])]);
    let difference = &comparison.differences[0].differences[0];
    assert_eq!(difference.metric, "ner_f1");
    let ner = |system: &str| comparison.estimate(system, "ner_f1").expect("the metric").value.expect("a figure");
    assert_eq!(difference.difference, Some(ner("a") - ner("b")));
    assert!(ner("a") > ner("b"));
    assert!(difference.p_bootstrap.is_some_and(|p| p < 0.05), "{difference:?}");
    assert!(difference.p_holm >= difference.p_randomisation);
    // With six documents, no randomisation test can fall below 2 / 2^6.
    assert!(difference.p_randomisation.is_some_and(|p| p > 0.02), "{difference:?}");
}

/// With six documents all 64 swaps can be tried: the sampled p-values must be near the exact ones.
#[test]
fn randomisation_approaches_the_exact_test() {
    let systems = systems(&[("a", &["raw_sentences_ids"]), ("b", &["raw_sentences_texts"])]);
    let sampled = compare(&systems, Profile::Default, RESAMPLING).expect("systems that fit together");
    let (a, b) = (&systems[0].1[0], &systems[1].1[0]);
    let columns = a.table.columns();
    for (position, metric) in Profile::Default.metrics(&a.layout, true).iter().enumerate() {
        let difference = |swaps: u32| {
            let (mut first, mut second) = (vec![0_u64; columns], vec![0_u64; columns]);
            for document in 0..a.table.documents() {
                let (mut x, mut y) = (a.table.row(document), b.table.row(document));
                if swaps >> document & 1 == 1 {
                    std::mem::swap(&mut x, &mut y);
                }
                for column in 0..columns {
                    first[column] += u64::from(x[column]);
                    second[column] += u64::from(y[column]);
                }
            }
            let value = |row: &[u64]| metric.measure.value(&a.layout, row).unwrap_or(f64::NAN);
            value(&first) - value(&second)
        };
        let observed = difference(0).abs();
        let extreme = (0..64).filter(|&swaps| difference(swaps).abs() >= observed - 1e-12).count();
        let found = sampled.differences[0].differences[position].p_randomisation.expect("a test");
        // Five standard errors of 2000 rounds.
        let exact = extreme as f64 / 64.0;
        assert!((found - exact).abs() < 0.056, "{}: {found} is far from {exact}", metric.key);
    }
}

#[test]
fn seeds_are_pooled_and_their_spread_is_told() {
    let both = comparison(&[("s", &["offsets_a", "offsets_b"])]);
    let single = comparison(&[("a", &["offsets_a"]), ("b", &["offsets_b"])]);
    let value = |system: &str| single.estimate(system, "ner_f1").expect("the metric").value.expect("a figure");
    let estimate = both.estimate("s", "ner_f1").expect("the metric");
    assert_eq!(estimate.per_run, [Some(value("a")), Some(value("b"))]);
    assert!((estimate.mean.expect("a mean") - f64::midpoint(value("a"), value("b"))).abs() < 1e-12);
    let sd = (value("a") - value("b")).abs() / 2_f64.sqrt();
    assert!((estimate.sd.expect("two runs") - sd).abs() < 1e-12);
    assert!(estimate.value.is_some_and(|pooled| pooled > value("b") && pooled < value("a")));
}

#[test]
fn threads_and_file_form_change_nothing() {
    let systems = systems(&[("a", &["raw_sentences_ids"]), ("b", &["raw_sentences_texts"])]);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
        pool.install(|| compare(&systems, Profile::Default, RESAMPLING).expect("systems that fit together"))
    };
    let (one, four) = (run(1), run(4));
    assert_eq!(one, four);
    let text = serde_json::to_string(&one).expect("plain data");
    assert_eq!(serde_json::from_str::<Comparison>(&text).expect("the same form"), one);
}

#[test]
fn systems_that_do_not_fit_are_refused() {
    let ontology = common::scierc_ontology();
    let gold = common::read_gold(&common::fixture("gold.jsonl"), &ontology);
    let mut systems = systems(&[("a", &["offsets_a"])]);
    let text = std::fs::read_to_string(common::fixture("offsets_a.jsonl")).expect("predictions");
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut file, text.lines().next().expect("a line").as_bytes()).expect("a write");
    let mut predictions = Predictions::open(file.path()).expect("valid predictions");
    let fewer = common::count_documents(&gold[..1], &mut predictions, &ontology).expect("predictions that fit");
    systems.push(("b".into(), vec![fewer]));
    assert!(compare(&systems, Profile::Default, RESAMPLING).is_err());
    assert!(compare(&[], Profile::Default, RESAMPLING).is_err());
}

#[test]
fn every_profile_names_its_metrics_once() {
    let systems = systems(&[("a", &["raw_sentences_ids"])]);
    let few = Resampling { resamples: 10, seed: 0 };
    for profile in Profile::ALL {
        assert_eq!(Profile::named(profile.name()), Some(profile));
        let comparison = compare(&systems, profile, few).expect("one system");
        let names: BTreeMap<_, _> = comparison.metrics.iter().map(|metric| (&metric.key, &metric.title)).collect();
        assert_eq!(names.len(), comparison.metrics.len());
        assert_eq!(comparison.systems[0].scores.len(), comparison.metrics.len());
    }
}

/// The counts of raw answers, one for each document of gold.
fn of_answers(answer: impl Fn(usize) -> &'static str, documents: usize) -> Counts {
    let ontology = common::scierc_ontology();
    let gold = common::read_gold(&common::fixture("gold.jsonl"), &ontology);
    let gold = &gold[..documents];
    let outputs: Vec<UnitOutput> = (0..)
        .zip(gold)
        .map(|(index, document)| UnitOutput {
            doc_key: document.key.clone(),
            sent: None,
            form: AnswerForm::List,
            output: answer(index).to_owned(),
        })
        .collect();
    let mut predictions = Predictions::from_outputs(&outputs, "answers").expect("valid lines");
    common::count_documents(gold, &mut predictions, &ontology).expect("predictions that fit")
}

const EMPTY: &str = r#"{"entities": [], "relations": []}"#;
const ABSENT: &str = r#"{"entities": [{"id": "e1", "text": "nowhere", "label": "Task"}], "relations": []}"#;

#[test]
fn rates_over_nothing_are_none_and_tested_against_nothing() {
    let silent = ("silent".to_owned(), vec![of_answers(|_| EMPTY, 4)]);
    let speaking = ("speaking".to_owned(), vec![of_answers(|_| ABSENT, 4)]);
    let comparison = compare(&[silent, speaking], Profile::Default, RESAMPLING).expect("systems that fit together");
    let [silent, speaking] = &comparison.systems[..] else { panic!("two systems") };
    assert_eq!((silent.extracts, speaking.extracts), (false, true));
    let ungrounded = comparison.metrics.iter().position(|metric| metric.key == "ungrounded").expect("the metric");
    let estimate = &silent.scores[ungrounded];
    assert_eq!((estimate.value, estimate.low, estimate.high, estimate.mean), (None, None, None, None));
    assert_eq!(estimate.per_run, [None]);
    assert_eq!(speaking.scores[ungrounded].value, Some(1.0));
    let difference = &comparison.differences[0].differences[ungrounded];
    assert_eq!((difference.difference, difference.low, difference.p_holm), (None, None, None));
    // What has no figure is in no family of tests.
    assert!(comparison.differences[0].differences.iter().any(|difference| difference.p_holm.is_some()));
    // Nothing found of something is 0 and not nothing.
    assert_eq!(comparison.estimate("silent", "ner_f1").expect("the metric").value, Some(0.0));
    assert_eq!(comparison.estimate("silent", "label_accuracy").expect("the metric").value, None);
    let text = serde_json::to_string(&comparison).expect("plain data");
    assert_eq!(serde_json::from_str::<Comparison>(&text).expect("the same form"), comparison);
}

#[test]
fn a_rate_that_some_resamples_lack_has_an_interval_of_the_others() {
    let system = ("one".to_owned(), vec![of_answers(|index| if index == 0 { ABSENT } else { EMPTY }, 5)]);
    let comparison = compare(&[system], Profile::Default, RESAMPLING).expect("a system");
    let estimate = comparison.estimate("one", "ungrounded").expect("the metric");
    assert_eq!((estimate.value, estimate.low, estimate.high), (Some(1.0), Some(1.0), Some(1.0)));
}

#[test]
fn one_document_and_no_resamples_give_figures_alone() {
    let none = Resampling { resamples: 0, ..RESAMPLING };
    for (documents, resampling) in [(1, RESAMPLING), (4, none), (1, none)] {
        let systems: Vec<_> = ["a", "b"].map(|name| (name.to_owned(), vec![of_answers(|_| ABSENT, documents)])).into();
        let comparison = compare(&systems, Profile::Default, resampling).expect("systems that fit together");
        assert!(comparison.without_intervals().is_some());
        for estimate in comparison.systems.iter().flat_map(|system| &system.scores) {
            assert_eq!((estimate.low, estimate.high), (None, None));
        }
        assert_eq!(comparison.estimate("a", "ungrounded").expect("the metric").value, Some(1.0));
        for difference in &comparison.differences[0].differences {
            let tests = (difference.low, difference.p_bootstrap, difference.p_randomisation, difference.p_holm);
            assert_eq!(tests, (None, None, None, None));
        }
        let text = serde_json::to_string(&comparison).expect("plain data");
        assert!(!text.contains("NaN"));
        assert_eq!(serde_json::from_str::<Comparison>(&text).expect("the same form"), comparison);
    }
    let several = compare(&[("a".into(), vec![of_answers(|_| ABSENT, 4)])], Profile::Default, RESAMPLING);
    assert_eq!(several.expect("a system").without_intervals(), None);
}

#[test]
fn an_f1_comes_with_the_precision_and_recall_of_all_runs() {
    let comparison = comparison(&[("a", &["offsets_a", "offsets_b"])]);
    for estimate in &comparison.systems[0].scores {
        let (precision, recall) = (estimate.precision, estimate.recall);
        if !estimate.metric.ends_with("_f1") {
            assert_eq!((precision, recall), (None, None), "{}", estimate.metric);
        } else if !estimate.metric.contains("macro") {
            let (p, r) = precision.zip(recall).expect("all runs together predict something");
            let f1 = estimate.value.expect("a figure");
            assert!((2.0 * p * r / (p + r) - f1).abs() < 1e-12, "{estimate:?}");
        }
    }
    // Counts of the runs are summed, so the rates of two runs are no means of theirs.
    let pooled: Vec<u64> =
        ["offsets_a", "offsets_b"].map(|name| counts(name).table.pooled()).into_iter().fold(Vec::new(), |sum, row| {
            if sum.is_empty() { row } else { sum.iter().zip(&row).map(|(a, b)| a + b).collect() }
        });
    let total = counts("offsets_a").layout.total(&pooled, Family::Ner);
    let ner = comparison.estimate("a", "ner_f1").expect("the metric");
    assert_eq!(ner.precision, Some(total.matched as f64 / total.predicted as f64));
    assert_eq!(ner.recall, Some(total.matched as f64 / total.gold as f64));
}
