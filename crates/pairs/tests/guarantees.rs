//! Every pair keeps every guarantee, over random ontologies and documents.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use support::{checker, world::World};
use tabpo_corpus::{Level, Unit};
use tabpo_pairs::{BuildSettings, Kind, Mix, ModeRates, PairBuilder, PairRecord, Patterns, Source, SourceShares};

/// A simple tokenizer: hashed runs of letters and digits, and single other characters.
fn tokenize(text: &str) -> Vec<u32> {
    let mut tokens: Vec<u32> = Vec::new();
    let mut in_word = false;
    for character in text.chars() {
        let is_word = character.is_alphanumeric();
        if is_word && in_word {
            let last = tokens.last_mut().expect("a word has begun");
            *last = last.wrapping_mul(31).wrapping_add(u32::from(character));
        } else {
            tokens.push(u32::from(character));
        }
        in_word = is_word;
    }
    tokens
}

/// The textbook recurrence.
fn levenshtein(from: &[u32], to: &[u32]) -> u32 {
    let mut row: Vec<u32> = (0..=to.len() as u32).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i as u32 + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + u32::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

fn build(world: &World, settings: BuildSettings) -> Vec<PairRecord> {
    let patterns = Patterns::parse(&world.patterns, "patterns", &world.ontology).expect("the patterns are valid");
    let rates = ModeRates::new(&world.errors, &world.ontology, ModeRates::SMOOTHING).expect("the modes are known");
    let mut builder = PairBuilder::new(&world.ontology, &patterns, &rates, settings, Some(&tokenize));
    support::build(&mut builder, &world.documents, |_| Vec::new())
}

fn check_all(world: &World, records: &[PairRecord], per_example: usize) -> Result<(), TestCaseError> {
    let mut ids = BTreeSet::new();
    for record in records {
        let document = world.documents.iter().find(|document| document.key == record.doc_key).expect("a known key");
        if let Err(problem) = checker::check(record, document, &world.ontology) {
            return Err(TestCaseError::fail(format!("{problem}\n{record:#?}")));
        }
        prop_assert!(ids.insert(record.id.clone()), "id {} twice", record.id);
        prop_assert_eq!(record.edit.source == Source::Pattern, record.edit.pattern.is_some());
        let distance = levenshtein(&tokenize(&record.chosen), &tokenize(&record.rejected));
        prop_assert_eq!(record.distance_tokens, distance);
        prop_assert!(record.weight > 0.0);
    }
    for group in records.chunk_by(|a, b| (&a.doc_key, a.sent) == (&b.doc_key, b.sent)) {
        prop_assert!(group.len() <= per_example);
        let texts: BTreeSet<&str> = group.iter().map(|record| record.rejected.as_str()).collect();
        prop_assert_eq!(texts.len(), group.len(), "two equal negatives");
        let weight: f64 = group.iter().map(|record| record.weight).sum();
        prop_assert!((weight - per_example as f64).abs() < 1e-9);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_pair_is_one_valid_edit(
        seed in any::<u64>(),
        level in prop_oneof![Just(Level::Sentence), Just(Level::Document)],
        source in prop_oneof![Just("pattern,mode"), Just("pattern"), Just("mode"), Just("random")],
    ) {
        let world = World::random(seed, 4);
        let sources = SourceShares::parse(source).unwrap();
        let records = build(&world, BuildSettings { per_example: 6, seed, level, sources, ..BuildSettings::default() });
        check_all(&world, &records, 6)?;
        for record in &records {
            prop_assert!(source.contains(record.edit.source.name()));
        }
        for unit in world.documents.iter().flat_map(|document| Unit::all(document, level)) {
            let of_unit = |record: &&PairRecord| (&record.doc_key, record.sent) == (&unit.document.key, unit.sentence);
            let kinds: Vec<Kind> = records.iter().filter(of_unit).map(|record| record.edit.kind).collect();
            if unit.mentions().next().is_none() && source != "mode" {
                prop_assert!(!kinds.is_empty(), "an example without entities has no insertion");
                prop_assert!(kinds.into_iter().all(|kind| kind == Kind::AddEntity));
            }
        }
    }

    #[test]
    fn every_kind_on_its_own_is_valid(seed in any::<u64>(), kind in 0..Kind::ALL.len()) {
        let world = World::random(seed, 3);
        let mix = Mix::parse(Kind::ALL[kind].name()).unwrap();
        let sources = SourceShares::parse("pattern,mode,random").unwrap();
        let settings = BuildSettings { per_example: 12, seed, mix, sources, level: Level::Document, ..BuildSettings::default() };
        let records = build(&world, settings);
        check_all(&world, &records, 12)?;
        for record in &records {
            prop_assert_eq!(record.edit.kind, Kind::ALL[kind]);
        }
    }
}

#[test]
fn random_worlds_host_every_kind() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let world = World::random(seed, 4);
        let settings = BuildSettings { per_example: 8, seed, ..BuildSettings::default() };
        seen.extend(build(&world, settings).iter().map(|record| record.edit.kind));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), Kind::ALL);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let world = World::random(7, 150);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
        pool.install(|| build(&world, BuildSettings::default()))
    };
    let one = run(1);
    assert!(one.len() > 300);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
    let other_seed = BuildSettings { seed: 1, ..BuildSettings::default() };
    assert_ne!(one, build(&world, other_seed));
}

#[test]
fn the_requested_number_of_edits_is_made_where_possible() {
    let world = World::random(11, 30);
    let records = build(&world, BuildSettings { edits: 2, ..BuildSettings::default() });
    let doubles = records.iter().filter(|record| record.edit.further.len() == 1).count();
    assert!(records.iter().all(|record| record.edit.further.len() <= 1));
    assert!(2 * doubles > records.len(), "{doubles} of {} have two edits", records.len());
    for record in &records {
        let document = world.documents.iter().find(|document| document.key == record.doc_key).expect("a known key");
        let unit = record.sent.map_or(tabpo_corpus::Span::new(0, document.tokens.len() as u32), |index| {
            document.sentences[index as usize]
        });
        checker::read(&record.rejected, document, unit, &world.ontology).expect("two edits leave a valid answer");
        assert_ne!(record.chosen, record.rejected);
    }
}
