//! Every kind of error is recognised as what it is.

mod common;

use std::collections::BTreeMap;
use tabpo_corpus::{Document, Mention, Relation, Span};

use tabpo_metrics::modes::{self, Annotations, EXAMPLES, ErrorModes, ModeKind, UnitCase, measure};
use tabpo_metrics::{Predictions, UnitOutput};
use tabpo_ontology::{AnswerForm, EntityLabelId, Ontology, RelationLabelId};

const TASK: u16 = 0;
const METHOD: u16 = 1;

/// `the a b c and x y beat d e x y` with the mentions [a b c] Method, [d e] Task and the given extras.
fn document(extra: &[Mention], relations: &[(u32, u32, &str)], ontology: &Ontology) -> Document {
    let words = "the a b c and x y beat d e x y";
    let mut document = Document { key: "d".into(), text: words.into(), ..Document::default() };
    let mut start = 0;
    for word in words.split(' ') {
        document.tokens.push(start..start + word.len() as u32);
        start += word.len() as u32 + 1;
    }
    document.sentences = vec![Span::new(0, 12)];
    document.mentions = vec![mention(1, 4, METHOD), mention(8, 10, TASK)];
    document.mentions.extend(extra);
    document.mentions.sort_unstable();
    document.relations = relations
        .iter()
        .map(|&(head, tail, name)| Relation { head, tail, label: ontology.relation_named(name).expect("a type") })
        .collect();
    document
}

fn mention(start: u32, end: u32, label: u16) -> Mention {
    Mention { span: Span::new(start, end), label: EntityLabelId(label), subtype: None }
}

fn modes_of(document: &Document, entities: &[(&str, &str)], relations: &[(usize, &str, usize)]) -> ErrorModes {
    let entities: Vec<String> = entities
        .iter()
        .enumerate()
        .map(|(index, (text, label))| format!(r#"{{"id":"e{index}","text":"{text}","type":"{label}"}}"#))
        .collect();
    let relations: Vec<String> = relations
        .iter()
        .map(|(head, label, tail)| format!(r#"{{"head":"e{head}","type":"{label}","tail":"e{tail}"}}"#))
        .collect();
    let output = format!(r#"{{"entities":[{}],"relations":[{}]}}"#, entities.join(","), relations.join(","));
    let outputs = [UnitOutput { doc_key: "d".into(), sent: Some(0), form: AnswerForm::List, output }];
    let mut predictions = Predictions::from_outputs(&outputs, "test").expect("valid lines");
    measure([Ok(document)], &mut predictions, &common::scierc_ontology(), EXAMPLES).expect("it fits")
}

/// The entries as (kind, gold, predicted, count).
fn entries(modes: &ErrorModes) -> Vec<(ModeKind, Option<&str>, Option<&str>, u64)> {
    modes.modes.iter().map(|mode| (mode.kind, mode.gold.as_deref(), mode.predicted.as_deref(), mode.count)).collect()
}

#[test]
fn entity_modes() {
    let ontology = common::scierc_ontology();
    let document = document(&[], &[], &ontology);
    let task = ("d e", "Task");
    let method = Some("Method");
    let cases: [(&str, &str, ModeKind, Option<&str>); 5] = [
        ("a b c", "Material", ModeKind::LabelConfusion, Some("Material")),
        ("b c", "Method", ModeKind::BoundaryShort, Some("Method")),
        ("the a b c", "Method", ModeKind::BoundaryLong, Some("Method")),
        ("c and", "Generic", ModeKind::BoundaryShifted, Some("Generic")),
        ("a b c", "Tool", ModeKind::LabelConfusion, None),
    ];
    for (text, label, kind, predicted) in cases {
        let modes = modes_of(&document, &[(text, label), task], &[]);
        assert_eq!(entries(&modes), [(kind, method, predicted, 1)], "{text}");
    }
    let modes = modes_of(&document, &[("nowhere", "Method"), task], &[]);
    assert_eq!(
        entries(&modes),
        [(ModeKind::MissingEntity, method, None, 1), (ModeKind::SpuriousEntity, None, method, 1)]
    );
    assert_eq!(modes.modes[0].examples[0].gold.as_deref(), Some("a b c (Method)"));
    assert_eq!(modes.modes[1].examples[0].predicted.as_deref(), Some("nowhere (Method)"));
    assert!(entries(&modes_of(&document, &[("a b c", "Method"), task], &[])).is_empty());
}

#[test]
fn the_other_occurrence() {
    let ontology = common::scierc_ontology();
    let document = document(&[mention(10, 12, METHOD)], &[], &ontology);
    let modes = modes_of(&document, &[("a b c", "Method"), ("x y", "Method"), ("d e", "Task")], &[]);
    assert_eq!(entries(&modes), [(ModeKind::WrongOccurrence, Some("Method"), Some("Method"), 1)]);
}

#[test]
fn a_boundary_prefers_its_own_label() {
    let ontology = common::scierc_ontology();
    // [a b c] Method holds [b c] Task; `the a b` overlaps more of the first, `c and` fits only by label.
    let document = document(&[mention(2, 4, TASK)], &[], &ontology);
    let modes = modes_of(&document, &[("the a b", "Task"), ("c and", "Method"), ("d e", "Task")], &[]);
    assert_eq!(
        entries(&modes),
        [
            (ModeKind::BoundaryShifted, Some("Task"), Some("Task"), 1),
            (ModeKind::BoundaryShifted, Some("Method"), Some("Method"), 1)
        ]
    );
}

/// Kind, gold type, predicted type, count.
type Expected<'a> = &'a [(ModeKind, Option<&'a str>, Option<&'a str>, u64)];

#[test]
fn relation_modes() {
    let ontology = common::scierc_ontology();
    let third = mention(5, 7, METHOD);
    // Mentions in order: 0 [a b c], 1 [x y], 2 [d e].
    let gold = document(&[third], &[(0, 2, "Used-for")], &ontology);
    let entities = [("a b c", "Method"), ("x y", "Method"), ("d e", "Task")];
    let used = Some("Used-for");
    let cases: [((usize, &str, usize), Expected); 6] = [
        ((0, "Used-for", 2), &[]),
        ((0, "Part-of", 2), &[(ModeKind::RelationConfusion, used, Some("Part-of"), 1)]),
        ((2, "Part-of", 0), &[(ModeKind::RelationConfusion, used, Some("Part-of"), 1)]),
        ((2, "Used-for", 0), &[(ModeKind::DirectionReversed, used, used, 1)]),
        ((1, "Used-for", 2), &[(ModeKind::ArgumentSwapped, used, used, 1)]),
        (
            (0, "Compare", 1),
            &[(ModeKind::MissingLink, used, None, 1), (ModeKind::SpuriousLink, None, Some("Compare"), 1)],
        ),
    ];
    for (relation, expected) in cases {
        let modes = modes_of(&gold, &entities, &[relation]);
        assert_eq!(entries(&modes), expected, "{relation:?}");
    }
    let symmetric = document(&[third], &[(0, 1, "Compare")], &ontology);
    assert!(entries(&modes_of(&symmetric, &entities, &[(1, "Compare", 0)])).is_empty());
}

#[test]
fn an_entity_error_is_not_counted_again_as_a_relation_error() {
    let ontology = common::scierc_ontology();
    let gold = document(&[], &[(0, 1, "Used-for")], &ontology);
    let modes = modes_of(&gold, &[("b c", "Method"), ("d e", "Task")], &[(0, "Used-for", 1)]);
    assert_eq!(entries(&modes), [(ModeKind::BoundaryShort, Some("Method"), Some("Method"), 1)]);
    assert_eq!(modes.relations[0].correct, 1);
}

#[test]
fn rates_and_tables() {
    let ontology = common::scierc_ontology();
    let gold = document(&[mention(5, 7, METHOD)], &[(0, 2, "Used-for"), (1, 2, "Used-for")], &ontology);
    let entities = [("a b c", "Material"), ("x y", "Method"), ("d e", "Task"), ("beat", "Task")];
    let modes = modes_of(&gold, &entities, &[(0, "Used-for", 2), (1, "Part-of", 2)]);
    let confusion = modes.entity_confusion(&ontology);
    assert_eq!((confusion[1][1], confusion[1][3], confusion[0][0]), (1, 1, 1));
    let used = RelationLabelId(0).index();
    assert_eq!(modes.relation_confusion(&ontology)[used][3], 1);
    assert_eq!(modes.relation_confusion(&ontology)[used][used], 1);
    let rates: Vec<(ModeKind, Option<f64>)> = modes.modes.iter().map(|mode| (mode.kind, modes.rate(mode))).collect();
    assert_eq!(
        rates,
        [ModeKind::LabelConfusion, ModeKind::SpuriousEntity, ModeKind::RelationConfusion].map(|kind| (kind, Some(0.5)))
    );
    let file = serde_json::to_string(&modes).expect("plain data");
    assert_eq!(serde_json::from_str::<ErrorModes>(&file).expect("the same form"), modes);
}

#[test]
fn counts_add_up_on_real_predictions() {
    let ontology = common::scierc_ontology();
    let gold = common::read_gold(&common::fixture("gold.jsonl"), &ontology);
    for name in ["offsets_a", "offsets_b", "raw_sentences_ids", "raw_sentences_texts", "raw_documents_ids"] {
        let path = common::fixture(&format!("{name}.jsonl"));
        let mut predictions = Predictions::open(&path).expect("valid predictions");
        let modes = measure(gold.iter().map(Ok), &mut predictions, &ontology, EXAMPLES).expect("it fits");
        let (_, scores) = common::evaluate(&gold, &path, &ontology);
        let gold_mentions: u64 = modes.entities.iter().map(|exposure| exposure.gold).sum();
        let correct: u64 = modes.entities.iter().map(|exposure| exposure.correct).sum();
        assert_eq!(Some(gold_mentions), scores["set"]["ner"]["micro"]["gold"].as_u64(), "{name}");
        assert_eq!(Some(correct), scores["set"]["ner"]["micro"]["matched"].as_u64(), "{name}");
        // Every gold mention is right or in one mode.
        let wrong: u64 = ModeKind::ALL
            .into_iter()
            .filter(|kind| !kind.is_relational() && *kind != ModeKind::SpuriousEntity)
            .map(|kind| modes.count(kind))
            .sum();
        assert_eq!(correct + wrong, gold_mentions, "{name}");
    }
}

/// The cases of single units are the errors that are counted, and name the items that they are about.
#[test]
fn cases_are_the_errors_that_are_counted() {
    let ontology = tabpo_synthetic::ontology();
    let corpus = tabpo_synthetic::generate(&tabpo_synthetic::SyntheticConfig::default());
    let gold = &corpus.test[..100];
    // Documents are answered with another label, a reversed relation, a mention too few, or what the next one says;
    // one is answered with no JSON at all.
    let outputs = gold.iter().enumerate().map(|(index, document)| {
        let mut said = document.clone();
        match index % 4 {
            0 => said.mentions[0].label = EntityLabelId((said.mentions[0].label.0 + 1) % 4),
            1 => said.relations.iter_mut().for_each(|relation| std::mem::swap(&mut relation.head, &mut relation.tail)),
            2 => said = gold[(index + 1) % gold.len()].clone(),
            _ => {
                let last = said.mentions.len() as u32 - 1;
                said.relations.retain(|relation| relation.head != last && relation.tail != last);
                said.mentions.pop();
            }
        }
        let unit = tabpo_corpus::Unit { document: &said, sentence: None };
        let answer = tabpo_answer::render(&tabpo_answer::gold(&unit), ontology).text;
        let output = if index == 7 { "no idea".to_owned() } else { answer };
        UnitOutput { doc_key: document.key.clone(), sent: None, form: AnswerForm::List, output }
    });
    let mut predictions = Predictions::from_outputs(&outputs.collect::<Vec<_>>(), "test").expect("valid lines");
    let counted = measure(gold.iter().map(Ok), &mut predictions, ontology, EXAMPLES).expect("it fits");
    let mut cases: Vec<UnitCase> = Vec::new();
    modes::cases(gold.iter().map(Ok), &mut predictions, ontology, |case| cases.push(case)).expect("it fits");
    assert_eq!(cases.len() as u64, counted.units);
    assert_eq!(cases.iter().filter(|case| case.valid_json == Some(false)).count(), 1);

    let mut seen: BTreeMap<(ModeKind, Option<String>, Option<String>), u64> = BTreeMap::new();
    for (case, document) in cases.iter().zip(gold) {
        for entity in &case.gold.entities {
            let span = entity.span.expect("gold is in the source");
            assert_eq!(entity.text.as_deref(), Some(document.span_text(span)));
        }
        let label = |side: &Annotations, kind: ModeKind, at: Option<u32>| {
            let at = at? as usize;
            if kind.is_relational() {
                Some(ontology.relation(side.relations[at].label.expect("a type")).name.clone())
            } else {
                Some(ontology.entity(side.entities[at].label.expect("a label")).name.clone())
            }
        };
        for error in &case.errors {
            let labels =
                (label(&case.gold, error.kind, error.gold), label(&case.predicted, error.kind, error.predicted));
            *seen.entry((error.kind, labels.0, labels.1)).or_default() += 1;
        }
    }
    let expected: BTreeMap<_, u64> = counted
        .modes
        .iter()
        .filter(|mode| mode.kind != ModeKind::SubtypeConfusion)
        .map(|mode| ((mode.kind, mode.gold.clone(), mode.predicted.clone()), mode.count))
        .collect();
    assert_eq!(seen, expected);
    assert!(seen.keys().any(|key| key.0.is_relational()) && seen.len() > 8, "the sides differ in many ways: {seen:?}");
}
