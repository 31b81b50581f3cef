//! The items of one answer compared with those of another.

use std::collections::HashMap;
use std::hash::Hash;

use tabpo_answer::{Answer, AnswerEntity};
use tabpo_objective::{ItemCounts, ItemErrors};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

/// A mention as an answer names it: its text, its occurrence where that is written, and its number among the mentions
/// that are named alike.
type Mention<'a> = (&'a str, Option<u32>, u32);

/// Counts the items of `answer` that `gold` doesn't have, and those of `gold` that `answer` lacks. Both are answers to
/// the same source. A relation is the same whatever the labels of its arguments are, and one of a symmetric type in
/// either direction.
pub(crate) fn item_errors(gold: &Answer, answer: &Answer, ontology: &Ontology) -> ItemErrors {
    let entities = differences(entities(gold), entities(answer));
    let relations = differences(relations(gold, ontology), relations(answer, ontology));
    let counts = |entities: u32, relations: u32| ItemCounts { entities, relations };
    ItemErrors {
        wrong: counts(entities.0, relations.0),
        missing: counts(entities.1, relations.1),
        gold: counts(gold.entities.len() as u32, gold.relations.len() as u32),
    }
}

fn mentions<'a>(answer: &'a Answer) -> Vec<Mention<'a>> {
    let mut seen: HashMap<(&str, Option<u32>), u32> = HashMap::new();
    let name = |entity: &'a AnswerEntity| {
        let (text, occurrence) = (entity.text.as_str(), entity.occurrence);
        let number = seen.entry((text, occurrence)).or_default();
        *number += 1;
        (text, occurrence, *number)
    };
    answer.entities.iter().map(name).collect()
}

fn entities(answer: &Answer) -> impl Iterator<Item = (Mention<'_>, EntityLabelId, Option<SubtypeId>)> {
    let named = mentions(answer).into_iter().zip(&answer.entities);
    named.map(|(mention, entity)| (mention, entity.label, entity.subtype))
}

fn relations<'a>(
    answer: &'a Answer,
    ontology: &Ontology,
) -> impl Iterator<Item = (Mention<'a>, RelationLabelId, Mention<'a>)> {
    let mentions = mentions(answer);
    answer.relations.iter().map(move |relation| {
        let (head, tail) = (mentions[relation.head as usize], mentions[relation.tail as usize]);
        let exchange = ontology.relation(relation.label).symmetric && tail < head;
        if exchange { (tail, relation.label, head) } else { (head, relation.label, tail) }
    })
}

/// How many of `others` are not among `items`, and the reverse.
fn differences<K: Eq + Hash>(items: impl Iterator<Item = K>, others: impl Iterator<Item = K>) -> (u32, u32) {
    let mut open: HashMap<K, u32> = HashMap::new();
    for item in items {
        *open.entry(item).or_default() += 1;
    }
    let mut wrong = 0;
    for other in others {
        match open.get_mut(&other) {
            Some(count) if *count > 0 => *count -= 1,
            _ => wrong += 1,
        }
    }
    (wrong, open.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabpo_answer::AnswerRelation;

    /// Labels A and B; the relation type r has a direction, s does not.
    fn ontology() -> Ontology {
        let entities = "[[entity]]\nname = \"A\"\n[[entity]]\nname = \"B\"\n";
        let relations = "[[relation]]\nname = \"r\"\n[[relation]]\nname = \"s\"\nsymmetric = true\n";
        Ontology::parse(&format!("[ontology]\nname = \"x\"\n{entities}{relations}"), "x.toml").expect("an ontology")
    }

    fn answer(entities: &[(&str, u16)], relations: &[(u32, u16, u32)]) -> Answer {
        let entity = |&(text, label): &(&str, u16)| AnswerEntity {
            text: text.to_owned(),
            span: None,
            label: EntityLabelId(label),
            subtype: None,
            occurrence: None,
        };
        let relation =
            |&(head, label, tail): &(u32, u16, u32)| AnswerRelation { head, tail, label: RelationLabelId(label) };
        Answer { entities: entities.iter().map(entity).collect(), relations: relations.iter().map(relation).collect() }
    }

    /// Wrong entities and relations, then missing ones.
    fn errors(gold: &Answer, other: &Answer) -> [u32; 4] {
        let ItemErrors { wrong, missing, gold } = item_errors(gold, other, &ontology());
        assert_eq!((gold.entities, gold.relations), (3, 2));
        [wrong.entities, wrong.relations, missing.entities, missing.relations]
    }

    #[test]
    fn every_kind_of_edit_is_counted_as_what_it_costs() {
        let gold = answer(&[("robin", 0), ("robin", 0), ("wren", 1)], &[(0, 0, 2), (1, 1, 2)]);
        assert_eq!(errors(&gold, &gold), [0; 4]);
        let entities = [("robin", 0), ("robin", 0), ("wren", 1)];
        // Exchanged arguments matter where the type has a direction.
        assert_eq!(errors(&gold, &answer(&entities, &[(0, 0, 2), (2, 1, 1)])), [0; 4]);
        assert_eq!(errors(&gold, &answer(&entities, &[(2, 0, 0), (1, 1, 2)])), [0, 1, 0, 1]);
        // A relation keeps its value where only the label of an argument is wrong.
        assert_eq!(
            errors(&gold, &answer(&[("robin", 1), ("robin", 0), ("wren", 1)], &[(0, 0, 2), (1, 1, 2)])),
            [1, 0, 1, 0]
        );
        // An entity that is missing takes its relations along, and ids move.
        assert_eq!(errors(&gold, &answer(&[("robin", 0), ("robin", 0)], &[])), [0, 0, 1, 2]);
        let added = answer(&[("robin", 0), ("tit", 0), ("robin", 0), ("wren", 1)], &[(0, 0, 3), (2, 1, 3)]);
        assert_eq!(errors(&gold, &added), [1, 0, 0, 0]);
        assert_eq!(errors(&gold, &answer(&[("robin bird", 0), ("robin", 0), ("wren", 1)], &[(1, 0, 2)])), [1, 0, 1, 1]);
    }
}
