//! What a run says of itself: what it has read, and how well supervised fine-tuning went.

use std::path::Path;

use tabpo_corpus::{Document, Unit};
use tabpo_metrics::{Counts, Measure, Profile};

use super::{Artefact, Stages, comparison::score, plan::units};
use crate::error::Error;

impl Stages<'_> {
    /// Says how many prompts were read, and how many relations are part of none.
    pub(super) fn say_counts(&self) {
        let config = &self.inputs.config;
        let named = self.inputs.splits.named();
        let counts = named.map(|(name, documents)| format!("{name} {}", units(documents, config)));
        let lost: usize = named.iter().map(|(_, documents)| relations_not_shown(documents, self)).sum();
        let lost = match lost {
            0 => String::new(),
            lost => format!("; {lost} relations between sentences are part of none"),
        };
        self.observer.say(&format!("prompts: {}{lost}", counts.join(", ")));
    }

    /// Says how the fine-tuned model answers the validation documents, and warns where there is nothing to learn from.
    pub(super) fn say_validation(&self, predictions: &Artefact<std::path::PathBuf>) -> Result<(), Error> {
        let documents = &self.inputs.splits.validation;
        let counts = score(&predictions.path, documents, &self.inputs.ontology)?;
        let scores = Scores::of(&counts);
        self.observer.say(&format!("sft: {}", scores.said()));
        if let Some(warning) = scores.warning(&predictions.path) {
            self.observer.warn(&format!("sft: {warning}"));
        }
        Ok(())
    }
}

fn relations_not_shown(documents: &[Document], stages: &Stages<'_>) -> usize {
    let level = stages.inputs.config.data.level;
    let of = |document: &Document| {
        let shown: usize = Unit::all(document, level).map(|unit| unit.relations().count()).sum();
        document.relations.len() - shown
    };
    documents.iter().map(of).sum()
}

/// The scores that tell whether a model has learnt its task, as fractions; none of nothing.
struct Scores {
    ner: Option<f64>,
    relations: Option<f64>,
    valid: Option<f64>,
}

impl Scores {
    fn of(counts: &Counts) -> Self {
        let row = counts.table.pooled();
        let metrics = Profile::Default.metrics(&counts.layout, true);
        let value = |key: &str| {
            let measure: Measure = metrics.iter().find(|metric| metric.key == key)?.measure;
            measure.value(&counts.layout, &row)
        };
        Self { ner: value("ner_f1"), relations: value("rel_f1"), valid: value("schema_valid") }
    }

    fn said(&self) -> String {
        let percent =
            |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{:.1}", 100.0 * value));
        let relations = self.relations.map_or_else(String::new, |_| format!(", Rel F1 {}", percent(self.relations)));
        format!(
            "on validation, NER F1 {}{relations}; {} % of the answers are valid",
            percent(self.ner),
            percent(self.valid)
        )
    }

    /// What there is to say where pairs would be made of nothing.
    fn warning(&self, path: &Path) -> Option<String> {
        let shown = format!("{} has the answers", path.display());
        if self.valid == Some(0.0) {
            return Some(format!(
                "no answer is valid, so its errors say nothing, and neither do pairs made from them: train longer \
                 (sft.epochs), with a higher sft.learning_rate or a larger model; {shown}"
            ));
        }
        (self.ner == Some(0.0)).then(|| {
            format!(
                "no mention is right, so pairs say little about the model's errors: train longer (sft.epochs), with a \
                 higher sft.learning_rate or a larger model; {shown}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_has_learnt_nothing_is_warned_about() {
        let path = Path::new("errors/validation.jsonl");
        let scores = |ner, valid| Scores { ner: Some(ner), relations: None, valid: Some(valid) };
        assert!(scores(0.0, 0.0).warning(path).expect("nothing").contains("no answer is valid"));
        assert!(scores(0.0, 0.5).warning(path).expect("nothing right").contains("no mention is right"));
        assert_eq!(scores(0.01, 0.5).warning(path), None);
        assert_eq!(scores(0.5, 1.0).said(), "on validation, NER F1 50.0; 100.0 % of the answers are valid");
    }
}
