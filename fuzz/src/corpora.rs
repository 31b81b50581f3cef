//! What is read of a corpus can be used: every reader gives documents whose offsets hold, and every
//! writer writes them.

use std::path::Path;

use tabpo_answer::{align, gold, parse, render};
use tabpo_corpus::{
    Document, Format, Level, Notes, Unit, brat, doccano, dygie, is_blank, jsonl, label_studio, read, statistics,
};
use tabpo_ontology::Ontology;

use crate::Scratch;

/// Labels that the seeds use, relations between anything.
pub fn corpus_ontology() -> Ontology {
    let text = r#"
        [ontology]
        name = "fuzz"
        [[entity]]
        name = "Tool"
        aliases = ["Thing", "Task", "tool"]
        [[entity]]
        name = "Part"
        aliases = ["Method", "Other", "PER"]
        [[entity]]
        name = "Place"
        aliases = ["LOC", "1"]
        [[entity]]
        name = "Code"
        subtypes = [{ name = "a" }, { name = "b" }]
        [[relation]]
        name = "kept-in"
        aliases = ["Used-for", "USED-FOR", "near"]
        [[relation]]
        name = "works-on"
        aliases = ["Part-of", "PART-OF"]
        [[relation]]
        name = "beside"
        aliases = ["Compare", "COMPARE", "next_to"]
        symmetric = true
    "#;
    Ontology::parse(text, "fuzz").expect("the text is a valid ontology")
}

/// Gold to compare predictions with: two documents of two sentences, one of one, and one without mentions.
pub fn documents(ontology: &Ontology) -> Vec<Document> {
    let lines = r#"{"doc_key":"a","sentences":[["A","drill","by","the","lathe","."],["The","drill","hums","."]],"ner":[[[1,1,"Tool"],[4,4,"Tool"]],[[7,7,"Tool"]]],"relations":[[[1,1,4,4,"beside"]],[]]}
{"doc_key":"b","sentences":[["Bolts","in","the","yard"],["No","more"]],"ner":[[[0,0,"Part"],[2,3,"Place"]],[]],"relations":[[[0,0,2,3,"kept-in"]],[]]}
{"doc_key":"c","sentences":[["caf\u00e9","caf\u00e9"]],"ner":[[[0,0,"Place"],[1,1,"a"]]],"relations":[[]]}
{"doc_key":"d","sentences":[["nothing"]],"ner":[[]],"relations":[[]]}
"#;
    let scratch = Scratch::new();
    let path = scratch.write("gold.jsonl", lines.as_bytes());
    read(&path, Some(Format::Dygie), ontology).expect("the lines are documents").documents
}

/// Reads a file as a corpus of this format, and of the format that it looks like.
pub fn check_file(bytes: &[u8], name: &str, format: Format, ontology: &Ontology, scratch: &Scratch) {
    let path = scratch.write(name, bytes);
    check_corpus(&path, Some(format), ontology, scratch);
    if Format::detect(&path).is_ok_and(|detected| detected != format) {
        check_corpus(&path, None, ontology, scratch);
    }
}

/// Reads a corpus and uses what is in it.
pub fn check_corpus(path: &Path, format: Option<Format>, ontology: &Ontology, scratch: &Scratch) {
    let loaded = match read(path, format, ontology) {
        Ok(loaded) => loaded,
        Err(error) => return drop(error.to_string()),
    };
    for (note, _) in loaded.notes.iter() {
        let _ = note.to_string();
    }
    let documents = loaded.documents;
    let _ = serde_json::to_string(&statistics(&documents, ontology));
    let mut plain = String::new();
    for (number, document) in (1..).zip(&documents) {
        check_document(document, number, ontology);
        plain.push_str(&jsonl::to_line(document, ontology));
        plain.push('\n');
    }
    // The plain format holds all that a document says, blanks at the ends of tokens aside.
    if !documents.is_empty() {
        let path = scratch.write("written.jsonl", plain.as_bytes());
        match read(&path, Some(Format::Jsonl), ontology) {
            Ok(again) => assert_eq!(without_blanks(again.documents), without_blanks(documents)),
            Err(error) => panic!("what was written is refused: {error}"),
        }
    }
}

/// Documents with their tokens without the blanks at their ends.
fn without_blanks(mut documents: Vec<Document>) -> Vec<Document> {
    for document in &mut documents {
        for token in &mut document.tokens {
            let text = &document.text[token.start as usize..token.end as usize];
            let start = token.start + (text.len() - text.trim_start_matches(is_blank).len()) as u32;
            *token = start..start + text.trim_matches(is_blank).len() as u32;
        }
    }
    documents
}

fn check_document(document: &Document, number: usize, ontology: &Ontology) {
    let count = document.tokens.len() as u32;
    for token in 0..count {
        let _ = document.token(token as usize);
    }
    for mention in &document.mentions {
        assert!(mention.span.start < mention.span.end && mention.span.end <= count);
        let _ = document.span_text(mention.span);
    }
    for relation in &document.relations {
        assert!((relation.head.max(relation.tail) as usize) < document.mentions.len());
    }
    let mut notes = Notes::default();
    let _ = brat::to_annotation(document, ontology, &mut notes);
    let _ = doccano::to_line(document, number, ontology, &mut notes);
    let _ = dygie::to_line(document, ontology, &mut notes);
    let _ = label_studio::to_task(document, number, ontology, &mut notes);
    for unit in Unit::all(document, Level::Sentence).chain(Unit::all(document, Level::Document)) {
        let answer = gold(&unit);
        let text = render(&answer, ontology).text;
        assert_eq!(align(&parse(&text, ontology), &unit, ontology).to_answer(&unit, ontology), answer);
    }
}
