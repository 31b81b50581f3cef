//! Pattern files: the examples, what patterns match, and the messages about mistakes.

use std::{collections::BTreeSet, path::Path};

use tabpo_corpus::{Document, Level, Mention, Relation, Span};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId};
use tabpo_pairs::{Kind, PatternMatcher, Patterns};

fn example(name: &str) -> (Ontology, Patterns) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let ontology = Ontology::read(&folder.join("ontology.toml")).expect("the example ontology is valid");
    let patterns = Patterns::read(&folder.join("patterns.toml"), &ontology).expect("the example patterns are valid");
    (ontology, patterns)
}

fn document(text: &str, mentions: &[(u32, u32, u16)], relations: &[(u32, u32, u16)]) -> Document {
    let mut document = Document { key: "d".into(), text: text.into(), ..Document::default() };
    let mut start = 0;
    for word in text.split(' ') {
        document.tokens.push(start..start + word.len() as u32);
        start += word.len() as u32 + 1;
    }
    document.sentences = vec![Span::new(0, document.tokens.len() as u32)];
    let mention =
        |&(start, end, label)| Mention { span: Span::new(start, end), label: EntityLabelId(label), subtype: None };
    document.mentions = mentions.iter().map(mention).collect();
    let relation = |&(head, tail, label)| Relation { head, tail, label: RelationLabelId(label) };
    document.relations = relations.iter().map(relation).collect();
    document
}

/// Every (pattern, from, to) that fires on a document of the SciERC example.
fn fired(document: &Document) -> BTreeSet<(String, Option<String>, Option<String>)> {
    let (ontology, patterns) = example("scierc");
    let matches = PatternMatcher::new(&ontology, &patterns, 0).matches(document, Level::Sentence);
    matches.into_iter().map(|found| (found.edit.pattern.unwrap_or_default(), found.edit.from, found.edit.to)).collect()
}

fn has(fired: &BTreeSet<(String, Option<String>, Option<String>)>, id: &str, from: &str, to: &str) -> bool {
    fired.contains(&(id.into(), Some(from.into()), Some(to.into())))
}

#[test]
fn the_examples_cover_their_tables() {
    let (_, patterns) = example("scierc");
    let families: BTreeSet<&str> =
        patterns.patterns.iter().map(|pattern| pattern.id.split('-').next().unwrap()).collect();
    for (letter, count) in [('L', 9), ('R', 9), ('B', 7), ('G', 2)] {
        for number in 1..=count {
            assert!(families.contains(format!("{letter}{number}").as_str()), "{letter}{number} is missing");
        }
    }
    assert!(patterns.patterns.iter().all(|pattern| !pattern.rationale.is_empty()));
    let (_, clinical) = example("clinical");
    let kinds: BTreeSet<Kind> = clinical.patterns.iter().map(tabpo_pairs::Pattern::kind).collect();
    assert!(kinds.contains(&Kind::Subtype) && kinds.contains(&Kind::Label));
}

#[test]
fn conditions_decide_where_patterns_fire() {
    // the(0) statistical(1) model(2) is(3) used(4) for(5) parsing(6) of(7) it(8) .(9)
    let sentence = "the statistical model is used for parsing of it .";
    let found = fired(&document(sentence, &[(1, 3, 1), (6, 7, 0), (8, 9, 5)], &[(0, 1, 0)]));
    assert!(has(&found, "L1", "Method", "Generic"));
    assert!(has(&found, "L2", "Task", "Method"));
    assert!(!found.iter().any(|(id, from, _)| id == "L2" && from.as_deref() == Some("Method")), "no process noun");
    assert!(!found.iter().any(|(id, ..)| id == "L4"), "no problem noun");
    assert!(has(&found, "R1", "Used-for", "Used-for"));
    assert!(has(&found, "B1", "statistical model", "the statistical model"));
    assert!(has(&found, "B3", "statistical model", "model"));
    assert!(has(&found, "B5", "parsing", "parsing of it"));
    let function_word = |to: &str| to.starts_with("for ") || to.starts_with("of ") || to.starts_with("the ");
    let b3 = found.iter().filter(|(id, ..)| id == "B3");
    assert!(!b3.into_iter().any(|(_, _, to)| to.as_deref().is_some_and(function_word)), "{found:?}");
    assert!(found.contains(&("L9-drop".into(), Some("Generic".into()), None)));
    assert!(!found.iter().any(|(id, ..)| id == "G2"), "no text is repeated");
}

#[test]
fn boundaries_change_in_both_directions() {
    // hidden(0) Markov(1) model(2) ((3) HMM(4) )(5) and(6) a(7) novel(8) noise(9) model(10)
    let sentence = "hidden Markov model ( HMM ) and a novel noise model";
    let inside = fired(&document(sentence, &[(0, 6, 1), (8, 11, 1)], &[]));
    assert!(has(&inside, "B4", "hidden Markov model ( HMM )", "hidden Markov model"));
    assert!(has(&inside, "B2", "novel noise model", "noise model"));
    let outside = fired(&document(sentence, &[(0, 3, 1), (9, 11, 1)], &[]));
    assert!(has(&outside, "B4", "hidden Markov model", "hidden Markov model ( HMM )"));
    assert!(has(&outside, "B2", "noise model", "novel noise model"));
    let joined = fired(&document(sentence, &[(0, 11, 1)], &[]));
    assert!(has(&joined, "B6", "hidden Markov model ( HMM ) and a novel noise model", "hidden Markov model ( HMM )"));
}

#[test]
fn a_phrase_does_not_end_with_a_determiner() {
    // segmentation(0) of(1) the(2) scene(3) and(4) its(5) boundaries(6)
    let sentence = "segmentation of the scene and its boundaries";
    let found = fired(&document(sentence, &[(0, 1, 0)], &[]));
    assert!(has(&found, "B5", "segmentation", "segmentation of the scene"));
    let found = fired(&document(sentence, &[(3, 4, 3)], &[]));
    assert!(has(&found, "B6", "scene", "scene and its boundaries"));
}

#[test]
fn mistakes_are_named_with_line_and_nearest_name() {
    let (ontology, _) = example("scierc");
    let message = |text: &str| Patterns::parse(text, "p.toml", &ontology).unwrap_err().to_string();
    let pattern = "[[pattern]]\nid = \"a\"\nkind = \"label\"\n";
    assert_eq!(
        message(&format!("{pattern}from = [\"Metod\"]\n")),
        "p.toml:4: unknown entity label `Metod`; did you mean `Method`?"
    );
    assert_eq!(
        message("\n[[pattern]]\nid = \"a\"\nkind = \"lable\"\n"),
        "p.toml:4: unknown kind `lable`; did you mean `label`?"
    );
    assert_eq!(message(&format!("{pattern}wieght = 2\n")), "p.toml:4: unknown key `wieght`; did you mean `weight`?");
    assert_eq!(
        message(&format!("{pattern}when = {{ head_words = \"x\" }}\n")),
        "p.toml:4: unknown key `head_words`; did you mean `head_word`?"
    );
    assert_eq!(
        message(
            "[words]\nprocess = [\"parsing\"]\n[[pattern]]\nid = \"a\"\nkind = \"label\"\nwhen = { text = \"@proces\" }\n"
        ),
        "p.toml:6: unknown word list `proces`; did you mean `process`?"
    );
    assert_eq!(
        message(&format!("{pattern}change = \"acronym\"\n")),
        "p.toml:4: `change` is not used by patterns of kind `label`"
    );
    assert_eq!(
        message("[[pattern]]\nid = \"a\"\nkind = \"boundary\"\nchange = \"acronym\"\nwords = \"x\"\n"),
        "p.toml:5: `words` is not used by the change `acronym`"
    );
    assert_eq!(message(&format!("{pattern}{pattern}")), "p.toml:4: pattern `a` is defined twice, first on line 1");
    assert_eq!(
        message("[[pattern]]\nid = \"a\"\nkind = \"direction\"\nfrom = [\"COMPARE\"]\n"),
        "p.toml:1: the pattern changes nothing: a symmetric relation has no direction"
    );
    assert_eq!(message(&format!("{pattern}weight = 0\n")), "p.toml:4: `weight` must be a number above 0, found 0");
    assert_eq!(message("[[pattern]]\nkind = \"label\"\n"), "p.toml:1: [[pattern]] has no `id`");
    assert!(message("[[pattern]\n").starts_with("p.toml:1: "));
}
