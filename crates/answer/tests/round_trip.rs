//! Gold annotation survives the way through text exactly.

mod common;

use proptest::prelude::*;
use tabpo_answer::{Answer, Item, Tier, align, canonical, gold, parse, read_canonical, render};
use tabpo_corpus::{Document, Level, Mention, Relation, Span, Unit};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};
use tabpo_roles::Role;

/// Renders, parses and aligns the gold answer and compares what comes back.
fn assert_round_trip(unit: &Unit, ontology: &Ontology) -> Answer {
    let answer = gold(unit);
    let rendered = render(&answer, ontology);
    let parsed = parse(&rendered.text, ontology);
    let aligned = align(&parsed, unit, ontology);
    assert!(aligned.valid_at(Tier::Note), "{:?} in {}", aligned.faults, rendered.text);
    let mentions: Vec<Mention> = unit.mentions().map(|(_, mention)| *mention).collect();
    let found: Vec<Mention> = aligned
        .entities
        .iter()
        .map(|entity| Mention {
            span: entity.span.expect("a place"),
            label: entity.label.expect("a label"),
            subtype: entity.subtype,
        })
        .collect();
    assert_eq!(found, mentions, "{}", rendered.text);
    let spans = |head: u32, tail: u32| (mentions[head as usize], mentions[tail as usize]);
    let found: Vec<_> = aligned
        .relations
        .iter()
        .map(|relation| {
            let (head, tail) = relation.arguments.expect("both arguments");
            (spans(head, tail), relation.label.expect("a type"))
        })
        .collect();
    let document = unit.document;
    let wanted: Vec<_> = unit
        .relations()
        .map(|relation| {
            let mention = |index: u32| document.mentions[index as usize];
            ((mention(relation.head), mention(relation.tail)), relation.label)
        })
        .collect();
    if ontology.relations.is_empty() {
        assert_eq!(found, []);
    } else {
        assert_eq!(found, wanted, "{}", rendered.text);
        assert_eq!(aligned.to_answer(unit, ontology), answer);
    }
    answer
}

fn written_occurrences(answer: &Answer) -> usize {
    answer.entities.iter().filter(|entity| entity.occurrence.is_some()).count()
}

#[test]
#[ignore = "needs SciERC in the shared folder"]
fn scierc_survives() {
    let ontology = common::ontology();
    // Mentions that need an occurrence, from the statistics of the format.
    let expected = [
        ("train", Level::Sentence, 5598, 18),
        ("train", Level::Document, 5598, 49),
        ("dev", Level::Sentence, 811, 1),
        ("dev", Level::Document, 811, 6),
    ];
    for (split, level, mentions, occurrences) in expected {
        let documents = common::scierc(split);
        let answers: Vec<Answer> = documents
            .iter()
            .flat_map(|document| Unit::all(document, level))
            .map(|unit| assert_round_trip(&unit, &ontology))
            .collect();
        assert_eq!(answers.iter().map(|answer| answer.entities.len()).sum::<usize>(), mentions);
        assert_eq!(answers.iter().map(written_occurrences).sum::<usize>(), occurrences, "{split} {level:?}");
    }
}

#[test]
fn the_written_form() {
    let ontology = common::ontology();
    let mut document = common::document("d", &["a \"deep\" parser for parser papers é"]);
    document.mentions = vec![common::mention(1, 3, 1), common::mention(4, 5, 5)];
    document.relations = vec![Relation { head: 0, tail: 1, label: common::label(0) }];
    let unit = Unit { document: &document, sentence: Some(0) };
    let rendered = render(&gold(&unit), &ontology);
    assert_eq!(
        rendered.text,
        r#"{"entities":[{"id":"e1","text":"\"deep\" parser","type":"Method"},{"id":"e2","text":"parser","type":"Generic","occ":2}],"relations":[{"head":"e1","type":"Used-for","tail":"e2"}]}"#
    );
    let values: Vec<(Role, Item, &str)> = rendered
        .parts
        .iter()
        .filter(|part| part.role != Role::Scaffold)
        .map(|part| (part.role, part.item, &rendered.text[part.range.clone()]))
        .collect();
    assert_eq!(
        values,
        [
            (Role::Span, Item::Entity(0), r#"\"deep\" parser"#),
            (Role::EntityLabel, Item::Entity(0), "Method"),
            (Role::Span, Item::Entity(1), "parser"),
            (Role::EntityLabel, Item::Entity(1), "Generic"),
            (Role::Occurrence, Item::Entity(1), "2"),
            (Role::Link, Item::Relation(0), "e1"),
            (Role::RelationLabel, Item::Relation(0), "Used-for"),
            (Role::Link, Item::Relation(0), "e2"),
        ]
    );
}

#[test]
fn arguments_by_text_have_a_number_where_their_text_is_not_enough() {
    let [ids, texts] = common::both_ways(&common::ontology());
    let mut document = common::document("d", &["a parser and the parser use a lexer"]);
    document.mentions = vec![common::mention(1, 2, 1), common::mention(4, 5, 1), common::mention(7, 8, 5)];
    document.relations = vec![
        Relation { head: 0, tail: 1, label: RelationLabelId(5) },
        Relation { head: 2, tail: 0, label: RelationLabelId(0) },
    ];
    let unit = Unit { document: &document, sentence: None };
    let answer = assert_round_trip(&unit, &texts);
    let rendered = render(&answer, &texts);
    assert_eq!(
        rendered.text,
        concat!(
            r#"{"entities":[{"text":"parser","type":"Method"},{"text":"parser","type":"Method"},"#,
            r#"{"text":"lexer","type":"Generic"}],"#,
            r#""relations":[{"head":"parser","head_number":1,"type":"Compare","tail":"parser","tail_number":2},"#,
            r#"{"head":"lexer","type":"Used-for","tail":"parser","tail_number":1}]}"#
        )
    );
    let links = rendered.parts.iter().filter(|part| part.role == Role::Link);
    let links: Vec<(Item, &str)> = links.map(|part| (part.item, &rendered.text[part.range.clone()])).collect();
    let [first, second] = [0, 1].map(Item::Relation);
    assert_eq!(
        links,
        [
            (first, "parser"),
            (first, "1"),
            (first, "parser"),
            (first, "2"),
            (second, "lexer"),
            (second, "parser"),
            (second, "1")
        ]
    );
    assert!(read_canonical(&rendered.text, &ids).is_none(), "ids are missing");
    assert!(read_canonical(&render(&answer, &ids).text, &texts).is_none(), "ids are too many");
}

#[test]
fn an_occurrence_is_written_only_where_the_default_is_wrong() {
    let ontology = common::ontology();
    let mut document = common::document("d", &["it uses it and it"]);
    document.mentions = vec![common::mention(2, 3, 5), common::mention(4, 5, 5)];
    let unit = Unit { document: &document, sentence: Some(0) };
    let answer = assert_round_trip(&unit, &ontology);
    let occurrences: Vec<_> = answer.entities.iter().map(|entity| entity.occurrence).collect();
    assert_eq!(occurrences, [Some(2), None]);
    assert!(render(&answer, &ontology).text.contains(r#""text":"it","type":"Generic","occ":2}"#));
}

#[test]
fn renamed_keys_and_subtypes() {
    let mut ontology = common::ontology();
    ontology.keys.entity_type = "Code".into();
    ontology.keys.subtype = "Sub-code".into();
    ontology.keys.text = "Span".into();
    ontology.keys.entities = "results".into();
    ontology.entities = vec![common::entity("Partnership", &["signoff", "request"])];
    ontology.relations.clear();
    let mut document = common::document("d", &["best wishes from us"]);
    document.mentions = vec![Mention { subtype: Some(SubtypeId(0)), ..common::mention(0, 2, 0) }];
    let unit = Unit { document: &document, sentence: None };
    let answer = assert_round_trip(&unit, &ontology);
    let text = render(&answer, &ontology).text;
    assert_eq!(text, r#"{"results":[{"Span":"best wishes","Code":"Partnership","Sub-code":"signoff"}]}"#);
}

#[test]
fn canonical_form_is_a_fixed_point_and_merges_duplicates() {
    let mut document = common::document("d", &["a b c d"]);
    document.mentions = vec![common::mention(0, 1, 1), common::mention(2, 3, 0)];
    document.relations = vec![Relation { head: 1, tail: 0, label: common::label(5) }];
    let unit = Unit { document: &document, sentence: Some(0) };
    let answer = gold(&unit);
    let mut entities: Vec<_> = answer.entities.iter().rev().cloned().collect();
    entities.push(answer.entities[0].clone());
    let at = |head, tail| tabpo_answer::AnswerRelation { head, tail, label: common::label(5) };
    // Entities reversed and the first one twice: 0 is the second, 1 and 2 are the first.
    let again = canonical(&unit, entities, vec![at(0, 1), at(0, 2), at(1, 2)]);
    assert_eq!(again, answer);
}

#[test]
fn an_invented_text_stays_in_place() {
    let mut document = common::document("d", &["a b c d"]);
    document.mentions = vec![common::mention(0, 1, 1), common::mention(1, 2, 1), common::mention(2, 3, 0)];
    document.relations = vec![Relation { head: 1, tail: 2, label: common::label(0) }];
    let unit = Unit { document: &document, sentence: Some(0) };
    let answer = gold(&unit);
    let mut entities = answer.entities.clone();
    entities[1].text = "neural network".into();
    entities[1].span = None;
    let invented = canonical(&unit, entities.clone(), answer.relations.clone());
    assert_eq!(invented.entities, entities);
    assert_eq!(invented.relations, answer.relations);
}

/// A document over few words, so that texts repeat, with arbitrary mentions and relations.
fn documents() -> impl Strategy<Value = Document> {
    let words = prop::collection::vec(prop::sample::select(vec!["a", "b", "a.b", "\"", "é", "A", "\\n"]), 1..14);
    let spans = prop::collection::vec((0_u32..14, 1_u32..4, 0_u16..6), 0..10);
    let links = prop::collection::vec((0_u32..10, 0_u32..10, 0_u16..7), 0..12);
    (words, spans, links).prop_map(|(words, spans, links)| {
        let mut document = common::document("d", &[words.join(" ").as_str()]);
        let count = document.tokens.len() as u32;
        document.mentions = spans
            .into_iter()
            .filter(|(start, length, _)| start + length <= count)
            .map(|(start, length, label)| Mention {
                span: Span::new(start, start + length),
                label: EntityLabelId(label),
                subtype: None,
            })
            .collect();
        document.mentions.sort_unstable();
        document.mentions.dedup();
        let mentions = document.mentions.len() as u32;
        document.relations = links
            .into_iter()
            .filter(|(head, tail, _)| head != tail && *head < mentions && *tail < mentions)
            .map(|(head, tail, label)| Relation { head, tail, label: RelationLabelId(label) })
            .collect();
        document.relations.sort_unstable();
        document.relations.dedup();
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_annotation_survives(document in documents()) {
        for ontology in common::both_ways(&common::ontology()) {
            for level in [Level::Sentence, Level::Document] {
                for unit in Unit::all(&document, level) {
                    let answer = assert_round_trip(&unit, &ontology);
                    let rendered = render(&answer, &ontology);
                    let (read, again) = read_canonical(&rendered.text, &ontology).expect("a canonical answer");
                    prop_assert_eq!(again, rendered);
                    prop_assert_eq!(read.relations, answer.relations);
                }
            }
        }
    }

    #[test]
    fn parts_cover_the_text_in_order(document in documents(), by_text in any::<bool>()) {
        let unit = Unit { document: &document, sentence: None };
        let rendered = render(&gold(&unit), &common::both_ways(&common::ontology())[usize::from(by_text)]);
        let mut end = 0;
        for part in &rendered.parts {
            prop_assert_eq!(part.range.start, end);
            prop_assert!(part.range.end > end);
            end = part.range.end;
        }
        prop_assert_eq!(end, rendered.text.len());
        prop_assert!(serde_json::from_str::<serde_json::Value>(&rendered.text).is_ok());
    }
}
