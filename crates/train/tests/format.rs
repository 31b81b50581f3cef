//! From text to tokens: prompts, answers, roles, and skipped examples.

mod texts;

use jiff::civil::DateTime;
use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, Rendered, gold, render};
use tabpo_corpus::{Level, Unit};
use tabpo_model::ChatTemplate;
use tabpo_ontology::{EntityLabelId, RelationLabelId};
use tabpo_roles::{List, ListDecision, Role};
use tabpo_synthetic::ontology;
use tabpo_train::{
    AnswerText, BatchPlan, Cursor, ExampleError, ExampleFormat, ExampleRecord, FormatError, PromptFormat, StepPlanner,
    TextSource, TrainBudget, rendered,
};

use texts::{corpus, formats, gold_answers, tokenizer, tokenizer_of};

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
    let source = TextSource::new(&format, &records, ontology(), limit);
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
                    format.mark_decisions(unit.text(), &written, ontology(), &mut chosen).expect("the texts fit");
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
