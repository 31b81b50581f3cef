//! Constrained completions are valid answers, whatever the model prefers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tabpo_answer::{MarkedGrammar, Tier, align, gold, parse, parse_as, read_canonical, render_as};
use tabpo_corpus::{Document, Level, Mention, Relation, Span, Unit};
use tabpo_engine::{Completion, FinishReason, GenerateOptions, HostWorker, Model, Request, Sampling, generate};
use tabpo_model::{BpeOptions, Constraint, GrammarCompiler, Guide, ModelConfig, Tokenizer};
use tabpo_ontology::{
    AnswerForm, AnswerGrammar, AnswerLimits, Arguments, EntityLabelId, Ontology, RelationLabelId, SubtypeId,
};

fn constraint(ontology: &Ontology, source: &str, words: &[Range<usize>], limits: AnswerLimits) -> Constraint {
    let grammar = AnswerGrammar::new(Arc::new(ontology.clone()), source, words, limits);
    Constraint { grammar: grammar.first(), next: Some(Arc::new(move |text, stage| grammar.next(text, stage))) }
}

struct Setup {
    tokenizer: Tokenizer,
    model: Model<f32>,
    compiler: GrammarCompiler,
}

/// A random model, for which all tokens are about equally likely.
fn setup(texts: &[String], vocabulary: usize) -> Setup {
    let options = BpeOptions { vocabulary_size: vocabulary, ..BpeOptions::default() };
    let tokenizer = Tokenizer::train(texts, &options).expect("training");
    let model = Model::initialise(ModelConfig::small(tokenizer.vocabulary_size() + 7, 32, 1, 2), 5);
    let compiler = GrammarCompiler::new(&tokenizer, model.config.vocabulary, tokenizer.stop_ids()).expect("a compiler");
    Setup { tokenizer, model, compiler }
}

fn complete(setup: &Setup, requests: &[Request], seed: u64, batch: usize) -> Vec<Completion> {
    let options = GenerateOptions {
        max_new_tokens: 1500,
        sampling: Sampling { temperature: 1.0, top_p: 1.0, seed },
        stop: setup.tokenizer.stop_ids().to_vec(),
        batch,
        log_probs: true,
    };
    let mut worker = HostWorker::frozen(setup.model.clone(), None);
    generate(&mut worker, Some(&setup.compiler), requests, &options, |_| {}, || false).expect("generation")
}

#[test]
fn a_random_model_writes_valid_grounded_answers() {
    for arguments in Arguments::ALL {
        valid_grounded_answers(&Ontology { arguments, ..tabpo_synthetic::ontology().clone() });
    }
}

fn valid_grounded_answers(ontology: &Ontology) {
    let corpus = tabpo_synthetic::generate(&tabpo_synthetic::SyntheticConfig {
        sft: 60,
        gold: 0,
        validation: 12,
        test: 0,
        ..Default::default()
    });
    let answers = corpus
        .sft
        .iter()
        .flat_map(|document| Unit::all(document, Level::Sentence))
        .flat_map(|unit| [unit.text().to_owned(), tabpo_answer::render(&tabpo_answer::gold(&unit), ontology).text]);
    let setup = setup(&answers.collect::<Vec<_>>(), 600);
    let units: Vec<Unit<'_>> =
        corpus.validation.iter().flat_map(|document| Unit::all(document, Level::Sentence)).collect();
    let limits = AnswerLimits { entities: 5, relations: 4 };
    let requests: Vec<Request> = units
        .iter()
        .map(|unit| Request {
            prompt: setup.tokenizer.encode(unit.text()).expect("encoding"),
            constraint: Some(constraint(ontology, unit.text(), &unit.words(), limits)),
        })
        .collect();
    let completions = complete(&setup, &requests, 1, 4);
    assert_eq!(completions.len(), 12);
    let mut relations = 0;
    for (unit, completion) in units.iter().zip(&completions) {
        assert_eq!(completion.finish, FinishReason::Stop);
        assert_eq!(completion.log_probs.len(), completion.tokens.len());
        let text = setup.tokenizer.decode(completion.text_tokens(), false).expect("decoding");
        let parsed = parse(&text, ontology);
        let aligned = align(&parsed, unit, ontology);
        assert!(aligned.valid_at(Tier::Grounding), "{text}\n{}\n{:?}", unit.text(), aligned.faults);
        assert!(!text.contains(": ") && !text.contains(", \""), "compact: {text}");
        relations += parsed.relations.len();
    }
    assert!(relations > 1, "a random model writes some relations: {relations}");
    let tokens = |completions: &[Completion]| completions.iter().map(|one| one.tokens.clone()).collect::<Vec<_>>();
    assert_eq!(tokens(&completions), tokens(&complete(&setup, &requests, 1, 3)), "batching changes nothing");
    assert_ne!(tokens(&completions), tokens(&complete(&setup, &requests, 2, 4)), "the seed does");
}

fn allows(guide: &mut Guide, token: u32) -> bool {
    guide.mask().expect("a mask").words()[token as usize / 32] >> (token % 32) & 1 == 1
}

/// Gold answers follow the grammar of every stage: their tokens are always allowed.
#[test]
fn every_gold_answer_is_allowed() {
    for arguments in Arguments::ALL {
        gold_answers_are_allowed(&Ontology { arguments, ..tabpo_synthetic::ontology().clone() });
    }
}

fn gold_answers_are_allowed(ontology: &Ontology) {
    let corpus = tabpo_synthetic::generate(&tabpo_synthetic::SyntheticConfig {
        sft: 80,
        gold: 0,
        validation: 0,
        test: 0,
        bias: 0.0,
        ..Default::default()
    });
    let units: Vec<Unit<'_>> = corpus.sft.iter().flat_map(|document| Unit::all(document, Level::Sentence)).collect();
    let texts: Vec<String> =
        units.iter().map(|unit| tabpo_answer::render(&tabpo_answer::gold(unit), ontology).text).collect();
    let setup = setup(&texts, 700);
    for (unit, text) in units.iter().zip(&texts) {
        let words = unit.words();
        let constraint = constraint(ontology, unit.text(), &words, AnswerLimits::for_words(words.len()));
        let mut guide = setup.compiler.guide(&constraint).expect("the grammar compiles");
        for token in setup.tokenizer.encode(text).expect("encoding") {
            assert!(allows(&mut guide, token), "{:?} in {text}", setup.tokenizer.token(token));
            assert!(guide.take(token).expect("a token"), "{:?} in {text}", setup.tokenizer.token(token));
        }
        assert!(allows(&mut guide, setup.tokenizer.stop_ids()[0]), "{text} may end");
        assert_eq!(guide.allowed().expect("a mask"), 1, "{text} must end");
    }
}

const PROJECTS: &str = r#"
[ontology]
name = "projects"

[keys]
type = "Code"
subtype = "Sub-code"
text = "Span"

[[entity]]
name = "Person"

[[entity]]
name = "Partner/ship (joint)"
subtypes = ["sign-off", "share, care"]

[[relation]]
name = "leads"
domain = ["Person"]
range = ["Partner/ship (joint)"]
constraint = "hard"
"#;

/// Hard signatures, sub-labels, renamed keys, and a source full of characters that JSON escapes.
#[test]
fn hard_signatures_and_escapes() {
    for arguments in Arguments::ALL {
        let projects = Ontology::parse(PROJECTS, "projects.toml").expect("an ontology");
        answers_keep_to(&Ontology { arguments, ..projects });
    }
}

fn answers_keep_to(ontology: &Ontology) {
    let source = "\"Zoë\" – said C:\\new {x} ], naïve\tend";
    let mut words = Vec::new();
    for word in source.split([' ', '\t']) {
        let start = word.as_ptr() as usize - source.as_ptr() as usize;
        words.push(start..start + word.len());
    }
    let setup = setup(&["x".to_owned()], 261);
    let limits = AnswerLimits { entities: 3, relations: 2 };
    let requests: Vec<Request> = (0..16)
        .map(|_| Request { prompt: vec![5], constraint: Some(constraint(ontology, source, &words, limits)) })
        .collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for completion in complete(&setup, &requests, 3, 8) {
        assert_eq!(completion.finish, FinishReason::Stop);
        let text = setup.tokenizer.decode(completion.text_tokens(), false).expect("decoding");
        let parsed = parse(&text, ontology);
        assert!(parsed.valid_at(Tier::References), "{text}: {:?}", parsed.faults);
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let entities = answer["entities"].as_array().expect("a list");
        for (index, entity) in entities.iter().enumerate() {
            let id = (ontology.arguments == Arguments::Ids).then(|| format!("e{}", index + 1));
            assert_eq!(entity.get("id").and_then(|id| id.as_str()), id.as_deref());
            let span = entity["Span"].as_str().expect("a text");
            assert!(source.contains(span) && !span.is_empty() && span.trim() == span, "{span:?}");
            *seen.entry(if entity["Code"] == "Person" { "person" } else { "partnership" }).or_default() += 1;
            assert_eq!(entity.get("Sub-code").is_some(), entity["Code"] != "Person");
        }
        for relation in answer["relations"].as_array().expect("a list") {
            let naming = if ontology.arguments == Arguments::Ids { "id" } else { "Span" };
            let code = |key: &str, number: &str| {
                let mut named = entities.iter().filter(|entity| entity[naming] == relation[key]);
                let number = relation.get(number).map_or(1, |number| number.as_u64().expect("a number"));
                &named.nth(number as usize - 1).expect("an entity of the answer")["Code"]
            };
            assert_eq!(code("head", "head_number"), "Person");
            assert_eq!(code("tail", "tail_number"), "Partner/ship (joint)");
            *seen.entry("relation").or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

fn marked(ontology: &Ontology, unit: &Unit, limits: AnswerLimits) -> Constraint {
    let grammar = MarkedGrammar::new(Arc::new(ontology.clone()), unit, limits);
    Constraint { grammar: grammar.first(), next: Some(Arc::new(move |text, stage| grammar.next(text, stage))) }
}

/// A document whose text is full of marks and escapes, in which mentions lie inside each other and on the same words.
fn difficult() -> Document {
    let text = "[Zoë] said: C:\\new| x\n& \"y\" x end".to_owned();
    let mut document = Document { key: "d".into(), text, ..Document::default() };
    for word in document.text.split([' ', '\n']) {
        let start = (word.as_ptr() as usize - document.text.as_ptr() as usize) as u32;
        document.tokens.push(start..start + word.len() as u32);
    }
    document.sentences = vec![Span::new(0, document.tokens.len() as u32)];
    let mention = |start, end, label, subtype: Option<u16>| Mention {
        span: Span::new(start, end),
        label: EntityLabelId(label),
        subtype: subtype.map(SubtypeId),
    };
    document.mentions = vec![
        mention(0, 1, 0, None),
        mention(0, 1, 1, Some(1)),
        mention(0, 4, 1, Some(0)),
        mention(6, 7, 0, None),
        mention(7, 8, 1, Some(0)),
    ];
    let relation = |head, tail| Relation { head, tail, label: RelationLabelId(0) };
    document.relations = vec![relation(0, 2), relation(0, 4), relation(3, 1)];
    document
}

/// Gold answers in the marked form follow the grammar of every stage, and nothing else may follow them.
#[test]
fn every_marked_gold_answer_is_allowed() {
    let synthetic = tabpo_synthetic::ontology();
    let corpus = tabpo_synthetic::generate(&tabpo_synthetic::SyntheticConfig {
        sft: 16,
        gold: 0,
        validation: 0,
        test: 0,
        bias: 0.0,
        ..Default::default()
    });
    let projects = Ontology::parse(PROJECTS, "projects.toml").expect("an ontology");
    let mut unrelated = projects.clone();
    unrelated.relations.clear();
    let (linked, mut unlinked) = (difficult(), difficult());
    unlinked.relations.clear();
    let units = corpus.sft.iter().flat_map(|document| Unit::all(document, Level::Sentence));
    let mut examples: Vec<(&Ontology, Unit<'_>)> = units.map(|unit| (synthetic, unit)).collect();
    examples.push((&projects, Unit { document: &linked, sentence: None }));
    examples.push((&unrelated, Unit { document: &unlinked, sentence: None }));
    let written = |(ontology, unit): &(&Ontology, Unit<'_>)| {
        render_as(&gold(unit), unit, ontology, AnswerForm::Marked).expect("no mentions cross").text
    };
    let texts: Vec<String> = examples.iter().map(written).collect();
    for vocabulary in [261, 700] {
        let setup = setup(&texts, vocabulary);
        for ((ontology, unit), text) in examples.iter().zip(&texts) {
            let limits = AnswerLimits::for_words(unit.words().len());
            let mut guide = setup.compiler.guide(&marked(ontology, unit, limits)).expect("the grammar compiles");
            for token in setup.tokenizer.encode(text).expect("encoding") {
                assert!(allows(&mut guide, token), "{:?} in {text}", setup.tokenizer.token(token));
                assert!(guide.take(token).expect("a token"), "{:?} in {text}", setup.tokenizer.token(token));
            }
            assert!(allows(&mut guide, setup.tokenizer.stop_ids()[0]), "{text} may end");
            assert_eq!(guide.allowed().expect("a mask"), 1, "{text} must end");
        }
    }
}

/// Whatever a model prefers, what it writes is a canonical answer without a single fault.
#[test]
fn a_random_model_writes_canonical_marked_answers() {
    let projects = Ontology::parse(PROJECTS, "projects.toml").expect("an ontology");
    let corpus = tabpo_synthetic::generate(&tabpo_synthetic::SyntheticConfig {
        sft: 40,
        gold: 0,
        validation: 6,
        test: 0,
        ..Default::default()
    });
    let difficult = difficult();
    let units = corpus.validation.iter().flat_map(|document| Unit::all(document, Level::Sentence));
    let mut examples: Vec<(&Ontology, Unit<'_>)> = units.map(|unit| (tabpo_synthetic::ontology(), unit)).collect();
    examples.extend((0..6).map(|_| (&projects, Unit { document: &difficult, sentence: None })));
    let texts: Vec<String> = corpus.sft.iter().map(|document| document.text.clone()).collect();
    let setup = setup(&texts, 400);
    let limits = AnswerLimits { entities: 3, relations: 3 };
    let requests: Vec<Request> = examples
        .iter()
        .map(|(ontology, unit)| Request {
            prompt: setup.tokenizer.encode(unit.text()).expect("encoding"),
            constraint: Some(marked(ontology, unit, limits)),
        })
        .collect();
    let (mut entities, mut relations, mut nested) = (0, 0, 0);
    for ((ontology, unit), completion) in examples.iter().zip(complete(&setup, &requests, 1, 4)) {
        let text = setup.tokenizer.decode(completion.text_tokens(), false).expect("decoding");
        assert_eq!(completion.finish, FinishReason::Stop, "{text}");
        let aligned = align(&parse_as(&text, ontology, AnswerForm::Marked), unit, ontology);
        assert_eq!(aligned.faults, [], "{text}");
        assert!(read_canonical(&text, ontology).is_some(), "{text}");
        let answer = aligned.to_answer(unit, ontology);
        for relation in &answer.relations {
            let [head, tail] = [relation.head, relation.tail].map(|index| answer.entities[index as usize].label);
            assert!(ontology.signature_allowed(relation.label, head, tail), "{text}");
        }
        let spans: Vec<Span> = answer.entities.iter().filter_map(|entity| entity.span).collect();
        nested += spans.windows(2).filter(|pair| pair[0].overlaps(pair[1])).count();
        entities += spans.len();
        relations += answer.relations.len();
    }
    assert!(
        entities > 12 && relations > 5 && nested > 0,
        "{entities} entities, {relations} relations, {nested} nested"
    );
}
