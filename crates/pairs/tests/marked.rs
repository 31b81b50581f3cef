//! Pairs in the marked form keep every guarantee, and what an edit changes differs alike in the marks and in the JSON.

mod support;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use support::{checker, world::World};
use tabpo_answer::{align, parse_as, read_canonical};
use tabpo_corpus::{Document, Level, Mention, Span, Unit};
use tabpo_ontology::{AnswerForm, EntityLabelId};
use tabpo_pairs::{
    BuildSettings, BuildSummary, Kind, Mix, ModeRates, PairBuilder, PairRecord, Patterns, SourceShares, StatsCollector,
};

fn build(world: &World, seed: u64, level: Level, form: AnswerForm) -> (Vec<PairRecord>, BuildSummary) {
    let sources = SourceShares::parse("random").expect("a known source");
    let mix = Mix::new([1.0; Kind::ALL.len()]).expect("shares");
    let settings = BuildSettings { per_example: 8, seed, level, mix, sources, form, ..BuildSettings::default() };
    let (patterns, rates) = (Patterns::default(), ModeRates::default());
    let mut builder = PairBuilder::new(&world.ontology, &patterns, &rates, settings, None);
    let records = support::build(&mut builder, &world.documents, |_| Vec::new());
    (records, builder.summary())
}

/// The marks, and the JSON after them.
fn parts(answer: &str) -> (&str, &str) {
    answer.split_at(answer.rfind("\n{").expect("the JSON is there") + 1)
}

/// A pair with the JSON of its answers alone.
fn listed(record: &PairRecord) -> PairRecord {
    let json = |answer: &str| parts(answer).1.to_owned();
    PairRecord { chosen: json(&record.chosen), rejected: json(&record.rejected), ..record.clone() }
}

fn of<'w>(world: &'w World, record: &PairRecord) -> &'w Document {
    world.documents.iter().find(|document| document.key == record.doc_key).expect("a known key")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn marked_pairs_keep_every_guarantee(
        seed in any::<u64>(),
        level in prop_oneof![Just(Level::Sentence), Just(Level::Document)],
    ) {
        let world = World::random(seed, 4);
        let ontology = &world.ontology;
        let (records, summary) = build(&world, seed, level, AnswerForm::Marked);
        prop_assert_eq!(summary.unmarkable, 0);
        for record in &records {
            let document = of(&world, record);
            // The JSON alone is a pair as the list form has it.
            if let Err(problem) = checker::check(&listed(record), document, ontology) {
                return Err(TestCaseError::fail(format!("{problem}\n{record:#?}")));
            }
            let unit = Unit { document, sentence: record.sent };
            for answer in [&record.chosen, &record.rejected] {
                // The marks say the same, about the same text, at the same places.
                let aligned = align(&parse_as(answer, ontology, AnswerForm::Marked), &unit, ontology);
                prop_assert_eq!(&aligned.faults, &vec![], "{}", answer);
                let marks = parse_as(parts(answer).0, ontology, AnswerForm::Marked);
                let (of_marks, of_json) = (align(&marks, &unit, ontology).to_answer(&unit, ontology), aligned.to_answer(&unit, ontology));
                prop_assert_eq!(of_marks, of_json);
                prop_assert!(read_canonical(answer, ontology).is_some());
            }
            // What decides about one thing stands at one place.
            let lines = |answer: &str| parts(answer).0.lines().map(str::to_owned).collect::<Vec<_>>();
            let (chosen, rejected) = (lines(&record.chosen), lines(&record.rejected));
            let differing = chosen.iter().zip(&rejected).filter(|(a, b)| a != b).count();
            match record.edit.kind {
                Kind::Grounding => prop_assert!(false, "a text that is not in the source cannot be marked"),
                Kind::Label | Kind::Subtype => {
                    prop_assert!(chosen[0] != rejected[0] && chosen[1..] == rejected[1..]);
                }
                Kind::RelationLabel | Kind::Direction => {
                    prop_assert_eq!((differing, chosen.len() == rejected.len()), (1, chosen.len() == rejected.len()));
                    prop_assert!(chosen[0] == rejected[0]);
                }
                Kind::DropRelation | Kind::AddRelation | Kind::Argument => prop_assert!(chosen[0] == rejected[0]),
                _ => prop_assert!(chosen[0] != rejected[0]),
            }
        }
    }
}

/// Without texts from nowhere, both forms have the same pairs.
#[test]
fn both_forms_have_the_same_negatives() {
    let mut compared = 0;
    for seed in 0..20 {
        let world = World::random(seed, 4);
        let (marked, _) = build(&world, seed, Level::Sentence, AnswerForm::Marked);
        let (list, _) = build(&world, seed, Level::Sentence, AnswerForm::List);
        let has = |record: &PairRecord| list.iter().any(|other| other.rejected == listed(record).rejected);
        compared += marked.iter().filter(|record| has(record)).count();
        let mut statistics = StatsCollector::default();
        for record in &marked {
            statistics.add(record);
        }
        let labels = statistics.finish(None).kinds.into_iter().find(|kind| kind.kind == Kind::Label);
        assert!(labels.is_none_or(|labels| labels.scaffold_first == 0.0), "labels part at a label");
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn an_example_whose_mentions_cross_has_no_pairs_and_is_counted() {
    let mut world = World::random(3, 1);
    let text = "one two three".to_owned();
    let mention = |start, end| Mention { span: Span::new(start, end), label: EntityLabelId(0), subtype: None };
    for label in &mut world.ontology.entities {
        label.subtypes.clear();
    }
    world.documents = vec![Document {
        key: "d".into(),
        text,
        tokens: vec![0..3, 4..7, 8..13],
        sentences: vec![Span::new(0, 3)],
        mentions: vec![mention(0, 2), mention(1, 3)],
        ..Document::default()
    }];
    let (records, summary) = build(&world, 1, Level::Sentence, AnswerForm::Marked);
    assert_eq!((records.len(), summary.unmarkable, summary.examples), (0, 1, 1));
    let (records, summary) = build(&world, 1, Level::Sentence, AnswerForm::List);
    assert!(!records.is_empty() && summary.unmarkable == 0);
}
