//! Systems against each other.

mod common;

use std::collections::BTreeMap;

use tabpo_metrics::{Comparison, Counts, Predictions, Profile, Resampling, compare};

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
        assert_eq!((difference.difference, difference.low, difference.high), (0.0, 0.0, 0.0));
        assert_eq!((difference.p_bootstrap, difference.p_randomisation, difference.p_holm), (1.0, 1.0, 1.0));
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
    let ner = |system: &str| comparison.estimate(system, "ner_f1").expect("the metric").value;
    assert_eq!(difference.difference, ner("a") - ner("b"));
    assert!(difference.difference > 0.0);
    assert!(difference.p_bootstrap < 0.05, "{difference:?}");
    assert!(difference.p_holm >= difference.p_randomisation);
    // With six documents, no randomisation test can fall below 2 / 2^6.
    assert!(difference.p_randomisation > 0.02, "{difference:?}");
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
            metric.measure.value(&a.layout, &first) - metric.measure.value(&a.layout, &second)
        };
        let observed = difference(0).abs();
        let extreme = (0..64).filter(|&swaps| difference(swaps).abs() >= observed - 1e-12).count();
        let found = sampled.differences[0].differences[position].p_randomisation;
        // Five standard errors of 2000 rounds.
        let exact = extreme as f64 / 64.0;
        assert!((found - exact).abs() < 0.056, "{}: {found} is far from {exact}", metric.key);
    }
}

#[test]
fn seeds_are_pooled_and_their_spread_is_told() {
    let both = comparison(&[("s", &["offsets_a", "offsets_b"])]);
    let single = comparison(&[("a", &["offsets_a"]), ("b", &["offsets_b"])]);
    let value = |system: &str| single.estimate(system, "ner_f1").expect("the metric").value;
    let estimate = both.estimate("s", "ner_f1").expect("the metric");
    assert_eq!(estimate.per_run, [value("a"), value("b")]);
    assert!((estimate.mean - f64::midpoint(value("a"), value("b"))).abs() < 1e-12);
    let sd = (value("a") - value("b")).abs() / 2_f64.sqrt();
    assert!((estimate.sd.expect("two runs") - sd).abs() < 1e-12);
    assert!(estimate.value > value("b") && estimate.value < value("a"));
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
