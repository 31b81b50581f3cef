//! Records of text as a source of examples.

use tabpo_answer::{Answer, AnswerEntity, AnswerRelation, Rendered, parse, render};
use tabpo_ontology::Ontology;
use tabpo_pairs::PairRecord;

use crate::{AnswerText, ExampleError, ExampleFormat, ExampleSource, TokenisedExample};

/// A source text with its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleRecord {
    /// Its id.
    pub id: String,
    /// The source text.
    pub source: String,
    /// The preferred answer.
    pub chosen: Rendered,
    /// The answers it is preferred to, with the weights of their pairs.
    pub rejected: Vec<(Rendered, f64)>,
}

/// Groups pairs with the same prompt and chosen answer, which are adjacent in a pair file, into one record with
/// several rejected answers. Roles come from `ontology`; see [`rendered`].
pub fn group_pairs(
    pairs: impl IntoIterator<Item = PairRecord>,
    ontology: &Ontology,
) -> Result<Vec<ExampleRecord>, ExampleError> {
    let mut records: Vec<ExampleRecord> = Vec::new();
    for pair in pairs {
        let canonical = |text: &str| {
            rendered(text, ontology).ok_or_else(|| ExampleError::NotCanonical {
                id: pair.id.clone(),
                answer: text.chars().take(80).collect(),
            })
        };
        let rejected = (canonical(&pair.rejected)?, pair.weight);
        match records.last_mut() {
            Some(last) if last.source == pair.prompt && last.chosen.text == pair.chosen => last.rejected.push(rejected),
            _ => records.push(ExampleRecord {
                chosen: canonical(&pair.chosen)?,
                id: pair.id,
                source: pair.prompt,
                rejected: vec![rejected],
            }),
        }
    }
    Ok(records)
}

/// Parses an answer in canonical form and renders it again, which gives the role of every byte. `None` if the
/// rendered text is not the same, byte for byte.
pub fn rendered(text: &str, ontology: &Ontology) -> Option<Rendered> {
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
    let position = |id: Option<&str>| {
        let found = parsed.entities.iter().position(|entity| entity.id.as_deref() == id)?;
        Some(found as u32)
    };
    let relations = parsed
        .relations
        .iter()
        .map(|relation| {
            let (head, tail) = (position(relation.head.as_deref())?, position(relation.tail.as_deref())?);
            Some(AnswerRelation { head, tail, label: relation.label? })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(render(&Answer { entities, relations }, ontology)).filter(|rendered| rendered.text == text)
}

/// A source that tokenises records on demand.
pub struct TextSource<'a> {
    format: &'a ExampleFormat<'a>,
    records: &'a [ExampleRecord],
    max_tokens: usize,
}

impl<'a> TextSource<'a> {
    /// A source of records in a format; those longer than `max_tokens` are skipped in training.
    pub fn new(format: &'a ExampleFormat<'a>, records: &'a [ExampleRecord], max_tokens: usize) -> Self {
        Self { format, records, max_tokens }
    }
}

impl ExampleSource for TextSource<'_> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError> {
        let record = &self.records[index];
        let rejected: Vec<(AnswerText<'_>, f64)> =
            record.rejected.iter().map(|(answer, weight)| (answer.into(), *weight)).collect();
        self.format.example(&record.id, &record.source, (&record.chosen).into(), &rejected, self.max_tokens)
    }
}
