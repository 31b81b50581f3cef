//! Where an answer decides whether a list goes on, found while it is written.

mod common;

use tabpo_answer::{Answer, closed_at, decision, decisions, gold, parse, render};
use tabpo_corpus::{Document, Mention, Relation, Unit};
use tabpo_ontology::{Ontology, SubtypeId};
use tabpo_roles::List;

/// A document with nothing in it, one with quotes, repeated words that need an occurrence, and relations, and one of a
/// single word.
fn documents() -> [Document; 3] {
    let mut document = common::document("d", &["a \"deep\" parser ] for é parser }, papers \\ it uses it"]);
    document.mentions = [(1, 3, 1), (6, 7, 5), (8, 9, 2), (9, 10, 0), (12, 13, 5)]
        .map(|(start, end, label)| common::mention(start, end, label))
        .into();
    document.relations = [(0, 1, 0), (0, 3, 5), (2, 1, 6), (4, 3, 1)]
        .map(|(head, tail, label)| Relation { head, tail, label: common::label(label) })
        .into();
    [common::document("empty", &["nothing here"]), document, namesakes()]
}

/// Three mentions of the same word with relations between them.
fn namesakes() -> Document {
    let mut document = common::document("n", &["it and it and it"]);
    document.mentions = [0, 2, 4].map(|start| common::mention(start, start + 1, 5)).into();
    document.relations =
        [(0, 1), (0, 2), (2, 1)].map(|(head, tail)| Relation { head, tail, label: common::label(0) }).into();
    document
}

/// Answers to these under an ontology with relations, by id and by text, and under one with sub-labels and other keys.
fn answers() -> Vec<(Ontology, Answer)> {
    let [related, by_text] = common::both_ways(&common::ontology());
    let mut unrelated = common::ontology();
    unrelated.relations.clear();
    unrelated.keys.entities = "results".into();
    unrelated.keys.subtype = "kind".into();
    for label in &mut unrelated.entities {
        *label = common::entity(&label.name, &["one", "two"]);
    }
    let mut found = Vec::new();
    for document in documents() {
        let mut sublabelled = document.clone();
        sublabelled.relations.clear();
        sublabelled.mentions =
            sublabelled.mentions.iter().map(|mention| Mention { subtype: Some(SubtypeId(1)), ..*mention }).collect();
        for (document, ontology) in [(&document, &related), (&document, &by_text), (&sublabelled, &unrelated)] {
            found.push((ontology.clone(), gold(&Unit { document, sentence: None })));
        }
    }
    assert!(found.iter().any(|(_, answer)| answer.entities.iter().any(|entity| entity.occurrence.is_some())));
    found
}

/// The decisions of an answer by another way: shorter answers end where they are.
fn places(answer: &Answer, ontology: &Ontology) -> Vec<(List, usize, usize)> {
    let length = |entities: usize, relations: usize| {
        let part = Answer {
            entities: answer.entities[..entities].to_vec(),
            relations: answer.relations[..relations].to_vec(),
        };
        render(&part, ontology).text.len()
    };
    let empty = render(&Answer::default(), ontology).text;
    let after_entities = empty.len() - empty.find(']').expect("a list");
    let entities =
        (0..=answer.entities.len()).map(|number| (List::Entities, number, length(number, 0) - after_entities));
    let all = answer.entities.len();
    let relations = (0..=answer.relations.len()).map(|number| (List::Relations, number, length(all, number) - 2));
    let relational = !ontology.relations.is_empty();
    entities.chain(relations.filter(|_| relational)).collect()
}

#[test]
fn every_cut_of_an_answer_leads_to_its_next_decision() {
    let mut checked = 0;
    for (ontology, answer) in answers() {
        let text = render(&answer, &ontology).text;
        let places = places(&answer, &ontology);
        // Whether an occurrence follows is decided, too, where the text stops right before it.
        let occurrence = format!(",\"{}\":", ontology.keys.occ);
        for from in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
            let next = places.iter().find(|(.., at)| *at >= from);
            for to in (from + 1..=(from + 40).min(text.len())).filter(|&at| text.is_char_boundary(at)) {
                let found = decision(&text[..from], &text[from..to], &ontology);
                let Some(&(list, records, at)) = next else {
                    assert_eq!(found, None, "after the last decision of {text}");
                    continue;
                };
                if text[to..].starts_with(&occurrence) {
                    continue;
                }
                if to > at {
                    assert!(found.is_some(), "{:?} + {:?}", &text[..from], &text[from..to]);
                }
                let Some(found) = found else { continue };
                assert_eq!((found.list, found.records, found.at), (list, records, at), "{from} {to} {text}");
                // What was written, and one of the two continuations.
                let rest = &text[found.start..];
                let common = |other: &str| rest.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
                let ends = match list {
                    List::Entities => records == answer.entities.len(),
                    List::Relations => records == answer.relations.len(),
                };
                let place = at - found.start;
                let follows = found.close.iter().map(|close| common(close)).max().expect("a text");
                if ends {
                    assert!(
                        found.close.iter().any(|close| rest.starts_with(close.as_str())),
                        "{:?} in {rest}",
                        found.close
                    );
                    assert_eq!(common(&found.another), place, "{} and {rest} part there", found.another);
                } else {
                    assert!(rest.starts_with(&found.another), "{} in {rest}", found.another);
                    assert_eq!(follows, place, "{:?} and {rest} part there", found.close);
                }
                // Where the next list is decided about, if it is in the same text.
                let next = places.iter().find(|place| place.0 != list && place.1 == 0 && place.2 > at);
                assert_eq!(found.next, next.filter(|_| ends && records > 0).map(|place| place.2).or(found.next));
                assert_eq!(
                    found.next.is_some(),
                    list == List::Entities && records > 0 && !ontology.relations.is_empty()
                );
                if let (Some(next), [one, other]) = (found.next, &found.close[..]) {
                    let shared = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
                    assert_eq!(shared, next - found.start);
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}

/// The decisions of a whole answer are those that are found while it is written, and the other way is what the writer
/// itself would write with one record more, or without those that follow.
#[test]
fn the_decisions_of_a_whole_answer_are_those_of_one_that_is_being_written() {
    for (ontology, answer) in answers() {
        let text = render(&answer, &ontology).text;
        let all = decisions(&text, &ontology);
        let found: Vec<(List, usize, usize)> =
            all.iter().map(|taken| (taken.place.list, taken.place.records, taken.place.at)).collect();
        assert_eq!(found, places(&answer, &ontology));
        for taken in &all {
            let place = &taken.place;
            let next = text[place.at..].chars().next().expect("an answer ends with a brace").len_utf8();
            let written = decision(&text[..place.at], &text[place.at..place.at + next], &ontology);
            assert_eq!(written.as_ref(), Some(place), "{text}");
            let mut rival = answer.clone();
            let (entities, relations) = (&mut rival.entities, &mut rival.relations);
            match place.list {
                List::Entities if taken.opens => entities.truncate(place.records),
                List::Entities => entities.extend(answer.entities.first().cloned()),
                List::Relations if taken.opens => relations.truncate(place.records),
                List::Relations => relations.extend(answer.relations.first().copied()),
            }
            if place.list == List::Entities {
                relations.clear();
            }
            if rival != answer {
                let rival = render(&rival, &ontology).text;
                assert!(rival[place.start..].starts_with(taken.other()), "{rival}: {}", taken.other());
                assert_ne!(rival.as_bytes()[place.at], text.as_bytes()[place.at]);
            }
        }
    }
}

#[test]
fn an_answer_closed_at_a_decision_has_the_records_before_it() {
    for (ontology, answer) in answers() {
        let text = render(&answer, &ontology).text;
        for (list, records, at) in places(&answer, &ontology) {
            let closed = closed_at(&text, list, at, &ontology);
            let parsed = parse(&closed, &ontology);
            assert!(parsed.faults.is_empty(), "{closed}: {:?}", parsed.faults);
            match list {
                List::Entities => assert_eq!((parsed.entities.len(), parsed.relations.len()), (records, 0)),
                List::Relations => {
                    assert_eq!((parsed.entities.len(), parsed.relations.len()), (answer.entities.len(), records));
                }
            }
        }
    }
}

#[test]
fn other_text_decides_nothing() {
    let ontology = common::ontology();
    for (written, added) in [
        ("Sure! {\"entities\":[", "]"),
        ("{\"entities\": [", "]"),
        ("{\"entities\":[{\"text\":\"a\",\"type\":[]}", ","),
        ("{\"entities\":[{\"text\":\"a\"", "]"),
        ("{\"relations\":[", "]"),
        ("[]", "]"),
    ] {
        assert_eq!(decision(written, added, &ontology), None, "{written} + {added}");
    }
    // Brackets in a text are text.
    let written = "{\"entities\":[{\"id\":\"e1\",\"text\":\"a\\\"}],\\\\";
    assert_eq!(decision(written, "b]", &ontology), None);
}
