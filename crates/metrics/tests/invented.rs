//! The same independent evaluators on invented text, which is always there.

mod common;

use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use tabpo_answer::{gold as gold_answer, render};
use tabpo_corpus::{Document, Level, Mention, Span, Unit};
use tabpo_metrics::{Evaluation, EvaluationError, Family, Predictions, Prf, Profile, Scores, UnitOutput};
use tabpo_ontology::{AnswerForm, EntityLabelId, Ontology, SubtypeId};

fn gold(ontology: &Ontology) -> Vec<Document> {
    common::read_gold(&common::fixture("gold.jsonl"), ontology)
}

fn predictions_of(text: &str) -> Result<Predictions, EvaluationError> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("a write");
    Predictions::open(file.path())
}

fn count_text(text: &str, gold: &[Document], ontology: &Ontology) -> Result<Evaluation, EvaluationError> {
    let counts = common::count_documents(gold, &mut predictions_of(text)?, ontology)?;
    Ok(Evaluation::of(&counts))
}

#[test]
fn figures_agree_with_independent_evaluators() {
    let ontology = common::scierc_ontology();
    let gold = gold(&ontology);
    let names = ["offsets_a", "offsets_b", "raw_sentences_ids", "raw_sentences_texts", "raw_documents_ids"];
    for name in names {
        let expected = std::fs::read_to_string(common::fixture(&format!("{name}.expected.json"))).expect("figures");
        let expected: Value = serde_json::from_str(&expected).expect("valid JSON");
        let (_, found) = common::evaluate(&gold, &common::fixture(&format!("{name}.jsonl")), &ontology);
        assert!(common::assert_agrees(&found, &expected, name) > 150);
    }
}

fn outputs(gold: &[Document], level: Level, ontology: &Ontology) -> Vec<UnitOutput> {
    let units = gold.iter().flat_map(|document| Unit::all(document, level));
    units
        .map(|unit| UnitOutput {
            doc_key: unit.document.key.clone(),
            sent: unit.sentence,
            form: AnswerForm::List,
            output: render(&gold_answer(&unit), ontology).text,
        })
        .collect()
}

#[test]
fn gold_against_itself_is_one() {
    let ontology = common::scierc_ontology();
    let gold = gold(&ontology);
    let text = std::fs::read_to_string(common::fixture("gold.jsonl")).expect("gold");
    let text = text.replace("\"ner\"", "\"predicted_ner\"").replace("\"relations\"", "\"predicted_relations\"");
    let mut evaluations = vec![count_text(&text, &gold, &ontology).expect("gold fits itself")];
    for level in [Level::Sentence, Level::Document] {
        let mut predictions =
            Predictions::from_outputs(&outputs(&gold, level, &ontology), "gold").expect("valid lines");
        let counts = common::count_documents(&gold, &mut predictions, &ontology).expect("gold fits itself");
        evaluations.push(Evaluation::of(&counts));
    }
    let one = |scores: Scores| assert_eq!((scores.p, scores.r, scores.f1), (Some(1.0), Some(1.0), Some(1.0)));
    for evaluation in evaluations {
        let set = &evaluation.set;
        for labelled in [&set.ner, &set.rel, &set.rel_plus, &set.rel_symmetric, &set.rel_plus_symmetric] {
            one(labelled.micro);
            assert_eq!(labelled.macro_mean, Prf { p: Some(1.0), r: Some(1.0), f1: Some(1.0) });
        }
        for scores in [set.span, set.undirected_unlabelled_pair, evaluation.relaxed_strict, evaluation.list.rel_plus] {
            one(scores);
        }
        one(set.rel_symmetric_doubled.micro);
        one(evaluation.label_multiset_per_document);
        assert_eq!(set.label_given_span.accuracy, Some(1.0));
        assert!(evaluation.notes.is_empty());
        if let Some(raw) = evaluation.raw {
            let validity = raw.validity;
            assert_eq!(
                [validity.json_valid, validity.schema_valid, validity.refs_valid, validity.fully_grounded],
                [Some(1.0); 4]
            );
            assert_eq!(raw.grounding.hallucination_not_token_aligned, Some(0.0));
            assert!(raw.faults.is_empty());
        }
    }
}

#[test]
fn a_missing_document_counts_as_empty_and_is_noted() {
    let ontology = common::scierc_ontology();
    let gold = gold(&ontology);
    let mut some = outputs(&gold, Level::Sentence, &ontology);
    some.retain(|output| output.doc_key != "kiln");
    some.remove(0);
    let mut predictions = Predictions::from_outputs(&some, "some").expect("valid lines");
    let counts = common::count_documents(&gold, &mut predictions, &ontology).expect("the rest fits");
    let evaluation = Evaluation::of(&counts);
    let all: usize = gold.iter().map(|document| document.mentions.len()).sum();
    assert_eq!(evaluation.set.ner.micro.gold, all as u64);
    assert_eq!(evaluation.set.ner.micro.p, Some(1.0));
    assert_eq!(evaluation.units, 13);
    let raw = evaluation.raw.expect("raw output");
    assert_eq!(raw.validity.json_valid, Some(10.0 / 13.0));
    assert_eq!(evaluation.notes.len(), 2);
    assert!(evaluation.notes[0].contains("kiln"), "{:?}", evaluation.notes);
}

#[test]
fn wrong_input_names_its_line() {
    let ontology = common::scierc_ontology();
    let gold = gold(&ontology);
    let output = |key: &str, sent: &str| format!("{{\"doc_key\":\"{key}\",\"sent\":{sent},\"output\":\"\"}}\n");
    let offsets = "{\"doc_key\":\"reef\",\"predicted_ner\":[[],[]],\"predicted_relations\":[[],[]]}\n";
    let cases = [
        (output("reef", "0") + &output("reff", "0"), 2, "did you mean `reef`"),
        (output("reef", "0") + &output("reef", "2"), 2, "sentences 0 to 1"),
        (output("reef", "1") + "\n" + &output("reef", "1"), 3, "already predicted in line 1"),
        (output("reef", "null") + &output("reef", "1"), 2, "already predicted in line 1"),
        (output("reef", "0") + offsets, 2, "use one kind"),
        (offsets.repeat(2), 2, "already predicted in line 1"),
        (offsets.replace("[[],[]],\"", "[[],[],[]],\""), 1, "3 lists for 2 sentences"),
        (offsets.replace("[[],[]]}", "[[[1,2,3,4]],[]]}"), 1, "is not a relation"),
        ("{\"doc_key\":\"reef\"}\n".to_owned(), 1, "either"),
        ("{\"sent\":0,\"output\":\"\"}\n".to_owned(), 1, "doc_key"),
        ("{\"doc_key\":\"reef\"\n".to_owned(), 1, "cut short"),
        (String::new(), 1, "no prediction"),
    ];
    for (text, expected_line, words) in cases {
        match count_text(&text, &gold, &ontology) {
            Err(EvaluationError::Invalid { line, found, .. }) => {
                assert_eq!(line, expected_line, "{found}");
                assert!(found.contains(words), "{found}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(Predictions::open(Path::new("not/there.jsonl")), Err(EvaluationError::Io { .. })));
}

#[test]
fn profiles_count_duplicates_and_directions_in_their_own_way() {
    let ontology = common::scierc_ontology();
    // The conjunction and the comparison of the second sentence reversed, one entity twice.
    let gold = gold(&ontology)[..1].to_vec();
    let text = r#"{"doc_key":"reef","predicted_ner":[[],[[13,13,"Generic"],[13,13,"Generic"],[15,17,"Method"]]],
        "predicted_relations":[[],[[15,17,13,13,"COMPARE"],[22,23,19,20,"CONJUNCTION"]]]}"#;
    let counts =
        common::count_documents(&gold, &mut predictions_of(&text.replace('\n', " ")).expect("one line"), &ontology)
            .expect("it fits");
    let row = counts.table.pooled();
    let of = |family| {
        let triple = counts.layout.total(&row, family);
        (triple.matched, triple.predicted, triple.gold)
    };
    assert_eq!(of(Family::Ner), (2, 2, 7));
    assert_eq!(of(Family::ListNer), (3, 3, 7));
    assert_eq!(of(Family::Rel), (0, 2, 6));
    assert_eq!(of(Family::RelSymmetric), (2, 2, 6));
    assert_eq!(of(Family::RelDoubled), (4, 4, 8));
    // Only the comparison has both arguments among the predicted entities.
    assert_eq!(of(Family::RelPlusSymmetric), (1, 2, 6));
    assert_eq!(of(Family::Pair), (2, 2, 6));
    // A relation that gold lists twice counts twice where lists are counted.
    let mut twice = gold.clone();
    twice[0].repeated_relations.push(0);
    let again =
        common::count_documents(&twice, &mut predictions_of(&text.replace('\n', " ")).expect("one line"), &ontology)
            .expect("it fits");
    let of_again = |family| again.layout.total(&again.table.pooled(), family).gold;
    assert_eq!((of_again(Family::ListRel), of_again(Family::ListRelPlus), of_again(Family::Rel)), (7, 7, 6));
    let titles = |profile: Profile| profile.metrics(&counts.layout, false).len();
    assert_eq!(Profile::ALL.map(titles), [8, 3, 6, 3, 4]);
}

#[test]
fn subtypes_are_scored_alone_and_with_their_label() {
    let text = r#"
        [ontology]
        name = "messages"
        [[entity]]
        name = "Partnership"
        subtypes = [{ name = "signoff" }, { name = "request" }]
        [[entity]]
        name = "Care"
        subtypes = [{ name = "request" }]
        [[entity]]
        name = "Date"
    "#;
    let ontology = Ontology::parse(text, "test").expect("a valid ontology");
    let mut document = Document { key: "m".into(), text: "a b c d".into(), ..Document::default() };
    document.tokens = (0..4).map(|index| 2 * index..2 * index + 1).collect();
    document.sentences = vec![Span::new(0, 4)];
    let mention = |start: u32, label: u16, subtype: Option<u16>| Mention {
        span: Span::new(start, start + 1),
        label: EntityLabelId(label),
        subtype: subtype.map(SubtypeId),
    };
    document.mentions =
        vec![mention(0, 0, Some(0)), mention(1, 0, Some(1)), mention(2, 1, Some(0)), mention(3, 2, None)];
    let item = |text: &str, label: &str, subtype: &str| format!(r#"{{"text":"{text}","type":"{label}"{subtype}}}"#);
    let output = format!(
        r#"{{"entities":[{},{},{},{}]}}"#,
        item("a", "Partnership", r#","subtype":"request""#),
        item("b", "Partnership", r#","subtype":"request""#),
        item("c", "Partnership", r#","subtype":"request""#),
        item("d", "Date", "")
    );
    let outputs = [UnitOutput { doc_key: "m".into(), sent: None, form: AnswerForm::List, output }];
    let mut predictions = Predictions::from_outputs(&outputs, "test").expect("valid lines");
    let counts = common::count_documents(&[document], &mut predictions, &ontology).expect("it fits");
    let evaluation = Evaluation::of(&counts);
    let matched = |scores: &Scores| (scores.matched, scores.predicted, scores.gold);
    assert_eq!(matched(&evaluation.set.ner.micro), (3, 4, 4));
    // Sub-labels alone: b and c are right (`request`, under whichever label), d has none.
    assert_eq!(matched(&evaluation.set.ner_subtype.expect("sub-labels").micro), (2, 3, 3));
    let both = evaluation.set.ner_both.expect("sub-labels");
    assert_eq!(matched(&both.micro), (2, 4, 4));
    assert_eq!(matched(&both.per_label["Partnership/request"]), (1, 3, 1));
    let accuracy = evaluation.set.subtype_given_label.expect("sub-labels");
    assert_eq!((accuracy.correct, accuracy.total), (1, 2));
    assert_eq!(evaluation.raw.expect("raw output").validity.fully_grounded, Some(1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Order of predicted documents, of sentences and of items within a sentence.
    #[test]
    fn order_changes_nothing(seed in any::<u64>()) {
        let ontology = common::scierc_ontology();
        let gold = gold(&ontology);
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        for name in ["offsets_a", "raw_sentences_ids"] {
            let text = std::fs::read_to_string(common::fixture(&format!("{name}.jsonl"))).expect("predictions");
            let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            lines.sort_by_cached_key(|_| next());
            for line in &mut lines {
                for field in ["predicted_ner", "predicted_relations"] {
                    for list in line.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                        list.as_array_mut().expect("a list").sort_by_cached_key(|_| next());
                    }
                }
            }
            let shuffled = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
            let before = count_text(&text, &gold, &ontology).expect("it fits");
            let after = count_text(&shuffled, &gold, &ontology).expect("it fits");
            // The greedy relaxed match of the public code depends on order; nothing else does.
            let neutral = |evaluation: Evaluation| Evaluation { tabpo_reference: before.tabpo_reference, ..evaluation };
            prop_assert_eq!(neutral(after), before.clone());
        }
    }
}
