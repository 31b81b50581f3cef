use std::convert::Infallible;

use proptest::prelude::*;
use tabpo_answer::{align, gold, parse, render};
use tabpo_corpus::{Document, Level, Unit};

use super::*;
use crate::{BuildSettings, ModeRates, PairBuilder, PairRecord, Patterns, SourceShares, apply, example::Example};

use crate::world::World;

#[test]
fn the_first_free_number_of_a_key_is_found() {
    let mut by_key = ByKey::default();
    for number in 0..6 {
        by_key.add(number % 2, number);
    }
    let mut free = [true; 6];
    for expected in [1, 3, 5] {
        assert_eq!(by_key.first(&1, |number| free[number as usize]), Some(expected));
        free[expected as usize] = false;
    }
    assert_eq!(by_key.first(&1, |number| free[number as usize]), None);
    assert_eq!(by_key.first(&0, |number| free[number as usize]), Some(0));
    assert_eq!(by_key.first(&2, |_| true), None);
}

/// Random negatives of a random task.
fn negatives(world: &World, seed: u64) -> Vec<PairRecord> {
    let patterns = Patterns::default();
    let sources = SourceShares::parse("random").expect("a known source");
    let settings = BuildSettings { per_example: 5, seed, sources, ..BuildSettings::default() };
    let mut builder = PairBuilder::new(&world.ontology, &patterns, &ModeRates::default(), settings, None);
    let mut records = Vec::new();
    let documents = world.documents.iter().cloned().map(Ok::<Document, Infallible>);
    let Ok(()) = builder.build(
        documents,
        |_| Vec::new(),
        |record| {
            records.push(record);
            Ok(())
        },
    );
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_right_answer_has_no_edits(seed in any::<u64>()) {
        let world = World::random(seed, 3);
        for document in &world.documents {
            for unit in Unit::all(document, Level::Sentence) {
                let gold = gold(&unit);
                let text = render(&gold, &world.ontology).text;
                let aligned = align(&parse(&text, &world.ontology), &unit, &world.ontology);
                prop_assert_eq!(edits(&gold, &aligned, &world.ontology), vec![]);
            }
        }
    }

    /// Edits that gold admits change gold, one at a time.
    #[test]
    fn every_admitted_edit_changes_gold(seed in any::<u64>()) {
        let world = World::random(seed, 3);
        let played = negatives(&world, seed);
        for record in &played {
            let document = world.documents.iter().find(|d| d.key == record.doc_key).expect("a known key");
            let unit = Unit { document, sentence: record.sent };
            let gold = gold(&unit);
            let example = Example::new(&world.ontology, unit, &gold);
            let aligned = align(&parse(&record.rejected, &world.ontology), &unit, &world.ontology);
            for edit in edits(&gold, &aligned, &world.ontology) {
                if example.admits(&edit) {
                    prop_assert_ne!(&apply(&[edit], &gold, &unit), &gold);
                }
            }
        }
    }
}
