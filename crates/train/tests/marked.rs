//! Tokens of answers in the marked form.

mod texts;

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, Rendered, canonical, decisions, gold, render_as};
use tabpo_corpus::{Level, Span, Unit};
use tabpo_ontology::{AnswerForm, EntityLabelId, RelationLabelId};
use tabpo_roles::{List, Role};
use tabpo_synthetic::ontology;
use tabpo_train::{ExampleFormat, rendered};

use texts::{corpus, formats, tokenizer, tokenizer_of};

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

fn marked(answer: &Answer, unit: &Unit) -> Rendered {
    render_as(answer, unit, ontology(), AnswerForm::Marked).expect("no mentions cross")
}

/// Label tokens of the marks are label tokens, and so is `-`, which stands in place of one.
#[test]
fn tokens_of_marks_have_the_roles_of_their_bytes() {
    let corpus = corpus();
    let units: Vec<Unit<'_>> = corpus.sft.iter().flat_map(|document| Unit::all(document, Level::Sentence)).collect();
    let texts: Vec<(String, Rendered)> =
        units.iter().map(|unit| (unit.text().to_owned(), marked(&gold(unit), unit))).collect();
    let tokenizer = tokenizer(&texts);
    for (prompt, _) in formats(&tokenizer) {
        let format = ExampleFormat::new(&tokenizer, prompt).expect("the format fits");
        let mut counts = [0, 0, 0];
        for (source, answer) in &texts {
            assert_eq!(rendered(&answer.text, ontology()).as_ref(), Some(answer));
            let example = format.example("x", source, answer.into(), &[], 4096).expect("a short example");
            let json = answer.text.find("\n{").expect("the JSON is there");
            let written = |role: Role| -> Vec<&str> {
                let parts = answer.parts.iter().filter(|part| part.role == role && part.range.end <= json);
                parts.map(|part| &answer.text[part.range.clone()]).collect()
            };
            // What the first tokens of a role spell, up to the JSON.
            let (mut spelled, mut length) = (String::new(), 0);
            for (&token, &role) in example.chosen.tokens.iter().zip(&example.chosen.roles) {
                let text = tokenizer.decode(&[token], false).expect("a token");
                length += text.len();
                if length <= json && [Role::EntityLabel, Role::RelationLabel].contains(&role) {
                    spelled.push_str(&text);
                }
            }
            let (entities, relations) = (written(Role::EntityLabel), written(Role::RelationLabel));
            for label in entities.iter().chain(&relations) {
                assert!(spelled.contains(label), "{label} in {spelled}: {}", answer.text);
            }
            let related = relations.iter().filter(|label| **label != "-").count();
            counts[0] += entities.len();
            counts[1] += related;
            counts[2] += relations.len() - related;
        }
        assert!(counts[0] > 80 && counts[1] > 40 && counts[2] > 60, "{counts:?}");
    }
}

/// As for lists: the token at which an answer with the other decision would part.
#[test]
fn the_token_of_a_marked_decision_is_where_the_other_decision_would_part() {
    let corpus = corpus();
    let units: Vec<Unit<'_>> =
        corpus.sft.iter().flat_map(|document| Unit::all(document, Level::Sentence)).take(25).collect();
    let texts: Vec<(String, Rendered)> =
        units.iter().map(|unit| (unit.text().to_owned(), marked(&gold(unit), unit))).collect();
    for size in [275, 500] {
        let tokenizer = tokenizer_of(&texts, size);
        let [(plain, _), _] = formats(&tokenizer);
        let format = ExampleFormat::new(&tokenizer, plain).expect("the format fits");
        let mut checked = [0; 4];
        for unit in &units {
            let (answer, written) = (gold(unit), marked(&gold(unit), unit));
            let tokens = |answer: &Rendered| {
                format.example("x", unit.text(), answer.into(), &[], 4096).expect("a short example").chosen
            };
            let mut chosen = tokens(&written);
            format.mark_decisions(unit.text(), &written, ontology(), &mut chosen).expect("the texts fit");
            let marks = chosen.decisions.clone().expect("marked");
            let taken = decisions(&written.text, ontology());
            assert_eq!(marks.len(), taken.len());
            for ((token, decision), taken) in marks.into_iter().zip(&taken) {
                assert_eq!(decision, taken.decision());
                let place = &taken.place;
                let rival = match (decision.list, decision.opens) {
                    (List::Entities, true) => without(&answer, place.records as u32),
                    (List::Entities, false) => {
                        // The word before which no bracket opens, found in the text without its marks.
                        let marks = written.text[..place.at].matches('|').count();
                        let mut before = String::new();
                        for part in written.text[..place.at].split('[') {
                            let (text, rest) = part.split_once('|').unwrap_or((part, ""));
                            before.push_str(text);
                            before.push_str(rest.split_once(']').map_or("", |(_, rest)| rest));
                        }
                        let words = unit.words();
                        let Ok(word) = words.binary_search_by_key(&before.len(), |word| word.start) else { continue };
                        assert!(marks.is_multiple_of(2));
                        let start = unit.span().start + word as u32;
                        let mut longer = answer.clone();
                        longer.entities.push(AnswerEntity {
                            text: String::new(),
                            span: Some(Span::new(start, start + 1)),
                            label: EntityLabelId(0),
                            subtype: None,
                            occurrence: None,
                        });
                        canonical(unit, longer.entities, longer.relations)
                    }
                    (List::Relations, opens) => {
                        let line = &written.text[place.start..place.at];
                        let numbers: Vec<u32> =
                            line.split(['|', ' ']).take(2).map(|number| number.parse().expect("a number")).collect();
                        let forth = line.matches('|').count() == 1;
                        let [head, tail] = if forth { [numbers[0], numbers[1]] } else { [numbers[1], numbers[0]] };
                        let (head, tail) = (head - 1, tail - 1);
                        let mut other = answer.clone();
                        if opens {
                            // A pair further apart would have no line at all.
                            if head.abs_diff(tail) > 2 {
                                continue;
                            }
                            other.relations.retain(|relation| (relation.head, relation.tail) != (head, tail));
                        } else {
                            other.relations.push(AnswerRelation { head, tail, label: RelationLabelId(0) });
                        }
                        canonical(unit, other.entities, other.relations)
                    }
                };
                let rival = tokens(&marked(&rival, unit)).tokens;
                let parting = chosen.tokens.iter().zip(&rival).take_while(|(a, b)| a == b).count();
                assert_eq!(parting, token, "{} {decision:?} at {}, {size} tokens", written.text, place.at);
                checked[usize::from(decision.list == List::Relations) * 2 + usize::from(decision.opens)] += 1;
            }
        }
        assert!(checked.iter().all(|&count| count > 15), "{checked:?}");
    }
}
