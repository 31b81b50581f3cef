//! What is decided, what is kept, and what comes of it.

mod support;

use std::{fs, path::Path};

use support::{answer, confirm, decide, documents, material, ontology, open, reject};
use tabpo_corpus::{Format, read};
use tabpo_pairs::{
    Patterns,
    patterns::{Change, Rule},
};
use tabpo_review::{EntityState, Refusal, RelationState, ReviewError, Session, UnitState, Verdict};

fn states(session: &Session) -> Vec<UnitState> {
    (0..session.len()).map(|unit| session.state(unit).clone()).collect()
}

/// The review as another process would find it if this one were killed now.
fn after_a_kill(folder: &Path) -> (Vec<UnitState>, String) {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let session = open(copy.path()).expect("a review");
    (states(&session), fs::read_to_string(session.curated()).expect("curated documents"))
}

#[test]
fn whenever_the_program_is_killed_every_decision_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = open(folder.path()).expect("a review");
    let check = |session: &Session| {
        let (found, curated) = after_a_kill(folder.path());
        assert_eq!(found, states(session));
        assert_eq!(curated, fs::read_to_string(session.curated()).expect("curated documents"));
    };
    check(&session);
    decide(&mut session, 0, |state| state.entities[0].verdict = Verdict::Accepted);
    check(&session);
    decide(&mut session, 1, |state| state.entities[1].label = "Drug".into());
    check(&session);
    decide(&mut session, 1, confirm);
    check(&session);
    decide(&mut session, 0, |state| reject(state, 1));
    check(&session);
    while session.undo().is_ok() {
        check(&session);
    }
    assert_eq!(states(&session), states(&open(&folder.path().join("new")).expect("a review")));
    // What is lost of the files that are made from the journal is made again.
    decide(&mut session, 2, confirm);
    let curated = fs::read(session.curated()).expect("curated documents");
    drop(session);
    fs::remove_file(folder.path().join("curated.jsonl")).expect("removed");
    let session = open(folder.path()).expect("a review");
    assert_eq!(fs::read(session.curated()).expect("curated documents"), curated);
}

#[test]
fn undo_goes_back_decision_by_decision_also_in_another_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = open(folder.path()).expect("a review");
    let mut seen = vec![states(&session)];
    for step in 0..4 {
        decide(&mut session, step % 3, |state| state.confirmed = !state.confirmed);
        seen.push(states(&session));
    }
    assert_eq!(session.undo().expect("undone"), 0);
    seen.pop();
    drop(session);
    let mut session = open(folder.path()).expect("a review");
    decide(&mut session, 2, |state| state.confirmed = false);
    assert_eq!(session.undo().expect("undone"), 2);
    while let Some(state) = seen.pop() {
        assert_eq!(states(&session), state);
        if !seen.is_empty() {
            session.undo().expect("undone");
        }
    }
    assert!(matches!(session.undo(), Err(Refusal::NothingToUndo)));
}

/// A change to a text with its name.
type Edit = (&'static str, fn(&mut UnitState));

#[test]
fn what_the_ontology_does_not_allow_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = open(folder.path()).expect("a review");
    let before = states(&session);
    let journal = fs::read(folder.path().join("journal.jsonl")).expect("a journal");
    let edits: [Edit; 10] = [
        ("there is no entity label `Durg`", |state| state.entities[0].label = "Durg".into()),
        ("`Dose` needs one of its sub-labels", |state| state.entities[0].label = "Dose".into()),
        ("`Drug` has no sub-label `x`", |state| state.entities[0].subtype = Some("x".into())),
        ("the span 3 to 3 is not in the text", |state| (state.entities[0].start, state.entities[0].end) = (3, 3)),
        ("the span 0 to 99 is not in the text", |state| state.entities[0].end = 99),
        ("`Causes` goes from Drug to Effect, not from Effect to Drug", |state| {
            let relation = &mut state.relations[0];
            (relation.head, relation.tail) = (relation.tail, relation.head);
        }),
        ("there is no relation type `Cures`", |state| state.relations[0].label = "Cures".into()),
        ("a relation connects two different entities", |state| state.relations[0].tail = state.relations[0].head),
        ("there is no entity with the number 9", |state| state.relations[0].tail = 9),
        ("`Drug` is on these words already", |state| {
            let copy = EntityState { id: 7, from: None, ..state.entities[0].clone() };
            state.entities.push(copy);
        }),
    ];
    for (expected, edit) in edits {
        let mut state = session.state(0).clone();
        edit(&mut state);
        let refusal = session.decide(0, 0, state).expect_err(expected).to_string();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
    assert!(matches!(session.decide(0, 1, session.state(0).clone()), Err(Refusal::Outdated)));
    assert!(matches!(session.decide(3, 0, UnitState::default()), Err(Refusal::NoUnit(3))));
    assert_eq!(states(&session), before);
    assert_eq!(fs::read(folder.path().join("journal.jsonl")).expect("a journal"), journal);
}

#[test]
fn confirmed_texts_are_documents_that_a_run_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = open(folder.path()).expect("a review");
    let curated = |session: &Session| {
        let path = session.curated();
        if fs::metadata(&path).expect("a file").len() == 0 {
            return Vec::new();
        }
        read(&path, Some(Format::Jsonl), &ontology()).expect("documents").documents
    };
    assert!(curated(&session).is_empty());
    // A sentence alone is a document of its own.
    decide(&mut session, 1, |state| {
        state.entities[1].label = "Drug".into();
        state.confirmed = true;
    });
    let found = curated(&session);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key.as_str(), found[0].text.as_str()), ("a#1", "He took 100 mg of aspirin."));
    let names = |document: &tabpo_corpus::Document| -> Vec<String> {
        let ontology = ontology();
        let name = |one: &tabpo_corpus::Mention| {
            format!("{} {}", document.span_text(one.span), ontology.mention_data_name(one.label, one.subtype))
        };
        document.mentions.iter().map(name).collect()
    };
    assert_eq!(names(&found[0]), ["100 mg Daily", "aspirin Drug"]);
    // With all of its sentences, a document is whole.
    decide(&mut session, 0, confirm);
    let found = curated(&session);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key.as_str(), found[0].sentences.len(), found[0].relations.len()), ("a", 2, 1));
    assert_eq!(names(&found[0]), ["Aspirin Drug", "severe nosebleed Effect", "100 mg Daily", "aspirin Drug"]);
    // A rejected entity takes its relations with it.
    decide(&mut session, 0, |state| reject(state, 1));
    assert_eq!(session.state(0).relations[0].verdict, Verdict::Rejected);
    let found = curated(&session);
    assert_eq!((found[0].relations.len(), found[0].mentions.len()), (0, 3));
    // Nothing predicted and nothing there is an annotation too.
    decide(&mut session, 2, confirm);
    assert_eq!(curated(&session).len(), 2);
}

#[test]
fn the_least_certain_texts_come_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = open(folder.path()).expect("a review");
    let order = |session: &Session| session.order(tabpo_review::Order::Confidence);
    // A text whose answer has something that is not in it comes first, then all in their order.
    assert_eq!(order(&session), [0, 1, 2]);
    let shares =
        [(vec![[0.9, 1.0]; 2], vec![[1.0, 1.0]], 0.9), (vec![[0.9, 0.5]; 2], vec![], 1.0), (vec![], vec![], 0.3)];
    session.set_confidence(
        shares.map(|(entities, relations, end)| {
            Some(tabpo_review::Confidence { entities, relations, complete: vec![end] })
        }),
    );
    assert_eq!(order(&session), [0, 2, 1]);
    assert_eq!(session.order(tabpo_review::Order::Documents), [0, 1, 2]);
}

#[test]
fn a_folder_holds_one_review_and_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let session = open(folder.path()).expect("a review");
    assert!(matches!(open(folder.path()), Err(ReviewError::Busy { .. })));
    drop(session);
    let other = material(documents(&[("a", "Aspirin.")]), &[answer(&[], &[])]);
    assert!(matches!(Session::open(folder.path(), other), Err(ReviewError::OtherReview { .. })));
    // Confidence is no part of what is reviewed, the predictions are.
    open(folder.path()).expect("the review goes on");

    let file = folder.path().join("file");
    fs::write(&file, "").expect("writable");
    let error = open(&file.join("below")).err().expect("it is no folder");
    assert!(matches!(error, ReviewError::Folder { .. }) && error.hint() == Some("name another folder with --out"));
}

#[test]
fn repeated_corrections_become_patterns_that_the_pair_builder_reads() {
    let texts: Vec<(String, &str)> =
        (0..4).map(|n| (format!("d{n}"), "The strong drug ( SD ) caused pain of joints.")).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(key, text)| (key.as_str(), *text)).collect();
    let predicted = answer(&[("strong drug", "Effect"), ("SD", "Drug"), ("pain of joints", "Effect")], &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let material = material(documents(&texts), &vec![predicted; 4]);
    let mut session = Session::open(folder.path(), material).expect("a review");
    let patterns = |session: &Session| {
        let text = fs::read_to_string(session.patterns()).expect("a file");
        let read =
            Patterns::parse(&text, "patterns.toml", &ontology()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        (read.patterns, text)
    };
    assert!(patterns(&session).0.is_empty());
    let correct = |state: &mut UnitState| {
        state.entities[0].label = "Drug".into();
        reject(state, 1);
        state.entities[2].end -= 2;
        state.relations.push(RelationState {
            head: 0,
            tail: 2,
            label: "Causes".into(),
            from: None,
            verdict: Verdict::Accepted,
        });
        state.confirmed = true;
    };
    decide(&mut session, 0, correct);
    assert!(patterns(&session).0.is_empty(), "once is chance");
    decide(&mut session, 1, correct);
    let (found, text) = patterns(&session);
    let (label, rest): (Vec<_>, Vec<_>) = found.iter().partition(|one| matches!(one.rule, Rule::Label(_)));
    assert_eq!(label.len(), 1, "{text}");
    assert!(
        text.contains(
            "kind = \"label\"\nfrom = [\"Drug\"]\nto = [\"Effect\"]\nwhen = { head_word = [\"drug\"] }\nweight = 2.0\n"
        ),
        "{text}"
    );
    assert!(text.contains("“strong drug” is Drug, not Effect"), "{text}");
    let kinds: Vec<&str> = rest.iter().map(|one| one.kind().name()).collect();
    assert_eq!(kinds, ["add-entity", "boundary", "drop-relation"], "{text}");
    assert!(rest.iter().any(|one| matches!(&one.rule, Rule::Boundary { change: Change::Phrase { .. }, .. })), "{text}");
    assert!(text.contains("change = \"phrase\"\nwords = [\"of\"]"), "{text}");
    assert_eq!(session.summary().patterns, 4);
    assert_eq!(session.summary().corrections, 8);
    session.undo().expect("undone");
    assert!(patterns(&session).0.is_empty());
}

/// What documents say goes into the pattern file as a value, whatever it is.
#[test]
fn no_text_breaks_out_of_a_pattern_file() {
    let hostile = "x\"]\n[[pattern]]\nid = \"evil\" '''\"\"\" \u{1b}[31m\u{202e} <script> \\u0041";
    let texts = [("a", hostile), ("b", hostile)];
    let documents = documents(&texts);
    let units: usize = documents.iter().map(|document| document.sentences.len()).sum();
    let folder = tempfile::tempdir().expect("a folder");
    let material = material(documents, &vec![answer(&[], &[]); units]);
    let mut session = Session::open(folder.path(), material).expect("a review");
    for unit in 0..units {
        decide(&mut session, unit, |state| {
            state.entities.push(EntityState {
                id: 0,
                start: 0,
                end: 1,
                label: "Drug".into(),
                subtype: None,
                from: None,
                verdict: Verdict::Accepted,
            });
            state.confirmed = true;
        });
    }
    let text = fs::read_to_string(session.patterns()).expect("a file");
    let found = Patterns::parse(&text, "patterns.toml", &ontology()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(found.patterns.iter().all(|one| one.id.starts_with("review-")), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
