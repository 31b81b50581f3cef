use std::collections::BTreeSet;

use proptest::prelude::*;
use tabpo_corpus::{Document, Format, Level, read_str};
use tabpo_ontology::{EntityLabelId, RelationLabelId};

use super::*;

use crate::world::World;

const ONTOLOGY: &str = "[ontology]\nname = \"birds\"\n[[entity]]\nname = \"Bird\"\n[[entity]]\nname = \"Tree\"\n\
                        [[relation]]\nname = \"sits-in\"\n[[relation]]\nname = \"near\"\nsymmetric = true\n";
const LINE: &str = r#"{"doc_key": "a", "text": "A robin and a wren sit in an oak.", "entities": [
    {"start": 2, "end": 7, "type": "Bird"}, {"start": 14, "end": 18, "type": "Bird"},
    {"start": 29, "end": 32, "type": "Tree"}], "relations": [
    {"head": 0, "type": "sits-in", "tail": 2}, {"head": 1, "type": "sits-in", "tail": 2}]}"#;

/// The turns of an answer to the sentence: the own text of the turn, then the right ones, each up to its end.
fn turns(output: &str) -> Vec<Vec<String>> {
    let ontology = Ontology::parse(ONTOLOGY, "birds.toml").expect("an ontology");
    let document =
        read_str(&LINE.replace('\n', " "), Format::Jsonl, &ontology).expect("a document").documents.remove(0);
    let unit = Unit { document: &document, sentence: Some(0) };
    let found = oracle(&unit, output, &ontology).expect("a canonical answer");
    assert_eq!(found.answer.text, output);
    let texts = |turn: Turn| {
        let before = turn.from - turn.window;
        turn.right.into_iter().map(move |right| right.text[before..right.until].to_owned()).collect()
    };
    found.turns.into_iter().map(texts).collect()
}

const ROBIN: &str = r#"{"id":"e1","text":"robin","type":"Bird"}"#;

#[test]
fn a_right_answer_is_right_at_every_turn() {
    let found = turns(&format!(
        r#"{{"entities":[{ROBIN},{{"id":"e2","text":"wren","type":"Bird"}},{{"id":"e3","text":"oak","type":"Tree"}}],"relations":[{{"head":"e1","type":"sits-in","tail":"e3"}}]}}"#
    ));
    assert_eq!(found.len(), 6);
    assert_eq!(found[0].len(), 3);
    assert_eq!(found[0][0], r#"{"entities":[{"id":"e1","text":"robin","type":"Bird"#);
    assert_eq!(found[1], [r#""},{"id":"e2","text":"wren","type":"Bird"#, r#""},{"id":"e2","text":"oak","type":"Tree"#]);
    assert_eq!(found[2], [r#""},{"id":"e3","text":"oak","type":"Tree"#]);
    // All mentions are there: the list ends, and either relation may follow.
    let relations = [1, 2].map(|id| format!(r#""}}],"relations":[{{"head":"e{id}","type":"sits-in","tail":"e3"#));
    assert_eq!(found[3], relations);
    assert_eq!(found[4], relations);
    assert_eq!(found[5], [r#""},{"head":"e2","type":"sits-in","tail":"e3"#]);
}

#[test]
fn after_a_miss_the_ids_follow_what_was_written() {
    // The robin was left out, and the oak called a bird.
    let found = turns(
        r#"{"entities":[{"id":"e1","text":"wren","type":"Bird"},{"id":"e2","text":"oak","type":"Bird"}],"relations":[]}"#,
    );
    // The robin may still be written. The oak may not be written again.
    assert_eq!(found[2], [r#""},{"id":"e3","text":"robin","type":"Bird"#]);
    // But the list was closed, so that only the wren's relation is left, under the ids as written.
    assert_eq!(found[3], [r#""}],"relations":[{"head":"e1","type":"sits-in","tail":"e2"#]);
}

#[test]
fn an_invented_record_takes_an_id_and_leaves_the_rest_right() {
    let found = turns(
        r#"{"entities":[{"id":"e1","text":"sing","type":"Bird"},{"id":"e2","text":"robin","type":"Bird"}],"relations":[{"head":"e1","type":"near","tail":"e2"}]}"#,
    );
    assert_eq!(found[1].len(), 3);
    // There is no relation of gold between what was written: the list should have been empty, and should end now.
    assert_eq!(found[3], [r#""}],"relations":[]}"#]);
    assert_eq!(found[4], [r#""}]}"#]);
}

#[test]
fn an_answer_that_is_not_canonical_has_no_oracle() {
    let ontology = Ontology::parse(ONTOLOGY, "birds.toml").expect("an ontology");
    let document =
        read_str(&LINE.replace('\n', " "), Format::Jsonl, &ontology).expect("a document").documents.remove(0);
    let unit = Unit { document: &document, sentence: Some(0) };
    for output in ["", "{\"entities\": []}", "{\"entities\":[{\"id\":\"e1\",\"text\":\"robin\"", "[]"] {
        assert_eq!(oracle(&unit, output, &ontology), None, "{output}");
    }
}

/// A relation between spans; of a symmetric one, the spans in order.
type Link = (Span, RelationLabelId, Span);

fn link(head: Span, label: RelationLabelId, tail: Span, ontology: &Ontology) -> Link {
    let turned = ontology.relation(label).symmetric && tail < head;
    if turned { (tail, label, head) } else { (head, label, tail) }
}

/// The mentions of an answer with their places, and its relations between these.
fn items(text: &str, unit: &Unit, ontology: &Ontology) -> (Vec<(Option<Span>, EntityLabelId)>, BTreeSet<Link>) {
    let aligned = align(&parse(text, ontology), unit, ontology);
    let entities = aligned.entities.iter().map(|entity| (entity.span, entity.label.expect("a known label"))).collect();
    let links = aligned.relations.iter().map(|relation| {
        let (head, tail) = aligned.argument_spans(relation).expect("placed arguments");
        link(head, relation.label.expect("a known label"), tail, ontology)
    });
    (entities, links.collect())
}

/// Any answer of the world: gold of the unit, without one entity or with a label changed, as its bits say.
fn mistaken(gold: &Answer, ontology: &Ontology, bits: u64) -> Answer {
    let mut own = gold.clone();
    own.relations.clear();
    if !own.entities.is_empty() {
        let at = bits as usize % own.entities.len();
        if bits & 256 == 0 {
            own.entities.remove(at);
        } else {
            let labels: Vec<_> = ontology.entity_ids().filter(|id| ontology.entity(*id).subtypes.is_empty()).collect();
            if let Some(label) = labels.get(bits as usize / 512 % labels.len().max(1)) {
                own.entities[at].label = *label;
                own.entities[at].subtype = None;
            }
        }
    }
    own
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// From every turn of a wrong answer, following the oracle gives an answer with every mention of gold whose span
    /// was not written with a wrong label, every relation between written mentions, and nothing else that is wrong.
    #[test]
    fn following_the_oracle_gives_the_best_answer_that_is_left(seed in any::<u64>(), bits in any::<u64>()) {
        let world = World::random(seed, 2);
        let documents: &[Document] = &world.documents;
        for document in documents {
            for unit in Unit::all(document, Level::Sentence) {
                let gold = gold(&unit);
                let start = render(&mistaken(&gold, &world.ontology, bits), &world.ontology).text;
                let Some(first) = oracle(&unit, &start, &world.ontology) else { continue };
                for turn in 0..first.turns.len() {
                    let mut text = start.clone();
                    let mut at = turn;
                    // Each step replaces the answer from the turn on by the first right text.
                    while let Some(turn) = oracle(&unit, &text, &world.ontology).expect("canonical").turns.get(at) {
                        prop_assert!(at < 100, "no end: {text}");
                        let right = &turn.right[0];
                        text = format!("{}{}", &text[..turn.window], right.text);
                        at += 1;
                    }
                    let (entities, relations) = items(&text, &unit, &world.ontology);
                    // What stood before the turn stays; what follows is right.
                    let kept = turn.min(start_entities(&start, &unit, &world.ontology));
                    let rest = &entities[kept..];
                    if turn <= kept {
                        prop_assert!(rest.iter().all(|(span, label)| gold
                            .entities
                            .iter()
                            .any(|mention| mention.span == *span && mention.label == *label)));
                        let spans: Vec<_> = entities.iter().map(|(span, _)| *span).collect();
                        prop_assert!(gold.entities.iter().all(|mention| spans.contains(&mention.span)), "{text}");
                    }
                    let records = |span: Span| entities.iter().filter(|(written, _)| *written == Some(span)).count();
                    let possible: BTreeSet<Link> = gold.relations.iter().filter_map(|relation| {
                        let span = |index: u32| gold.entities[index as usize].span;
                        let (head, tail) = (span(relation.head)?, span(relation.tail)?);
                        // Between two mentions on one span there is a relation only where both have their records.
                        let needed = 1 + usize::from(head == tail && relation.head != relation.tail);
                        let written = records(head) >= needed && records(tail) >= needed;
                        written.then(|| link(head, relation.label, tail, &world.ontology))
                    }).collect();
                    if turn <= kept + 1 {
                        prop_assert_eq!(relations, possible, "{}", text);
                    }
                }
            }
        }
    }
}

fn start_entities(text: &str, unit: &Unit, ontology: &Ontology) -> usize {
    items(text, unit, ontology).0.len()
}
