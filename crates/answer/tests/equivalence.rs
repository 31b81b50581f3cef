//! Texts that Unicode calls canonically equivalent are one text wherever texts are compared, and come out
//! as the source has them.

mod common;

use tabpo_answer::{Grounding, align, gold, parse, render};
use tabpo_corpus::{Format, Unit, read_str};
use tabpo_ontology::Ontology;

/// A source with both spellings, and answers to it: text, and the first token of its place.
const SOURCE: &str = "cafe\u{301} models and caf\u{e9} parsers from \u{212b}ngstro\u{308}m";

#[test]
fn answers_find_their_place_in_either_spelling() {
    let (document, ontology) = (common::document("d", &[SOURCE]), common::ontology());
    let unit = Unit { document: &document, sentence: Some(0) };
    let cases = [
        ("caf\u{e9} models", Some((0, "cafe\u{301} models"))),
        ("cafe\u{301} parsers", Some((3, "caf\u{e9} parsers"))),
        ("\u{c5}ngstr\u{f6}m", Some((6, "\u{212b}ngstro\u{308}m"))),
        ("A\u{30a}ngstro\u{308}m", Some((6, "\u{212b}ngstro\u{308}m"))),
        ("cafe models", None),
    ];
    for (text, expected) in cases {
        let raw = serde_json::json!({"entities": [{"id": "e1", "text": text, "type": "Method"}], "relations": []});
        let raw = raw.to_string();
        let aligned = align(&parse(&raw, &ontology), &unit, &ontology);
        let entity = &aligned.entities[0];
        let found = entity.span.map(|span| (span.start, entity.text.as_deref().expect("it has a text")));
        assert_eq!(found, expected, "{text}");
        assert_eq!(aligned.faults.is_empty(), expected.is_some(), "{text}: {:?}", aligned.faults);
    }
    // Both spellings are occurrences of one text, so the second one asked for is the other one.
    let raw = r#"{"entities":[{"id":"e1","text":"café","type":"Method"},{"id":"e2","text":"café","type":"Method"},{"id":"e3","text":"CAFÉ","type":"Method"}],"relations":[]}"#;
    let aligned = align(&parse(raw, &ontology), &unit, &ontology);
    let starts = aligned.entities[..2].iter().map(|entity| entity.span.map(|span| span.start));
    assert_eq!(starts.collect::<Vec<_>>(), [Some(0), Some(3)]);
    assert_eq!(aligned.entities[2].grounding, Some(Grounding::CaseDiffers));
}

#[test]
fn arguments_name_entities_in_either_spelling() {
    let (document, ontology) = (common::document("d", &[SOURCE]), common::ontology());
    let unit = Unit { document: &document, sentence: Some(0) };
    let raw = "{\"entities\":[{\"text\":\"cafe\u{301} models\",\"type\":\"Method\"},{\"text\":\"parsers\",\"type\":\"Task\"}],\
               \"relations\":[{\"head\":\"caf\u{e9} models\",\"type\":\"Used-for\",\"tail\":\"parsers\"}]}";
    let aligned = align(&parse(raw, &ontology), &unit, &ontology);
    assert!(aligned.faults.is_empty(), "{:?}", aligned.faults);
    assert_eq!(aligned.relations[0].arguments, Some((0, 1)));
}

#[test]
fn gold_is_read_back_as_it_was_written() {
    let mut document = common::document("d", &[SOURCE]);
    let ontology = common::ontology();
    document.mentions = [(0, 1), (3, 4), (6, 7)].map(|(start, end)| common::mention(start, end, 1)).into();
    let unit = Unit { document: &document, sentence: Some(0) };
    let written = render(&gold(&unit), &ontology).text;
    assert!(written.contains("cafe\u{301}") && written.contains("caf\u{e9}") && written.contains('\u{212b}'));
    let aligned = align(&parse(&written, &ontology), &unit, &ontology);
    let spans: Vec<_> = aligned.entities.iter().map(|entity| entity.span.expect("gold is grounded")).collect();
    assert_eq!(spans, document.mentions.iter().map(|mention| mention.span).collect::<Vec<_>>());
}

/// A byte order mark that was left inside a text is a blank wherever texts are compared.
#[test]
fn a_mark_between_words_does_not_hide_a_place() {
    let ontology = Ontology::parse("[ontology]\nname = \"o\"\n[[entity]]\nname = \"Tool\"\n", "o.toml").expect("valid");
    for text in ["The dr\u{feff} The saw", "The\u{7f}\u{feff}The saw", "The dr \u{feff} saw"] {
        let end = text.chars().count();
        let line =
            serde_json::json!({"doc_key": "d", "text": text, "entities": [{"start": 2, "end": end, "type": "Tool"}]});
        let loaded = read_str(&line.to_string(), Format::Jsonl, &ontology).expect("a document");
        let unit = Unit { document: &loaded.documents[0], sentence: None };
        let answer = gold(&unit);
        let rendered = render(&answer, &ontology);
        let aligned = align(&parse(&rendered.text, &ontology), &unit, &ontology);
        assert_eq!(aligned.to_answer(&unit, &ontology), answer, "{text:?}");
        assert!(aligned.faults.is_empty(), "{text:?}: {:?}", aligned.faults);
    }
}
