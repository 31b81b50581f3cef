//! Reading what the writer wrote.

use tabpo_ontology::{AnswerForm, Ontology};

use crate::{Answer, AnswerEntity, AnswerRelation, Rendered, form_of, marked, parse, render};

/// An answer in canonical form, the list form or the marked one, as data and as it is rendered, which is `text`; `None` for
/// any other text. Entities have no spans.
pub fn read_canonical(text: &str, ontology: &Ontology) -> Option<(Answer, Rendered)> {
    if form_of(text) == AnswerForm::Marked {
        return marked::read_canonical(text, ontology);
    }
    let parsed = parse(text, ontology);
    let entities = parsed
        .entities
        .iter()
        .map(|entity| {
            Some(AnswerEntity {
                text: entity.text.clone()?.into_owned(),
                span: None,
                label: entity.label?,
                subtype: entity.subtype,
                occurrence: entity.occurrence.map(u32::try_from).transpose().ok()?,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let relations = parsed
        .relations
        .iter()
        .map(|relation| {
            let [head, tail] = relation.holders;
            Some(AnswerRelation { head: head?, tail: tail?, label: relation.label? })
        })
        .collect::<Option<Vec<_>>>()?;
    let answer = Answer { entities, relations };
    let rendered = render(&answer, ontology);
    (rendered.text == text).then_some((answer, rendered))
}
