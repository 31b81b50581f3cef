//! Confirmed texts as documents that a run can train on.

use tabpo_corpus::{Document, Mention, Notes, Relation, Span, Unit};
use tabpo_ontology::Ontology;

use crate::{ReviewError, state::Annotation};

/// The curated documents of one document, of which these texts are confirmed: the document itself where all of its texts
/// are, or else each confirmed sentence as a document of its own, named `KEY#SENTENCE`.
pub(crate) fn documents(
    document: &Document,
    confirmed: &[(Unit<'_>, Annotation)],
    all: bool,
    ontology: &Ontology,
) -> Result<Vec<Document>, ReviewError> {
    if all {
        let whole = Document { mentions: Vec::new(), relations: Vec::new(), ..document.clone() };
        let (mut mentions, mut relations) = (Vec::new(), Vec::new());
        for (unit, annotation) in confirmed {
            add(annotation, unit.span().start, &mut mentions, &mut relations);
        }
        return Ok(vec![annotated(whole, mentions, &relations, ontology)?]);
    }
    let sentences = confirmed.iter().map(|(unit, annotation)| {
        let (mut mentions, mut relations) = (Vec::new(), Vec::new());
        add(annotation, 0, &mut mentions, &mut relations);
        annotated(sentence(unit), mentions, &relations, ontology)
    });
    sentences.collect()
}

/// A sentence as a document without annotation.
fn sentence(unit: &Unit) -> Document {
    let words = unit.words();
    let number = unit.sentence.map_or(String::new(), |sentence| format!("#{sentence}"));
    Document {
        key: format!("{}{number}", unit.document.key),
        text: unit.text().to_owned(),
        sentences: vec![Span::new(0, words.len() as u32)],
        tokens: words.into_iter().map(|word| word.start as u32..word.end as u32).collect(),
        ..Document::default()
    }
}

/// Adds the annotation of a text that begins at a token.
fn add(annotation: &Annotation, start: u32, mentions: &mut Vec<Mention>, relations: &mut Vec<Relation>) {
    let before = mentions.len() as u32;
    mentions.extend(
        annotation.mentions.iter().map(|mention| Mention {
            span: Span::new(mention.span.start + start, mention.span.end + start),
            ..*mention
        }),
    );
    relations.extend(annotation.relations.iter().map(|relation| Relation {
        head: relation.head + before,
        tail: relation.tail + before,
        ..*relation
    }));
}

fn annotated(
    mut document: Document,
    mentions: Vec<Mention>,
    relations: &[Relation],
    ontology: &Ontology,
) -> Result<Document, ReviewError> {
    let annotated = document.annotate(mentions, relations, ontology, &mut Notes::default());
    annotated.map_err(|problem| ReviewError::Confirmed { place: document.key.clone(), problem: Box::new(problem) })?;
    Ok(document)
}
