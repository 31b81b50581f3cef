//! A model's own wrong answers become single-edit negatives.

mod support;

use proptest::prelude::*;
use support::{checker, world::World};
use tabpo_corpus::Unit;
use tabpo_metrics::RawAnswer;
use tabpo_pairs::{BuildSettings, ModeRates, PairBuilder, PairRecord, Patterns, Source, SourceShares};

fn build(world: &World, seed: u64, source: &str, outputs: impl FnMut(&Unit) -> Vec<RawAnswer>) -> Vec<PairRecord> {
    let patterns = Patterns::parse(&world.patterns, "patterns", &world.ontology).expect("the patterns are valid");
    let rates = ModeRates::default();
    let sources = SourceShares::parse(source).expect("a known source");
    let settings = BuildSettings { per_example: 5, seed, sources, ..BuildSettings::default() };
    let mut builder = PairBuilder::new(&world.ontology, &patterns, &rates, settings, None);
    support::build(&mut builder, &world.documents, outputs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A negative played back as the model's answer leads to that negative and no other.
    #[test]
    fn an_answer_one_edit_away_becomes_that_negative(seed in any::<u64>()) {
        let world = World::random(seed, 3);
        let played = build(&world, seed, "random", |_| Vec::new());
        let answer = |unit: &Unit| -> Option<PairRecord> {
            let of_unit = |record: &&PairRecord| (&record.doc_key, record.sent) == (&unit.document.key, unit.sentence);
            played.iter().find(of_unit).cloned()
        };
        let records = build(&world, seed, "on-policy", |unit| {
            answer(unit).map(|record| RawAnswer { text: record.rejected, ..RawAnswer::default() }).into_iter().collect()
        });
        for record in &records {
            let document = world.documents.iter().find(|d| d.key == record.doc_key).expect("a known key");
            prop_assert_eq!(record.edit.source, Source::OnPolicy);
            if let Err(problem) = checker::check(record, document, &world.ontology) {
                return Err(TestCaseError::fail(format!("{problem}\n{record:#?}")));
            }
        }
        prop_assert!(records.is_empty() == played.is_empty() || records.len() * 3 > played.len() / 5);
    }
}
