//! A model's own answers as examples: the right tokens after its mistakes, and the tokens that decide about its items.

mod texts;

use tabpo_answer::{Answer, Item, Rendered, gold, render};
use tabpo_corpus::{Level, Unit};
use tabpo_objective::ItemErrors;
use tabpo_pairs::{Judged, judge, oracle};
use tabpo_roles::Role;
use tabpo_synthetic::ontology;
use tabpo_train::{Choice, ExampleFormat, ExampleRecord, ExampleSource, RejectedRecord, TextSource, rendered};

use texts::{corpus, formats, gold_answers, tokenizer, tokenizer_of};

/// The gold answer without its entity at `at`, and without the relations of that.
fn without(answer: &Answer, at: u32) -> Answer {
    let mut shorter = answer.clone();
    shorter.entities.remove(at as usize);
    shorter.relations.retain(|relation| relation.head != at && relation.tail != at);
    for end in shorter.relations.iter_mut().flat_map(|relation| [&mut relation.head, &mut relation.tail]) {
        *end -= u32::from(*end > at);
    }
    shorter
}

#[test]
fn the_right_tokens_after_a_mistake_are_those_of_the_right_answers() {
    let texts = gold_answers();
    let (mut checked, mut of_links) = (0, 0);
    for size in [285, 330, 500] {
        let tokenizer = tokenizer_of(&texts, size);
        let [(plain, _), _] = formats(&tokenizer);
        let format = ExampleFormat::new(&tokenizer, plain).expect("the format fits");
        for document in corpus().sft {
            for unit in Unit::all(&document, Level::Sentence) {
                let gold = gold(&unit);
                if gold.entities.len() < 2 {
                    continue;
                }
                let own = render(&without(&gold, 0), ontology());
                let oracle = oracle(&unit, &own.text, ontology()).expect("canonical");
                let tokens = |answer: &Rendered| {
                    let example = format.example("x", unit.text(), answer.into(), &[], 4096);
                    example.expect("a short example").chosen
                };
                let written = tokens(&own);
                let right: Vec<Vec<u32>> = oracle
                    .turns
                    .iter()
                    .flat_map(|turn| {
                        turn.right.iter().map(|right| format!("{}{}", &own.text[..turn.window], right.text))
                    })
                    .map(|text| tokens(&rendered(&text, ontology()).expect("canonical")).tokens)
                    .collect();
                let choices = format.choices(unit.text(), &own, &oracle.turns).expect("the texts fit");
                for Choice { position, tokens } in &choices {
                    for token in tokens {
                        let prefix = written.tokens[..*position].iter().chain([token]).copied().collect::<Vec<u32>>();
                        assert!(right.iter().any(|right| right.starts_with(&prefix)), "{}, {size} tokens", own.text);
                        checked += 1;
                    }
                    of_links += usize::from(written.roles[*position] == Role::Link);
                }
                // The first token has a choice, and the ids of relations do where one is left to write.
                assert_eq!(choices[0].position, 0);
            }
        }
    }
    assert!(checked > 2000 && of_links > 50, "{checked} {of_links}");
}

#[test]
fn own_answers_are_kept_as_far_as_something_is_right_after_the_first_mistake() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    let [(plain, _), _] = formats(&tokenizer);
    let format = ExampleFormat::new(&tokenizer, plain).expect("the format fits");
    let mut with_choices = 0;
    for document in corpus().sft {
        for unit in Unit::all(&document, Level::Sentence) {
            let gold = gold(&unit);
            if gold.entities.is_empty() {
                continue;
            }
            let record = |own: &Answer| {
                let oracle = oracle(&unit, &render(own, ontology()).text, ontology()).expect("canonical");
                let (answer, turns) = (oracle.answer, oracle.turns);
                let (errors, verdicts) = (ItemErrors::default(), Vec::new());
                let rejected = vec![RejectedRecord { answer, weight: 1.0, errors, turns, verdicts }];
                let (id, source) = ("x".to_owned(), unit.text().to_owned());
                ExampleRecord { id, source, chosen: render(&gold, ontology()), rejected }
            };
            let records = [record(&gold), record(&without(&gold, 0))];
            let source = TextSource::new(&format, &records, ontology(), 4096);
            let [right, wrong] = [0, 1].map(|index| source.load(index).expect("a short example"));
            assert_eq!(right.rejected[0].answer, right.chosen);
            let (own, chosen) = (&wrong.rejected[0].answer, &wrong.chosen);
            let parting = own.tokens.iter().zip(&chosen.tokens).take_while(|(a, b)| a == b).count();
            assert!(own.choices.iter().all(|choice| choice.position > parting));
            match own.choices.last() {
                Some(last) => {
                    assert_eq!(own.tokens.len(), last.position + 1);
                    assert_eq!(own.roles.len(), own.tokens.len());
                    with_choices += 1;
                }
                None => assert_eq!(own, chosen),
            }
        }
    }
    assert!(with_choices > 20, "{with_choices}");
}

/// The answers that differ from `own` in one decision about the entity at `at`: another label, a longer text, the list
/// closed before it; or, for a relation, another type, other arguments, the list closed before it.
fn one_decision_apart(own: &Answer, item: Item) -> Vec<Answer> {
    let mut others = Vec::new();
    let mut with = |change: &dyn Fn(&mut Answer)| {
        let mut other = own.clone();
        change(&mut other);
        others.push(other);
    };
    match item {
        Item::Entity(at) => {
            let at = at as usize;
            for label in ontology().entity_ids().filter(|id| *id != own.entities[at].label) {
                with(&|other| other.entities[at].label = label);
            }
            with(&|other| other.entities[at].text.push_str(" zz"));
            with(&|other| {
                other.entities.truncate(at);
                other.relations.clear();
            });
        }
        Item::Relation(at) => {
            let at = at as usize;
            let relation = own.relations[at];
            for label in ontology().relation_ids().filter(|id| *id != relation.label) {
                with(&|other| other.relations[at].label = label);
            }
            with(&|other| other.relations[at].head = relation.tail);
            with(&|other| other.relations[at].tail = relation.head);
            with(&|other| other.relations.truncate(at));
        }
        Item::Frame => {}
    }
    others
}

#[test]
fn an_item_is_decided_where_answers_with_another_decision_part_from_it() {
    let texts = gold_answers();
    let mut checked = 0;
    for size in [285, 330, 500] {
        let tokenizer = tokenizer_of(&texts, size);
        let [(plain, _), _] = formats(&tokenizer);
        let format = ExampleFormat::new(&tokenizer, plain).expect("the format fits");
        for document in corpus().sft {
            for unit in Unit::all(&document, Level::Sentence) {
                let gold = gold(&unit);
                if gold.entities.len() < 2 {
                    continue;
                }
                let own = without(&gold, 0);
                let judged = judge(&unit, &render(&own, ontology()).text, ontology()).expect("canonical");
                let Judged { answer, verdicts } = judged;
                let tokens = |answer: &Rendered| {
                    let example = format.example("x", unit.text(), answer.into(), &[], 4096);
                    example.expect("a short example").chosen
                };
                let written = tokens(&answer);
                let items = format.judged_items(unit.text(), &answer, &verdicts, ontology()).expect("the texts fit");
                assert_eq!(items.len(), own.entities.len() + own.relations.len());
                for (verdict, judged) in verdicts.iter().zip(&items) {
                    // What is left of gold is right.
                    assert!(judged.right);
                    for other in one_decision_apart(&own, verdict.item) {
                        let other = tokens(&render(&other, ontology())).tokens;
                        let parting = written.tokens.iter().zip(&other).take_while(|(a, b)| a == b).count();
                        assert!(judged.tokens.contains(&parting), "{}: {parting} of {judged:?}", answer.text);
                        checked += 1;
                    }
                    // Of the format, only what opens the record and what ends its text.
                    let scaffold = judged.tokens.iter().filter(|token| written.roles[**token] == Role::Scaffold);
                    assert!(scaffold.count() <= 2, "{}: {judged:?}", answer.text);
                }
                // A wrong item is known as one.
                let mut wrong = own.clone();
                wrong.entities[0].label = ontology().entity_ids().find(|id| *id != own.entities[0].label).expect("two");
                let judged = judge(&unit, &render(&wrong, ontology()).text, ontology()).expect("canonical");
                assert!(judged.verdicts.iter().enumerate().all(|(number, verdict)| verdict.right == (number > 0)));
                // In training, the answer ends with the last token that decides about anything.
                let (answer, verdicts) = (judged.answer, judged.verdicts);
                let (weight, errors, turns) = (1.0, ItemErrors::default(), Vec::new());
                let (id, source, chosen) = ("x".to_owned(), unit.text().to_owned(), render(&gold, ontology()));
                let rejected = vec![RejectedRecord { answer, weight, errors, turns, verdicts }];
                let records = [ExampleRecord { id, source, chosen, rejected }];
                let loaded = TextSource::new(&format, &records, ontology(), 4096).load(0).expect("a short example");
                let kept = &loaded.rejected[0].answer;
                let last = kept.items.iter().flat_map(|item| &item.tokens).max().expect("an entity");
                assert_eq!((kept.tokens.len(), kept.items.len()), (last + 1, items.len()));
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}
