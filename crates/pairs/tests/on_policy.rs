//! A model's own wrong answers become single-edit negatives.

mod support;

use std::convert::Infallible;

use proptest::prelude::*;
use support::{checker, world::World};
use tabpo_answer::{align, gold, parse, render};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_pairs::{
    BuildSettings, ModeRates, PairBuilder, PairRecord, Patterns, Scene, Source, SourceShares, apply, on_policy,
};

fn build(world: &World, seed: u64, source: &str, outputs: impl FnMut(&Unit) -> Vec<String>) -> Vec<PairRecord> {
    let patterns = Patterns::parse(&world.patterns, "patterns", &world.ontology).expect("the patterns are valid");
    let rates = ModeRates::default();
    let sources = SourceShares::parse(source).expect("a known source");
    let settings = BuildSettings { per_example: 5, seed, sources, ..BuildSettings::default() };
    let mut builder = PairBuilder::new(&world.ontology, &patterns, &rates, settings, None);
    let mut records = Vec::new();
    let documents = world.documents.iter().cloned().map(Ok::<Document, Infallible>);
    let Ok(()) = builder.build(documents, outputs, |record| {
        records.push(record);
        Ok(())
    });
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Another negative played back as the model's answer leads to that negative and to no other.
    #[test]
    fn an_answer_one_edit_away_becomes_that_negative(seed in any::<u64>()) {
        let world = World::random(seed, 3);
        let played = build(&world, seed, "random", |_| Vec::new());
        let answer = |unit: &Unit| -> Option<PairRecord> {
            let of_unit = |record: &&PairRecord| (&record.doc_key, record.sent) == (&unit.document.key, unit.sentence);
            played.iter().find(of_unit).cloned()
        };
        let records = build(&world, seed, "on-policy", |unit| answer(unit).map(|r| r.rejected).into_iter().collect());
        for record in &records {
            let document = world.documents.iter().find(|d| d.key == record.doc_key).expect("a known key");
            prop_assert_eq!(record.edit.source, Source::OnPolicy);
            if let Err(problem) = checker::check(record, document, &world.ontology) {
                return Err(TestCaseError::fail(format!("{problem}\n{record:#?}")));
            }
        }
        prop_assert!(records.is_empty() == played.is_empty() || records.len() * 3 > played.len() / 5);
    }

    #[test]
    fn a_right_answer_has_no_steps(seed in any::<u64>()) {
        let world = World::random(seed, 3);
        for document in &world.documents {
            for unit in Unit::all(document, Level::Sentence) {
                let gold = gold(&unit);
                let text = render(&gold, &world.ontology).text;
                let aligned = align(&parse(&text, &world.ontology), &unit, &world.ontology);
                prop_assert_eq!(on_policy::steps(&gold, &aligned, &world.ontology), vec![]);
            }
        }
    }

    /// Steps that gold admits change gold, one at a time.
    #[test]
    fn every_admitted_step_changes_gold(seed in any::<u64>()) {
        let world = World::random(seed, 3);
        let played = build(&world, seed, "random", |_| Vec::new());
        for record in &played {
            let document = world.documents.iter().find(|d| d.key == record.doc_key).expect("a known key");
            let unit = Unit { document, sentence: record.sent };
            let gold = gold(&unit);
            let scene = Scene::new(&world.ontology, unit, &gold);
            let aligned = align(&parse(&record.rejected, &world.ontology), &unit, &world.ontology);
            for step in on_policy::steps(&gold, &aligned, &world.ontology) {
                if scene.admits(&step) {
                    prop_assert_ne!(&apply(&[step], &gold, &unit), &gold);
                }
            }
        }
    }
}
