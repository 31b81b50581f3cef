//! Whatever a model writes can be parsed and aligned, every emitted item is kept, and everything that
//! is said about the items is true of the source.

use tabpo_answer::{Grounding, Tier, align, gold, parse, parse_as, read_canonical, render, render_as};
use tabpo_corpus::{Document, Mention, Span, Unit};
use tabpo_ontology::{AnswerForm, Arguments, EntityLabelId, Ontology, RelationLabelId, SubtypeId};

/// Two entity labels, one with sub-labels, and two relation types, one symmetric.
pub fn ontology() -> Ontology {
    let text = r#"
        [ontology]
        name = "fuzz"
        [[entity]]
        name = "Task"
        [[entity]]
        name = "Code"
        subtypes = [{ name = "a" }, { name = "b" }]
        [[relation]]
        name = "Used-for"
        [[relation]]
        name = "Compare"
        symmetric = true
    "#;
    Ontology::parse(text, "fuzz").expect("the text is a valid ontology")
}

/// A document of one sentence from words; empty words are left out.
pub fn document(words: &[&str]) -> Document {
    let mut document = Document { key: "fuzz".into(), ..Document::default() };
    for word in words.iter().flat_map(|word| word.split_whitespace()) {
        if !document.text.is_empty() {
            document.text.push(' ');
        }
        let start = document.text.len() as u32;
        document.text.push_str(word);
        document.tokens.push(start..document.text.len() as u32);
    }
    document.sentences = vec![Span::new(0, document.tokens.len() as u32)];
    document
}

/// Parses in both forms and aligns, and checks what must hold for any text.
pub fn check(raw: &str, document: &Document, ontology: &Ontology) {
    // The grammar is that of serde_json but for its limits on nesting and numbers and its refusal
    // of unpaired surrogates, where it is stricter.
    if serde_json::from_str::<serde_json::Value>(raw).is_ok() {
        assert!(parse(raw, ontology).valid_at(Tier::Json));
    }
    for form in AnswerForm::ALL {
        check_in(form, raw, document, ontology);
    }
}

fn check_in(form: AnswerForm, raw: &str, document: &Document, ontology: &Ontology) {
    let unit = Unit { document, sentence: Some(0) };
    let parsed = parse_as(raw, ontology, form);
    let aligned = align(&parsed, &unit, ontology);
    assert_eq!(aligned.entities.len(), parsed.entities.len());
    assert_eq!(aligned.relations.len(), parsed.relations.len());
    assert!(aligned.faults.iter().all(|fault| raw.is_char_boundary(fault.byte)));
    for entity in &aligned.entities {
        assert_eq!(entity.grounding == Some(Grounding::Placed), entity.span.is_some());
        if let Some(span) = entity.span {
            assert!(unit.span().contains(span));
            assert_eq!(Some(document.span_text(span)), entity.text.as_deref());
        }
    }
    for relation in &aligned.relations {
        assert_eq!(relation.arguments.is_some(), aligned.argument_spans(relation).is_some());
    }
    // The valid part is a fixed point: written and read again it is the same.
    let answer = aligned.to_answer(&unit, ontology);
    for arguments in Arguments::ALL {
        let ontology = &Ontology { arguments, ..ontology.clone() };
        let written = render(&answer, ontology).text;
        let again = align(&parse(&written, ontology), &unit, ontology);
        assert!(again.valid_at(Tier::Grounding), "{:?}", again.faults);
        assert_eq!(again.to_answer(&unit, ontology), answer);
    }
}

/// Gold annotation from arbitrary numbers survives the way through text.
pub fn check_round_trip(
    document: &mut Document,
    spans: &[(u8, u8, u8)],
    links: &[(u8, u8, bool)],
    ontology: &Ontology,
) {
    let count = document.tokens.len() as u32;
    document.mentions = spans
        .iter()
        .map(|&(start, length, label)| Mention {
            span: Span::new(u32::from(start), u32::from(start) + 1 + u32::from(length % 8)),
            label: EntityLabelId(u16::from(label % 2)),
            subtype: (label % 2 == 1).then_some(SubtypeId(u16::from(label / 2 % 2))),
        })
        .filter(|mention| mention.span.end <= count)
        .collect();
    document.mentions.sort_unstable();
    document.mentions.dedup();
    let mentions = document.mentions.len() as u32;
    document.relations = links
        .iter()
        .map(|&(head, tail, symmetric)| tabpo_corpus::Relation {
            head: u32::from(head),
            tail: u32::from(tail),
            label: RelationLabelId(u16::from(symmetric)),
        })
        .filter(|relation| relation.head != relation.tail && relation.head.max(relation.tail) < mentions)
        .collect();
    document.relations.sort_unstable();
    document.relations.dedup();
    let unit = Unit { document, sentence: Some(0) };
    let answer = gold(&unit);
    let spans: Vec<Option<Span>> = document.mentions.iter().map(|mention| Some(mention.span)).collect();
    for (arguments, form) in Arguments::ALL.into_iter().flat_map(|way| AnswerForm::ALL.map(|form| (way, form))) {
        let ontology = &Ontology { arguments, ..ontology.clone() };
        // Brackets cannot cross.
        let Ok(written) = render_as(&answer, &unit, ontology, form) else { continue };
        let aligned = align(&parse_as(&written.text, ontology, form), &unit, ontology);
        assert!(aligned.valid_at(Tier::Note), "{:?}", aligned.faults);
        assert_eq!(aligned.to_answer(&unit, ontology), answer);
        assert_eq!(aligned.entities.iter().map(|entity| entity.span).collect::<Vec<_>>(), spans);
        assert_eq!(read_canonical(&written.text, ontology).map(|(_, again)| again), Some(written));
    }
}
