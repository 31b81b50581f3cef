//! All scores of one set of predictions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tabpo_answer::FaultKind;

use crate::evaluate::Counts;
use crate::layout::{Family, Layout, Tally, Triple};
use crate::metric::{Prf, share};
use crate::prediction::PredictionKind;

/// Precision, recall and F1 with the counts they come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Precision, as in [`Prf`].
    pub p: Option<f64>,
    /// Recall.
    pub r: Option<f64>,
    /// F1.
    pub f1: Option<f64>,
    /// Predicted items that are right.
    pub matched: u64,
    /// Predicted items.
    pub predicted: u64,
    /// Gold items.
    pub gold: u64,
}

/// Scores of a family with labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledScores {
    /// From counts pooled over labels.
    pub micro: Scores,
    /// Mean over the labels that occur, without `INVALID`.
    #[serde(rename = "macro")]
    pub macro_mean: Prf,
    /// Each label that occurs, by the name that data files use.
    pub per_label: BTreeMap<String, Scores>,
}

/// How often the label is right where the span is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Gold labels at predicted spans that the prediction shares.
    pub correct: u64,
    /// Gold labels at predicted spans.
    pub total: u64,
    /// `correct / total`; none if there is nothing.
    pub accuracy: Option<f64>,
}

/// Scores under the list convention: nothing is de-duplicated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListScores {
    /// (span, label).
    pub ner: Scores,
    /// (head span, tail span, type).
    pub rel: Scores,
    /// `rel` with both argument labels right.
    pub rel_plus: Scores,
}

/// Scores under the set convention, the primary one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetScores {
    /// (span, label).
    pub ner: LabelledScores,
    /// Spans alone.
    pub span: Scores,
    /// Label accuracy at spans that were found.
    pub label_given_span: Accuracy,
    /// (head span, tail span, type), directed.
    pub rel: LabelledScores,
    /// `rel` with both argument labels right.
    pub rel_plus: LabelledScores,
    /// As `rel`, symmetric types in canonical order.
    pub rel_symmetric: LabelledScores,
    /// As `rel_plus`, symmetric types in canonical order.
    pub rel_plus_symmetric: LabelledScores,
    /// As `rel`, symmetric types counted in both directions.
    pub rel_symmetric_doubled: LabelledScores,
    /// As `rel_plus`, symmetric types counted in both directions.
    pub rel_plus_symmetric_doubled: LabelledScores,
    /// Unordered pairs of spans.
    pub undirected_unlabelled_pair: Scores,
    /// (span, sub-label); only for ontologies with sub-labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ner_subtype: Option<LabelledScores>,
    /// (span, label, sub-label); only for ontologies with sub-labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ner_both: Option<LabelledScores>,
    /// Sub-label accuracy where span and label are right; only for ontologies with sub-labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype_given_label: Option<Accuracy>,
}

/// The scores of the public TAB-PO code at one level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceScores {
    /// Label sets; unknown labels are dropped.
    pub label_micro: Prf,
    /// Relaxed match of texts, greedy in output order.
    pub relaxed_span: Prf,
}

/// The scores of the public TAB-PO code, for comparison only: both can be gamed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Over documents.
    pub per_document: ReferenceScores,
    /// Over units.
    pub per_unit: ReferenceScores,
}

/// Shares of units that are valid, tier by tier; none if there are no units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    /// JSON.
    pub json_valid: Option<f64>,
    /// ... with exactly the keys and labels of the format.
    pub schema_valid: Option<f64>,
    /// ... whose relations name two different entities.
    pub refs_valid: Option<f64>,
    /// ... whose every text occurs in the source as often as it is used.
    pub fully_grounded: Option<f64>,
}

/// How well emitted texts are supported by the source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroundingScores {
    /// Spans alone.
    pub span: Scores,
    /// Relaxed match that asks for overlapping places, maximum matching.
    pub relaxed_strict: Scores,
    /// Share of texts that are not in the source; none if no text was emitted.
    pub hallucination_not_substring: Option<f64>,
    /// ... not even in another letter case.
    pub hallucination_not_substring_ci: Option<f64>,
    /// Share of texts that do not occur at token boundaries of the source.
    pub hallucination_not_token_aligned: Option<f64>,
}

/// Scores that only raw output has, and the primary scores again under the names of this kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawScores {
    /// Validity tiers.
    pub validity: Validity,
    /// Support by the source.
    pub grounding: GroundingScores,
    /// Emitted items and what became of them.
    pub counts: BTreeMap<String, u64>,
    /// Every fault by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// As in `set`.
    pub ner: LabelledScores,
    /// As in `set`.
    pub rel: LabelledScores,
    /// As in `set`.
    pub rel_plus: LabelledScores,
    /// As in `set`.
    pub rel_symmetric: LabelledScores,
    /// As in `set`.
    pub rel_plus_symmetric: LabelledScores,
}

/// All scores of one set of predictions. The names and figures of the JSON form are those of the
/// field's evaluation scripts; figures are fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Gold documents.
    pub documents: u64,
    /// Units: predicted sentences or documents, and those that lack a prediction.
    pub units: u64,
    /// Notes for a reader of the figures.
    pub notes: Vec<String>,
    /// The list convention.
    pub list: ListScores,
    /// The set convention.
    pub set: SetScores,
    /// `gold label -> predicted label` at spans that both sides have.
    pub label_confusion_given_span: BTreeMap<String, u64>,
    /// Multisets of labels of each document.
    pub label_multiset_per_document: Scores,
    /// Relaxed match that asks for overlapping places.
    pub relaxed_strict: Scores,
    /// (text, label) without offsets; meaningful for sentences only.
    pub text_identity_ner: LabelledScores,
    /// (head text, tail text, type) without offsets.
    pub text_identity_rel: LabelledScores,
    /// The scores of the public TAB-PO code.
    pub tabpo_reference: Reference,
    /// What only raw output has.
    #[serde(flatten)]
    pub raw: Option<RawScores>,
}

impl Scores {
    fn of(counts: Triple) -> Self {
        let Prf { p, r, f1 } = Prf::of(counts);
        Self { p, r, f1, matched: counts.matched, predicted: counts.predicted, gold: counts.gold }
    }
}

/// Reads scores off one pooled row.
struct Reader<'a> {
    layout: &'a Layout,
    row: Vec<u64>,
}

impl Reader<'_> {
    fn scores(&self, family: Family) -> Scores {
        Scores::of(self.layout.total(&self.row, family))
    }

    fn prf(&self, family: Family) -> Prf {
        Prf::of(self.layout.total(&self.row, family))
    }

    fn labelled(&self, family: Family) -> LabelledScores {
        let names = self.layout.names(family).unwrap_or_default();
        let triples = names.iter().enumerate().map(|(slot, name)| (name, self.layout.triple(&self.row, family, slot)));
        let occurring = triples.filter(|(_, triple)| triple.gold + triple.predicted > 0);
        LabelledScores {
            micro: self.scores(family),
            macro_mean: Prf::macro_mean(self.layout, &self.row, family),
            per_label: occurring.map(|(name, triple)| (name.clone(), Scores::of(triple))).collect(),
        }
    }

    fn tally(&self, tally: Tally) -> u64 {
        self.row[tally as usize]
    }

    fn share(&self, part: Tally, whole: Tally) -> Option<f64> {
        share(self.tally(part), self.tally(whole))
    }

    fn accuracy(&self, correct: Tally, total: Tally) -> Accuracy {
        Accuracy { correct: self.tally(correct), total: self.tally(total), accuracy: self.share(correct, total) }
    }
}

impl Evaluation {
    /// Scores from counts.
    pub fn of(counts: &Counts) -> Self {
        let read = Reader { layout: &counts.layout, row: counts.table.pooled() };
        let with_subtypes = counts.layout.has_subtypes();
        let reference =
            |labels, spans| ReferenceScores { label_micro: read.prf(labels), relaxed_span: read.prf(spans) };
        Self {
            documents: counts.table.documents() as u64,
            units: read.tally(Tally::Units),
            notes: counts.notes.clone(),
            list: ListScores {
                ner: read.scores(Family::ListNer),
                rel: read.scores(Family::ListRel),
                rel_plus: read.scores(Family::ListRelPlus),
            },
            set: SetScores {
                ner: read.labelled(Family::Ner),
                span: read.scores(Family::Span),
                label_given_span: read.accuracy(Tally::LocatedCorrect, Tally::Located),
                rel: read.labelled(Family::Rel),
                rel_plus: read.labelled(Family::RelPlus),
                rel_symmetric: read.labelled(Family::RelSymmetric),
                rel_plus_symmetric: read.labelled(Family::RelPlusSymmetric),
                rel_symmetric_doubled: read.labelled(Family::RelDoubled),
                rel_plus_symmetric_doubled: read.labelled(Family::RelPlusDoubled),
                undirected_unlabelled_pair: read.scores(Family::Pair),
                ner_subtype: with_subtypes.then(|| read.labelled(Family::NerSubtype)),
                ner_both: with_subtypes.then(|| read.labelled(Family::NerBoth)),
                subtype_given_label: with_subtypes.then(|| read.accuracy(Tally::SubtypeCorrect, Tally::SubtypeLocated)),
            },
            label_confusion_given_span: counts
                .confusion
                .iter()
                .map(|((gold, predicted), count)| (format!("{gold} -> {predicted}"), *count))
                .collect(),
            label_multiset_per_document: read.scores(Family::LabelMultiset),
            relaxed_strict: read.scores(Family::RelaxedStrict),
            text_identity_ner: read.labelled(Family::TextNer),
            text_identity_rel: read.labelled(Family::TextRel),
            tabpo_reference: Reference {
                per_document: reference(Family::LabelSetDocument, Family::RelaxedDocument),
                per_unit: reference(Family::LabelSetUnit, Family::RelaxedUnit),
            },
            raw: (counts.kind == PredictionKind::Raw).then(|| RawScores {
                validity: Validity {
                    json_valid: read.share(Tally::JsonValid, Tally::Units),
                    schema_valid: read.share(Tally::SchemaValid, Tally::Units),
                    refs_valid: read.share(Tally::RefsValid, Tally::Units),
                    fully_grounded: read.share(Tally::FullyGrounded, Tally::Units),
                },
                grounding: GroundingScores {
                    span: read.scores(Family::Span),
                    relaxed_strict: read.scores(Family::RelaxedStrict),
                    hallucination_not_substring: read.share(Tally::NotSubstring, Tally::EntityTexts),
                    hallucination_not_substring_ci: read.share(Tally::NotSubstringIgnoringCase, Tally::EntityTexts),
                    hallucination_not_token_aligned: read.share(Tally::NotTokenAligned, Tally::EntityTexts),
                },
                counts: [
                    ("ent_items", Tally::EntityItems),
                    ("ent_text", Tally::EntityTexts),
                    ("ent_malformed", Tally::EntityMalformed),
                    ("ent_bad_label", Tally::EntityBadLabel),
                    ("not_substring", Tally::NotSubstring),
                    ("not_substring_ci", Tally::NotSubstringIgnoringCase),
                    ("not_token_aligned", Tally::NotTokenAligned),
                    ("surplus_or_bad_occ", Tally::SurplusOrBadOccurrence),
                    ("rel_items", Tally::RelationItems),
                    ("rel_malformed", Tally::RelationMalformed),
                    ("rel_unresolved", Tally::RelationUnresolved),
                ]
                .map(|(name, tally)| (name.to_owned(), read.tally(tally)))
                .into(),
                faults: counts.faults.clone(),
                ner: read.labelled(Family::Ner),
                rel: read.labelled(Family::Rel),
                rel_plus: read.labelled(Family::RelPlus),
                rel_symmetric: read.labelled(Family::RelSymmetric),
                rel_plus_symmetric: read.labelled(Family::RelPlusSymmetric),
            }),
        }
    }
}
