//! Records of text as a source of examples.

use tabpo_answer::{Answer, Rendered, read_canonical};
use tabpo_objective::ItemErrors;
use tabpo_ontology::Ontology;
use tabpo_pairs::{PairRecord, Turn, Verdict};

use crate::items::item_errors;
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
    /// The answers it is preferred to.
    pub rejected: Vec<RejectedRecord>,
}

/// An answer to which another is preferred.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedRecord {
    /// The answer.
    pub answer: Rendered,
    /// The weight of its pair.
    pub weight: f64,
    /// Its items compared with those of the preferred answer.
    pub errors: ItemErrors,
    /// Where it is the model's own answer: what would have been right at each of its turns.
    pub turns: Vec<Turn>,
    /// Where it was sampled from the model: gold's verdicts on its items.
    pub verdicts: Vec<Verdict>,
}

/// Groups pairs with the same prompt and chosen answer, which are adjacent in a pair file, into one record with
/// several rejected answers. Roles come from `ontology`; see [`rendered`].
pub fn group_pairs(
    pairs: impl IntoIterator<Item = PairRecord>,
    ontology: &Ontology,
) -> Result<Vec<ExampleRecord>, ExampleError> {
    let mut records: Vec<ExampleRecord> = Vec::new();
    let mut chosen = Answer::default();
    for pair in pairs {
        let canonical = |text: &str| {
            read_canonical(text, ontology).ok_or_else(|| ExampleError::NotCanonical {
                id: pair.id.clone(),
                answer: text.chars().take(80).collect(),
            })
        };
        let same = records.last().is_some_and(|last| last.source == pair.prompt && last.chosen.text == pair.chosen);
        let (answer, written) = canonical(&pair.rejected)?;
        if !same {
            let preferred = canonical(&pair.chosen)?;
            chosen = preferred.0;
            let (id, source) = (pair.id, pair.prompt);
            records.push(ExampleRecord { id, source, chosen: preferred.1, rejected: Vec::new() });
        }
        let errors = item_errors(&chosen, &answer, ontology);
        let last = records.last_mut().expect("a record was added for the first pair");
        last.rejected.push(RejectedRecord {
            answer: written,
            weight: pair.weight,
            errors,
            turns: Vec::new(),
            verdicts: Vec::new(),
        });
    }
    Ok(records)
}

/// Parses an answer in canonical form and renders it again, which gives the role of every byte. `None` if the
/// rendered text is not the same, byte for byte.
pub fn rendered(text: &str, ontology: &Ontology) -> Option<Rendered> {
    read_canonical(text, ontology).map(|(_, rendered)| rendered)
}

/// A source that tokenises records on demand.
pub struct TextSource<'a> {
    format: &'a ExampleFormat<'a>,
    records: &'a [ExampleRecord],
    ontology: &'a Ontology,
    max_tokens: usize,
    marks_decisions: bool,
}

impl<'a> TextSource<'a> {
    /// A source of records with answers of an ontology; those longer than `max_tokens` are skipped in training.
    pub fn new(
        format: &'a ExampleFormat<'a>,
        records: &'a [ExampleRecord],
        ontology: &'a Ontology,
        max_tokens: usize,
    ) -> Self {
        Self { format, records, ontology, max_tokens, marks_decisions: false }
    }

    /// The same source with the list decisions of chosen answers marked, for objectives that
    /// [need them](tabpo_objective::Needs::credit).
    #[must_use]
    pub fn with_decisions(self) -> Self {
        Self { marks_decisions: true, ..self }
    }
}

impl ExampleSource for TextSource<'_> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn load(&self, index: usize) -> Result<TokenisedExample, ExampleError> {
        let record = &self.records[index];
        let rejected: Vec<(AnswerText<'_>, f64)> =
            record.rejected.iter().map(|rejected| ((&rejected.answer).into(), rejected.weight)).collect();
        let (source, chosen) = (record.source.as_str(), (&record.chosen).into());
        let failed = |source| ExampleError::Format { id: record.id.clone(), source: Box::new(source) };
        let mut example = self.format.example(&record.id, source, chosen, &rejected, self.max_tokens)?;
        for (rejected, record) in example.rejected.iter_mut().zip(&record.rejected) {
            rejected.answer.errors = record.errors;
            if !record.turns.is_empty() {
                let choices = self.format.choices(source, &record.answer, &record.turns).map_err(failed)?;
                rejected.answer.keep_choices(choices, &example.chosen);
            }
            if !record.verdicts.is_empty() {
                let items = self.format.judged_items(source, &record.answer, &record.verdicts, self.ontology);
                let items = items.map_err(failed)?;
                rejected.answer.keep_items(items, &example.chosen);
            }
        }
        if self.marks_decisions {
            self.format.mark_decisions(source, &record.chosen, self.ontology, &mut example.chosen).map_err(failed)?;
        }
        Ok(example)
    }
}
