//! Gold's verdict on each item of a model's own answer.

use std::{collections::HashMap, hash::Hash};

use tabpo_answer::{Item, Rendered, align, gold, parse, read_canonical};
use tabpo_corpus::{Span, Unit};
use tabpo_ontology::{Ontology, RelationLabelId};

/// A model's answer with a verdict on each of its items.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The answer, in canonical form.
    pub answer: Rendered,
    /// The verdicts, in the order of the answer.
    pub verdicts: Vec<Verdict>,
}

/// Whether an item of an answer is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The item.
    pub item: Item,
    /// Whether gold has it.
    pub right: bool,
}

/// Judges a model's answer to a unit. `None` if the answer is not in canonical form.
///
/// An entity is right if gold has one with its span, label and sub-label, a relation if gold has one of its type between
/// the same spans, whatever their labels, in either direction where the type is symmetric. An item that is written more
/// often than gold has it is right as often as gold has it.
pub fn judge(unit: &Unit, output: &str, ontology: &Ontology) -> Option<Judged> {
    let (_, answer) = read_canonical(output, ontology)?;
    let aligned = align(&parse(output, ontology), unit, ontology);
    let gold = gold(unit);
    let mut entities = Open::new(gold.entities.iter().map(|entity| (entity.span, Some(entity.label), entity.subtype)));
    let connect = |head: Option<Span>, label: RelationLabelId, tail: Option<Span>| {
        let exchange = ontology.relation(label).symmetric && tail < head;
        if exchange { (tail, label, head) } else { (head, label, tail) }
    };
    let place = |mention: u32| gold.entities[mention as usize].span;
    let relations = gold.relations.iter();
    let mut relations =
        Open::new(relations.map(|relation| connect(place(relation.head), relation.label, place(relation.tail))));
    let of_entities = (0..).zip(&aligned.entities).map(|(index, entity)| Verdict {
        item: Item::Entity(index),
        right: entity.span.is_some() && entities.take(&(entity.span, entity.label, entity.subtype)),
    });
    let mut verdicts: Vec<Verdict> = of_entities.collect();
    verdicts.extend((0..).zip(&aligned.relations).map(|(index, relation)| {
        let named = aligned.argument_spans(relation).zip(relation.label);
        let connected = named.map(|((head, tail), label)| connect(Some(head), label, Some(tail)));
        Verdict { item: Item::Relation(index), right: connected.is_some_and(|key| relations.take(&key)) }
    }));
    Some(Judged { answer, verdicts })
}

/// Items of gold that are not written yet, with their numbers.
struct Open<K>(HashMap<K, u32>);

impl<K: Eq + Hash> Open<K> {
    fn new(items: impl Iterator<Item = K>) -> Self {
        let mut counts = HashMap::new();
        items.for_each(|item| *counts.entry(item).or_default() += 1);
        Self(counts)
    }

    /// Takes an item out, if it is still there.
    fn take(&mut self, item: &K) -> bool {
        let count = self.0.get_mut(item).filter(|count| **count > 0);
        count.map(|count| *count -= 1).is_some()
    }
}

#[cfg(test)]
mod tests {
    use tabpo_answer::render;
    use tabpo_corpus::{Format, Level, read_str};

    use super::*;
    use crate::world::World;

    const ONTOLOGY: &str = "[ontology]\nname = \"birds\"\n[[entity]]\nname = \"Bird\"\n[[entity]]\nname = \"Tree\"\n\
                            [[relation]]\nname = \"sits-in\"\n[[relation]]\nname = \"near\"\nsymmetric = true\n";
    /// A robin, an oak and another robin; the first sits in the oak, and the robins are near each other.
    const LINE: &str = r#"{"doc_key": "a", "text": "A robin in an oak and a robin.", "entities": [{"start": 2, "end": 7, "type": "Bird"}, {"start": 14, "end": 17, "type": "Tree"}, {"start": 24, "end": 29, "type": "Bird"}], "relations": [{"head": 0, "type": "sits-in", "tail": 1}, {"head": 0, "type": "near", "tail": 2}]}"#;

    /// The verdicts on an answer with these entities (text and label) and relations (numbers from 1).
    fn verdicts(entities: &[(&str, &str)], relations: &[(u32, &str, u32)]) -> (Vec<bool>, Vec<bool>) {
        let ontology = Ontology::parse(ONTOLOGY, "birds.toml").expect("an ontology");
        let document = read_str(LINE, Format::Jsonl, &ontology).expect("a document").documents.remove(0);
        let unit = Unit { document: &document, sentence: Some(0) };
        let entities: Vec<String> = (1..)
            .zip(entities)
            .map(|(id, (text, label))| format!(r#"{{"id":"e{id}","text":"{text}","type":"{label}"}}"#))
            .collect();
        let relations: Vec<String> = relations
            .iter()
            .map(|(head, label, tail)| format!(r#"{{"head":"e{head}","type":"{label}","tail":"e{tail}"}}"#))
            .collect();
        let text = format!(r#"{{"entities":[{}],"relations":[{}]}}"#, entities.join(","), relations.join(","));
        let judged = judge(&unit, &text, &ontology).expect("a canonical answer");
        assert_eq!(judged.answer.text, text);
        let items = (0..entities.len() as u32).map(Item::Entity).chain((0..relations.len() as u32).map(Item::Relation));
        assert!(judged.verdicts.iter().map(|verdict| verdict.item).eq(items));
        let right: Vec<bool> = judged.verdicts.iter().map(|verdict| verdict.right).collect();
        (right[..entities.len()].to_vec(), right[entities.len()..].to_vec())
    }

    #[test]
    fn an_item_is_right_by_its_place_and_label() {
        let all = [("robin", "Bird"), ("oak", "Tree"), ("robin", "Bird")];
        assert_eq!(verdicts(&all, &[(1, "sits-in", 2), (3, "near", 1)]), (vec![true; 3], vec![true; 2]));
        // A direction matters where the type has one.
        assert_eq!(verdicts(&all, &[(2, "sits-in", 1), (1, "near", 2)]).1, [false, false]);
        assert_eq!(verdicts(&all, &[(3, "sits-in", 2), (1, "sits-in", 2)]).1, [false, true]);
        // A wrong label leaves the relation right, a wrong span or an invented one does not.
        assert_eq!(
            verdicts(&[("robin", "Tree"), ("oak", "Tree")], &[(1, "sits-in", 2)]),
            (vec![false, true], vec![true])
        );
        let wrong = [("A robin", "Bird"), ("oak", "Tree"), ("elm", "Tree")];
        assert_eq!(
            verdicts(&wrong, &[(1, "sits-in", 2), (1, "sits-in", 3)]),
            (vec![false, true, false], vec![false; 2])
        );
    }

    #[test]
    fn what_is_written_twice_is_right_once() {
        let twice = [("robin", "Bird"), ("oak", "Tree"), ("robin", "Bird"), ("robin", "Bird")];
        let (entities, relations) = verdicts(&twice, &[(1, "sits-in", 2), (1, "sits-in", 2)]);
        // Two robins are in the text; the third has no place of its own.
        assert_eq!(entities, [true, true, true, false]);
        assert_eq!(relations, [true, false]);
    }

    #[test]
    fn gold_is_right_and_other_forms_have_no_verdict() {
        for seed in 0..64 {
            let world = World::random(seed, 2);
            for unit in world.documents.iter().flat_map(|document| Unit::all(document, Level::Sentence)) {
                let text = render(&gold(&unit), &world.ontology).text;
                let judged = judge(&unit, &text, &world.ontology).expect("gold is canonical");
                assert!(judged.verdicts.iter().all(|verdict| verdict.right), "{text}");
                assert!(judge(&unit, &format!(" {text}"), &world.ontology).is_none());
            }
        }
    }
}
