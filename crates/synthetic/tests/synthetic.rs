//! The synthetic corpus: reproducible, without overlap, with the labels and the unseen rate that it
//! promises.

use std::{collections::HashSet, path::Path, sync::LazyLock};

use tabpo_corpus::{Document, Level, Mention, Unit, statistics};
use tabpo_ontology::{Arguments, Ontology};
use tabpo_synthetic::{SyntheticConfig, SyntheticCorpus};

static CORPUS: LazyLock<SyntheticCorpus> = LazyLock::new(|| tabpo_synthetic::generate(&SyntheticConfig::default()));

fn small(seed: u64) -> SyntheticConfig {
    SyntheticConfig { seed, sft: 60, gold: 30, validation: 30, test: 40, ..SyntheticConfig::default() }
}

fn sentences(documents: &[Document]) -> Vec<&str> {
    documents.iter().flat_map(|document| Unit::all(document, Level::Sentence)).map(|unit| unit.text()).collect()
}

#[test]
fn the_ontology_has_the_labels_of_the_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scierc/ontology.toml");
    // Models from scratch have heads that copy and are told of entities by their ids.
    let example = Ontology { arguments: Arguments::Ids, ..Ontology::read(&path).unwrap() };
    assert_eq!(example, *tabpo_synthetic::ontology());
}

#[test]
fn the_seed_decides_everything() {
    assert_eq!(tabpo_synthetic::generate(&small(7)), tabpo_synthetic::generate(&small(7)));
    assert_ne!(tabpo_synthetic::generate(&small(7)).test, tabpo_synthetic::generate(&small(8)).test);
}

#[test]
fn the_test_split_does_not_depend_on_the_size_of_the_others() {
    let larger = SyntheticConfig { sft: 200, gold: 50, ..small(3) };
    assert_eq!(tabpo_synthetic::generate(&small(3)).test, tabpo_synthetic::generate(&larger).test);
    assert_eq!(tabpo_synthetic::generate(&small(3)).validation, tabpo_synthetic::generate(&larger).validation);
}

#[test]
fn splits_have_their_sizes_and_no_sentence_or_name_twice() {
    let splits = [&CORPUS.sft, &CORPUS.gold, &CORPUS.validation, &CORPUS.test];
    let counts: Vec<usize> = splits.iter().map(|split| sentences(split).len()).collect();
    assert_eq!(counts, [4400, 600, 600, 1000]);
    let all: Vec<&str> = splits.iter().flat_map(|split| sentences(split)).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    let keys: Vec<&String> = splits.iter().flat_map(|split| split.iter().map(|document| &document.key)).collect();
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
}

#[test]
fn most_test_terms_are_unseen() {
    let generic = tabpo_synthetic::ontology().entity_named("Generic").unwrap();
    let train = [CORPUS.sft.clone(), CORPUS.gold.clone()].concat();
    let texts = |documents: &'_ [Document], keep: &dyn Fn(&Mention) -> bool| -> Vec<String> {
        let mentions = documents.iter().flat_map(|document| {
            let kept = document.mentions.iter().filter(|mention| keep(mention));
            kept.map(|mention| document.span_text(mention.span).to_owned())
        });
        mentions.collect()
    };
    let seen: HashSet<String> = texts(&train, &|_| true).into_iter().collect();
    let terms = texts(&CORPUS.test, &|mention| mention.label != generic);
    let unseen = terms.iter().filter(|term| !seen.contains(*term)).count();
    let rate = unseen as f64 / terms.len() as f64;
    assert!((0.54..=0.62).contains(&rate), "{rate}");
}

#[test]
fn sentences_have_the_promised_shape() {
    let numbers = statistics(&CORPUS.test, tabpo_synthetic::ontology());
    assert!(
        (10.0..=16.0).contains(&numbers.sentence_length.mean.expect("there are sentences")),
        "{:?}",
        numbers.sentence_length.mean
    );
    assert!(
        (2.0..=3.5).contains(&numbers.mentions_per_sentence.mean.expect("there are sentences")),
        "{:?}",
        numbers.mentions_per_sentence.mean
    );
    assert!(
        (1.0..=2.0).contains(&numbers.relations_per_sentence.mean.expect("there are sentences")),
        "{:?}",
        numbers.relations_per_sentence.mean
    );
    assert!(numbers.sentences_without_mention > 0);
    assert!(numbers.sentences_without_relation > numbers.sentences_without_mention);
    assert!(numbers.nested_pairs > 0 && numbers.crossing_pairs == 0 && numbers.same_span_pairs == 0);
    assert!(numbers.surfaces_in_sentence.mentions_not_first > 0);
    assert_eq!(numbers.relations_across_sentences, 0);
}

#[test]
fn every_label_occurs_and_frequencies_are_skewed_like_the_model_corpus() {
    let numbers = statistics(&CORPUS.test, tabpo_synthetic::ontology());
    // Shares of the SciERC training split in per cent.
    let mentions = [16.0, 25.8, 4.1, 9.7, 27.4, 17.0];
    let relations = [52.5, 5.4, 9.3, 5.6, 9.7, 5.2, 12.4];
    for (counts, total, wanted) in [
        (&numbers.mentions_by_label, numbers.mentions, &mentions[..]),
        (&numbers.relations_by_type, numbers.relations, &relations[..]),
    ] {
        assert_eq!(counts.len(), wanted.len());
        for (label, wanted) in counts.iter().zip(wanted) {
            let share = 100.0 * label.count as f64 / total as f64;
            assert!((share - wanted).abs() < 5.0, "{}: {share:.1} % instead of about {wanted} %", label.label);
            assert!(label.count > 0);
        }
    }
}

#[test]
fn the_biased_annotator_errs_at_the_stated_rate_and_only_about_labels() {
    let clean = tabpo_synthetic::generate(&SyntheticConfig { bias: 0.0, ..SyntheticConfig::default() });
    assert_eq!((clean.bias.wrong_mentions, clean.bias.wrong_relations), (0, 0));
    assert_eq!(clean.test, CORPUS.test);
    assert_eq!(clean.gold, CORPUS.gold);
    for (clean, biased) in clean.sft.iter().zip(&CORPUS.sft) {
        assert_eq!((&clean.text, &clean.sentences), (&biased.text, &biased.sentences));
        let spans = |document: &Document| document.mentions.iter().map(|mention| mention.span).collect::<Vec<_>>();
        assert_eq!(spans(clean), spans(biased));
        assert_eq!(clean.relations.len(), biased.relations.len());
    }
    let always = tabpo_synthetic::bias::annotate(&clean.sft, 1.0, 1).1;
    let share = CORPUS.bias.wrong_mentions as f64 / always.wrong_mentions as f64;
    assert!((0.77..=0.83).contains(&share), "{share}");
    let wrong = CORPUS.bias.wrong_mentions as f64 / CORPUS.bias.mentions as f64;
    assert!((0.14..=0.22).contains(&wrong), "{wrong}");
    let wrong = CORPUS.bias.wrong_relations as f64 / CORPUS.bias.relations as f64;
    assert!((0.12..=0.20).contains(&wrong), "{wrong}");
}

#[test]
fn copies_say_the_same_about_other_things() {
    let corpus = tabpo_synthetic::generate(&SyntheticConfig { gold: 200, ..small(5) });
    let copies = tabpo_synthetic::relexicalise::copies(&corpus.gold, 2, 0.7, 3);
    assert_eq!(copies, tabpo_synthetic::relexicalise::copies(&corpus.gold, 2, 0.7, 3));
    assert_eq!(copies.len(), 2 * corpus.gold.len());
    let known = tabpo_synthetic::relexicalise::words(&corpus.gold);
    let ending = |word: &str| word.chars().rev().take(2).collect::<String>();
    let (mut replaced, mut invented, mut resized) = (0, 0, 0);
    for (before, after) in corpus.gold.iter().chain(&corpus.gold).zip(&copies) {
        assert!(after.key.starts_with(&before.key) && after.key.len() > before.key.len());
        let labels = |document: &Document| document.mentions.iter().map(|mention| mention.label).collect::<Vec<_>>();
        assert_eq!((labels(before), &before.relations), (labels(after), &after.relations));
        let sizes = before.mentions.iter().zip(&after.mentions);
        resized += sizes.filter(|(before, after)| before.span.len() != after.span.len()).count();
        // Sentences still cut the tokens into as many parts, and mentions lie in the same ones.
        let in_sentence = |document: &Document| -> Vec<Option<usize>> {
            let sentence = |span| document.sentences.iter().position(|sentence| sentence.contains(span));
            document.mentions.iter().map(|mention| sentence(mention.span)).collect()
        };
        assert_eq!(in_sentence(before), in_sentence(after));
        assert!(in_sentence(after).iter().all(Option::is_some));
        assert_eq!(after.sentences.iter().map(|sentence| sentence.len()).sum::<usize>(), after.tokens.len());

        let outside = |document: &Document| -> Vec<String> {
            let free = |index: &usize| !document.mentions.iter().any(|mention| mention.span.range().contains(index));
            (0..document.tokens.len()).filter(free).map(|index| document.token(index).to_owned()).collect()
        };
        let words: Vec<(String, String)> = outside(before).into_iter().zip(outside(after)).collect();
        assert_eq!(words.len(), outside(after).len());
        for (old, new) in &words {
            assert!(words.iter().all(|(other, written)| other != old || written == new), "one word, one replacement");
            assert_eq!(ending(old), ending(new));
            replaced += usize::from(old != new);
            invented += usize::from(old != new && !known.contains(new));
        }
    }
    assert!(resized > 100, "{resized} mentions have another length");
    assert!(replaced > 100, "{replaced} words were replaced");
    assert!(invented > replaced / 8 && invented < replaced, "{invented} of {replaced} are invented");
}

#[test]
fn other_words_leave_annotation_and_labels_heads_alone() {
    let corpus = tabpo_synthetic::generate(&small(5));
    let words = tabpo_synthetic::relexicalise::words(&corpus.test);
    let changed = tabpo_synthetic::relexicalise::relexicalise(&corpus.gold, &words, 1.0, 3);
    assert_eq!(changed, tabpo_synthetic::relexicalise::relexicalise(&corpus.gold, &words, 1.0, 3));
    assert_eq!(corpus.gold, tabpo_synthetic::relexicalise::relexicalise(&corpus.gold, &words, 0.0, 3));
    assert_eq!(corpus.gold, tabpo_synthetic::relexicalise::relexicalise(&corpus.gold, &[], 1.0, 3));
    let mut replaced = 0;
    for (before, after) in corpus.gold.iter().zip(&changed) {
        assert_eq!((&before.mentions, &before.relations), (&after.mentions, &after.relations));
        for mention in &after.mentions {
            let last = mention.span.end as usize - 1;
            assert_eq!(before.token(last), after.token(last), "the word that tells the label is kept");
        }
        for index in 0..before.tokens.len() {
            if before.token(index) != after.token(index) {
                assert!(words.iter().any(|word| word == after.token(index)));
                replaced += 1;
            }
        }
    }
    assert!(replaced > corpus.gold.len(), "{replaced} words were replaced");
}
