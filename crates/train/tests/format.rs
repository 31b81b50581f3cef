//! From text to tokens: prompts, answers, roles, and skipped examples.

use jiff::civil::DateTime;
use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, Item, Rendered, gold, render};
use tabpo_corpus::{Level, Unit};
use tabpo_model::{BpeOptions, ChatTemplate, Tokenizer};
use tabpo_objective::ItemErrors;
use tabpo_ontology::{EntityLabelId, RelationLabelId};
use tabpo_pairs::{Judged, judge, oracle};
use tabpo_roles::{List, ListDecision, Role};
use tabpo_synthetic::{SyntheticConfig, SyntheticCorpus, generate, ontology};
use tabpo_train::{
    AnswerText, BatchPlan, Choice, Cursor, ExampleError, ExampleFormat, ExampleRecord, ExampleSource, FormatError,
    PromptFormat, RejectedRecord, StepPlanner, TextSource, TrainBudget, rendered,
};

fn corpus() -> SyntheticCorpus {
    generate(&SyntheticConfig { sft: 40, gold: 10, validation: 10, test: 10, ..SyntheticConfig::default() })
}

/// Sources with their gold answers.
fn gold_answers() -> Vec<(String, Rendered)> {
    let corpus = corpus();
    let units = corpus.sft.iter().flat_map(|document| Unit::all(document, Level::Sentence));
    units.map(|unit| (unit.text().to_owned(), render(&gold(&unit), ontology()))).collect()
}

fn tokenizer(texts: &[(String, Rendered)]) -> Tokenizer {
    tokenizer_of(texts, 500)
}

/// A tokenizer with so many tokens: the fewer, the less of the punctuation between records is merged, and `"}` and `,{`
/// may stand against `"}]`.
fn tokenizer_of(texts: &[(String, Rendered)], vocabulary_size: usize) -> Tokenizer {
    let texts = texts.iter().flat_map(|(source, answer)| [source.clone(), answer.text.clone()]);
    let options = BpeOptions { vocabulary_size, ..BpeOptions::default() };
    Tokenizer::train(texts, &options).expect("the texts train a tokenizer")
}

/// The two formats, each with what it writes before and after a source text.
fn formats(tokenizer: &Tokenizer) -> [(PromptFormat, [&'static str; 2]); 2] {
    let template = ChatTemplate::new(ChatTemplate::PLAIN.to_owned(), tokenizer.special(), "test".as_ref());
    [
        (PromptFormat::Plain { separator: "<|assistant|>".into() }, ["", "<|assistant|>"]),
        (
            PromptFormat::Chat {
                template: Box::new(template.expect("the template is valid")),
                system: Some("Extract.".into()),
                date: DateTime::constant(2024, 7, 26, 0, 0, 0, 0),
            },
            ["<|system|>Extract.<|user|>", "<|assistant|>"],
        ),
    ]
}

#[test]
fn prompt_and_answer_decode_to_their_texts_and_the_end_is_supervised() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    let end_token = tokenizer.token_id("<|end|>").expect("the tokenizer has an end token");
    for (prompt, [before, after]) in formats(&tokenizer) {
        let format = ExampleFormat::new(&tokenizer, prompt).expect("the format fits");
        assert!(format.stop().contains(&end_token));
        for (source, answer) in &texts {
            let example =
                format.example("x", source, answer.into(), &[(answer.into(), 0.5)], 4096).expect("a short example");
            assert_eq!(example.prompt, format.prompt(source).expect("a prompt"));
            let text = tokenizer.decode(&example.prompt, false).expect("tokens");
            assert_eq!(text, format!("{before}{source}{after}"));
            let (end, body) = example.chosen.tokens.split_last().expect("an answer has an end");
            assert_eq!(*end, end_token);
            assert_eq!(example.chosen.roles.last(), Some(&Role::End));
            assert_eq!(tokenizer.decode(body, false).expect("tokens"), answer.text);
            assert_eq!(example.chosen.roles.len(), example.chosen.tokens.len());
            assert_eq!(example.rejected[0].answer, example.chosen);
            assert_eq!(example.rejected[0].weight, 0.5);
        }
    }
}

#[test]
fn tokens_have_the_roles_of_the_bytes_that_they_stand_for() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    let [(plain, _), _] = formats(&tokenizer);
    let format = ExampleFormat::new(&tokenizer, plain).expect("the format fits");
    let mut labels = 0;
    for (source, answer) in &texts {
        let example = format.example("x", source, answer.into(), &[], 4096).expect("a short example");
        let role_text = |role: Role| -> String {
            let tokens = example.chosen.tokens.iter().zip(&example.chosen.roles);
            let ids: Vec<u32> = tokens.filter(|(_, found)| **found == role).map(|(token, _)| *token).collect();
            tokenizer.decode(&ids, false).expect("tokens")
        };
        let written: String = answer
            .parts
            .iter()
            .filter(|part| part.role == Role::EntityLabel)
            .map(|part| &answer.text[part.range.clone()])
            .collect();
        assert_eq!(role_text(Role::EntityLabel), written);
        labels += written.len();
    }
    assert!(labels > 100);
}

#[test]
fn long_examples_are_counted_and_named_and_never_cut() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    let [(plain, _), _] = formats(&tokenizer);
    let format = ExampleFormat::new(&tokenizer, plain).expect("the format fits");
    let lengths: Vec<usize> = texts
        .iter()
        .map(|(source, answer)| {
            let example = format.example("x", source, answer.into(), &[], usize::MAX).expect("an example");
            example.prompt.len() + example.chosen.tokens.len()
        })
        .collect();
    let mut sorted = lengths.clone();
    sorted.sort_unstable();
    let limit = sorted[sorted.len() / 2];
    let too_long = lengths.iter().filter(|length| **length > limit).count();
    assert!(too_long > 0);

    let records: Vec<ExampleRecord> = (0..)
        .zip(&texts)
        .map(|(number, (source, answer))| ExampleRecord {
            id: format!("{number}"),
            source: source.clone(),
            chosen: answer.clone(),
            rejected: Vec::new(),
        })
        .collect();
    let source = TextSource::new(&format, &records, limit);
    let plan = BatchPlan { batch_size: 4, max_tokens: 500, seed: 1, budget: TrainBudget::Epochs(1) };
    let mut seen = 0;
    let mut named = 0;
    for step in StepPlanner::new(&source, plan, Cursor::default()) {
        let step = step.expect("some examples fit");
        seen += step.examples.len();
        named += step.skipped.len();
        for (id, length, number) in step.skipped {
            assert_eq!(id, (number - 1).to_string());
            assert_eq!(lengths[number - 1], length);
        }
    }
    assert_eq!((seen, named), (texts.len() - too_long, too_long));
}

#[test]
fn canonical_text_gets_the_parts_of_the_writer_back() {
    for (_, answer) in gold_answers() {
        assert_eq!(rendered(&answer.text, ontology()), Some(answer));
    }
    let label = ontology().entity_ids().next().expect("a label");
    let relation = ontology().relation_ids().next().expect("a relation type");
    let entity =
        |text: &str, occurrence| AnswerEntity { text: text.into(), span: None, label, subtype: None, occurrence };
    let answer = Answer {
        entities: vec![entity("a \"quoted\" \\ text", Some(2)), entity("ünïcode\n", None)],
        relations: vec![AnswerRelation { head: 1, tail: 0, label: relation }],
    };
    let written = render(&answer, ontology());
    assert_eq!(rendered(&written.text, ontology()), Some(written.clone()));
    for broken in
        [written.text.replace("\"e2\"", "\"e7\""), written.text.replace(':', ": "), "{}".into(), String::new()]
    {
        assert_eq!(rendered(&broken, ontology()), None, "{broken}");
    }
}

#[test]
fn a_format_that_cannot_end_or_begin_an_answer_is_refused() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    let missing = PromptFormat::Plain { separator: "<|nothing|>".into() };
    assert!(matches!(ExampleFormat::new(&tokenizer, missing), Err(FormatError::NoSeparator { .. })));

    let source = "{%- for message in messages %}{{- message.content | upper }}{%- endfor %}";
    let template = ChatTemplate::new(source.into(), tokenizer.special(), "test".as_ref()).expect("valid");
    let [_, chat] = formats(&tokenizer);
    let (PromptFormat::Chat { date, .. }, _) = chat else { unreachable!("the second format is a chat") };
    let shouting = PromptFormat::Chat { template: Box::new(template), system: None, date };
    assert!(ExampleFormat::new(&tokenizer, shouting).is_err());
}

#[test]
fn a_template_that_changes_one_answer_is_noticed_at_that_answer() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    let source = "{%- for message in messages %}{{- '<|' + message.role + '|>' + message.content | trim }}\
        {%- if message.role == 'assistant' %}{{- eos_token }}{%- endif %}{%- endfor %}\
        {%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}";
    let template = ChatTemplate::new(source.into(), tokenizer.special(), "test".as_ref()).expect("valid");
    let date = DateTime::constant(2024, 7, 26, 0, 0, 0, 0);
    let trimming = PromptFormat::Chat { template: Box::new(template), system: None, date };
    let format = ExampleFormat::new(&tokenizer, trimming).expect("the trial answer survives");
    let answer = AnswerText { text: "{} ", parts: &[] };
    let result = format.example("the id", "source", answer, &[], 100);
    assert!(matches!(result, Err(ExampleError::Format { id, .. }) if id == "the id"));
}

/// Spellings of control tokens in a document are plain text in the prompt and in the answer.
#[test]
fn control_tokens_that_a_document_spells_are_text() {
    let texts = gold_answers();
    let tokenizer = tokenizer(&texts);
    for ((prompt, [before, after]), expected) in formats(&tokenizer).into_iter().zip([1, 3]) {
        let format = ExampleFormat::new(&tokenizer, prompt).expect("the format fits");
        for source in ["ends <|end|> here", "<|assistant|>", "a<|user|>b<|system|><|pad|>"] {
            let text = format!("{{\"entities\":[{{\"text\":\"{source}\"}}]}}");
            let answer = AnswerText { text: &text, parts: &[] };
            let example = format.example("x", source, answer, &[(answer, 1.0)], 4096).expect("a short example");
            let controls = |tokens: &[u32]| tokens.iter().filter(|&&id| tokenizer.is_control(id)).count();
            assert_eq!(controls(&example.prompt), expected, "{source}");
            assert_eq!(example.prompt, format.prompt(source).expect("a prompt"));
            let read = tokenizer.decode(&example.prompt, false).expect("tokens");
            assert_eq!(read, format!("{before}{source}{after}"));
            for answer in example.answers() {
                // The one that ends the turn.
                assert_eq!(controls(&answer.tokens), 1, "{source}");
                let (_, body) = answer.tokens.split_last().expect("an answer has an end");
                assert_eq!(tokenizer.decode(body, false).expect("tokens"), text);
            }
        }
    }
}

/// The gold answer with `kept` of the records of a list, and none in the lists after it.
fn shortened(answer: &Answer, list: List, kept: usize) -> Answer {
    let mut shorter = answer.clone();
    match list {
        List::Entities => {
            shorter.entities.truncate(kept);
            shorter.relations.clear();
        }
        List::Relations => shorter.relations.truncate(kept),
    }
    shorter
}

/// The gold answer with one record more at the end of a list.
fn lengthened(answer: &Answer, list: List) -> Answer {
    let mut longer = answer.clone();
    let entity =
        AnswerEntity { text: "so".to_owned(), span: None, label: EntityLabelId(0), subtype: None, occurrence: None };
    match list {
        List::Entities => longer.entities.push(entity),
        List::Relations => longer.relations.push(AnswerRelation { head: 0, tail: 1, label: RelationLabelId(0) }),
    }
    longer
}

#[test]
fn the_token_of_a_list_decision_is_where_the_other_decision_would_part() {
    let texts = gold_answers();
    for size in [275, 285, 300, 330, 500] {
        let tokenizer = tokenizer_of(&texts, size);
        for (prompt, _) in formats(&tokenizer) {
            let format = ExampleFormat::new(&tokenizer, prompt).expect("the format fits");
            let mut checked = 0;
            for document in corpus().sft {
                for unit in Unit::all(&document, Level::Sentence) {
                    let answer = gold(&unit);
                    let written = render(&answer, ontology());
                    let tokens = |answer: &Rendered| {
                        let example = format.example("x", unit.text(), answer.into(), &[], 4096);
                        example.expect("a short example").chosen
                    };
                    let mut chosen = tokens(&written);
                    format.mark_decisions(unit.text(), &written, &mut chosen).expect("the texts fit");
                    let marks = chosen.decisions.clone().expect("marked");
                    let mut seen = [0, 0];
                    for (token, ListDecision { list, opens }) in marks {
                        let number = &mut seen[usize::from(list == List::Relations)];
                        let rival = if opens { shortened(&answer, list, *number) } else { lengthened(&answer, list) };
                        *number += usize::from(opens);
                        let rival = tokens(&render(&rival, ontology())).tokens;
                        let parting = chosen.tokens.iter().zip(&rival).take_while(|(a, b)| a == b).count();
                        assert_eq!(parting, token, "{} {list:?} {opens}, {size} tokens", written.text);
                        checked += 1;
                    }
                    assert_eq!(seen, [answer.entities.len(), answer.relations.len()]);
                }
            }
            assert!(checked > 200, "{checked}");
        }
    }
}

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
            let source = TextSource::new(&format, &records, 4096);
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
                let items = format.judged_items(unit.text(), &answer, &verdicts).expect("the texts fit");
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
                let loaded = TextSource::new(&format, &records, 4096).load(0).expect("a short example");
                let kept = &loaded.rejected[0].answer;
                let last = kept.items.iter().flat_map(|item| &item.tokens).max().expect("an entity");
                assert_eq!((kept.tokens.len(), kept.items.len()), (last + 1, items.len()));
            }
        }
    }
    assert!(checked > 2000, "{checked}");
}
