//! CoNLL columns, Prodigy's JSONL, spaCy's JSON and GLiNER's training data: one sentence in each of them is the same.

mod support;

use support::{links, load_text, shown, words};
use tabpo_corpus::Document;

/// What all files below say.
fn assert_birds(document: &Document) {
    assert_eq!(words(document), ["Ann Wren", "oak"], "{document:?}");
    assert_eq!(document.mentions.iter().map(|mention| mention.label.0).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn columns_are_read_in_every_tag_scheme() {
    let words = ["Ann", "Wren", "sits", "on", "oak", "."];
    for (scheme, tags) in [
        ("IOB2", ["B-Bird", "I-Bird", "O", "O", "B-Tree", "O"]),
        ("IOB1", ["I-Bird", "I-Bird", "O", "O", "I-Tree", "O"]),
        ("BIOES", ["B-Bird", "E-Bird", "O", "O", "S-Tree", "O"]),
        ("BILOU", ["B-Bird", "L-Bird", "O", "O", "U-Tree", "O"]),
    ] {
        let lines =
            |gap: &str| words.iter().zip(tags).fold(String::new(), |text, (word, tag)| text + word + gap + tag + "\n");
        for (name, text) in [("a.conll", lines("\t")), ("a.train", lines(" ")), ("a.bio", lines("\t") + "\n\n")] {
            let (documents, notes) = load_text(name, &text).unwrap_or_else(|error| panic!("{scheme}, {name}: {error}"));
            let [document] = documents.as_slice() else { panic!("{scheme}: {documents:?}") };
            assert_birds(document);
            assert_eq!((document.key.as_str(), document.text.as_str()), ("a-1", "Ann Wren sits on oak ."));
            assert!(notes.is_empty(), "{scheme}: {:?}", shown(&notes));
        }
    }
}

#[test]
fn two_mentions_side_by_side_stay_two() {
    let text = "Wren B-Bird\nRobin B-Bird\noak I-Tree\nelm B-Tree\n\nRook I-Bird\n";
    let (documents, _) = load_text("a.conll", text).unwrap();
    assert_eq!(words(&documents[0]), ["Wren", "Robin", "oak", "elm"]);
    // A sentence ends a mention.
    assert_eq!(words(&documents[1]), ["Rook"]);
}

#[test]
fn documents_of_columns_begin_where_the_file_says_so() {
    let text = "-DOCSTART- -X- O O\n\nWren NNP B-NP B-Bird\nsings VB B-VP O\n\nRook NNP B-NP B-Bird\n\n-DOCSTART- -X- O O\n\noak NN B-NP B-Tree\n";
    let (documents, notes) = load_text("a.train", text).unwrap();
    assert_eq!(documents.iter().map(|document| document.sentences.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(words(&documents[0]), ["Wren", "Rook"]);
    assert_eq!(shown(&notes), ["4 columns between word and tag not read"]);
    for (text, place, expected) in [
        ("Wren B-Bird\nsings\n", "a.conll:2", "`sings` has no tag"),
        ("Wren B-Bird\nsings X\n", "a.conll:2", "a tag is O, or B- or I- with a label"),
        ("Wren B-\n", "a.conll:1", "a tag is O"),
        ("sings O\n\nWren B-Brid\n", "a.conll:3 (document `a-2`)", "did you mean `Bird`?"),
    ] {
        let error = load_text("a.conll", text).unwrap_err();
        assert!(error.contains(place) && error.contains(expected), "{error}");
    }
}

#[test]
fn tasks_of_prodigy_are_read_if_they_were_accepted() {
    let spans = r#""spans": [{"start": 0, "end": 8, "label": "Bird", "token_start": 0}, {"start": 17, "end": 20, "label": "Tree"}]"#;
    let tokens = r#""tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0}, {"text": "Wren", "start": 4, "end": 8, "id": 1}, {"text": "sits", "start": 9, "end": 13, "id": 2}, {"text": "on", "start": 14, "end": 16, "id": 3}, {"text": "oak", "start": 17, "end": 20, "id": 4}]"#;
    let relations = r#""relations": [{"head": 1, "child": 4, "label": "nests-in", "head_span": {"start": 0, "end": 8, "label": "Bird"}, "child_span": {"start": 17, "end": 20, "label": "Tree"}}]"#;
    let task = |rest: &str| format!("{{\"text\": \"Ann Wren sits on oak\", \"_input_hash\": 1, {rest}}}\n");
    let text = [
        task(&format!("{spans}, {tokens}, {relations}, \"answer\": \"accept\"")),
        task(&format!("{spans}, \"answer\": \"reject\"")),
        task("\"answer\": \"ignore\", \"meta\": {}"),
        task(&format!("{spans}, \"meta\": {{\"source\": \"x\"}}")),
    ]
    .concat();
    let (documents, notes) = load_text("a.jsonl", &text).unwrap();
    assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["a-1", "a-4"]);
    documents.iter().for_each(assert_birds);
    assert_eq!(links(&documents[0]), [(0, 1, 0)]);
    assert_eq!(documents[0].tokens.len(), 5);
    assert_eq!(shown(&notes), ["1 fields `meta` not read", "2 tasks that were not accepted not read"]);
    let dangling = task(&format!("{}, {relations}", spans.replace("\"Tree\"", "null")));
    let error = load_text("a.jsonl", &dangling).unwrap_err();
    assert!(error.contains("the document has no such entity"), "{error}");
}

#[test]
fn spacys_training_data_and_documents_are_read() {
    let pair = r#"["Ann Wren sits on oak", {"entities": [[0, 8, "Bird"], [17, 20, "Tree"]], "cats": {}}]"#;
    for text in [format!("{pair}\n{pair}\n"), format!("[{pair},\n {pair}]")] {
        let (documents, notes) = load_text("a.json", &text).unwrap();
        assert_eq!(documents.len(), 2, "{text}");
        documents.iter().for_each(assert_birds);
        assert_eq!(shown(&notes), ["2 fields `cats` not read"]);
    }
    let document = r#"{"text": "Ann Wren sits.\n On oak", "ents": [{"start": 0, "end": 8, "label": "Bird"}, {"start": 19, "end": 22, "label": "Tree"}], "sents": [{"start": 0, "end": 15}, {"start": 16, "end": 22}], "tokens": [{"id": 0, "start": 0, "end": 3, "tag": "NN"}, {"id": 1, "start": 4, "end": 8}, {"id": 2, "start": 9, "end": 13}, {"id": 3, "start": 13, "end": 14}, {"id": 4, "start": 14, "end": 15}, {"id": 5, "start": 16, "end": 18}, {"id": 6, "start": 19, "end": 22}]}"#;
    let (documents, notes) = load_text("a.json", document).unwrap();
    assert_birds(&documents[0]);
    assert_eq!((documents[0].tokens.len(), documents[0].sentences.len()), (6, 2));
    assert!(notes.is_empty(), "{:?}", shown(&notes));
    let error = load_text("a.json", &document.replace("\"end\": 22, \"label\"", "\"end\": 99, \"label\"")).unwrap_err();
    assert!(error.contains("[19, 99] is outside the text"), "{error}");
}

#[test]
fn gliners_training_data_are_read() {
    let entry = r#"{"tokenized_text": ["Ann", "Wren", "sits", "on", "oak"], "ner": [[0, 1, "Bird"], [4, 4, "Tree"]], "negatives": ["Fish"]}"#;
    for text in [format!("[{entry}, {entry}]"), format!("{entry}\n{entry}\n")] {
        let (documents, notes) = load_text("a.json", &text).unwrap();
        assert_eq!(documents.iter().map(|document| document.key.as_str()).collect::<Vec<_>>(), ["a-1", "a-2"]);
        documents.iter().for_each(assert_birds);
        assert_eq!(shown(&notes), ["2 fields `negatives` not read"]);
    }
    let error = load_text("a.json", &entry.replace("[4, 4,", "[4, 5,")).unwrap_err();
    assert!(error.contains("ner span [4, 5] is outside"), "{error}");
}
