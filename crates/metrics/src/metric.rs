//! Metrics: functions of pooled counts.

use serde::{Deserialize, Serialize};

use crate::layout::{Family, INVALID, Layout, Tally, Triple};

/// Precision, recall and F1, as fractions. A rate over nothing is none: it is neither good nor bad.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Prf {
    /// Precision: matched / predicted; none if nothing was predicted.
    pub p: Option<f64>,
    /// Recall: matched / gold; none if there is no gold.
    pub r: Option<f64>,
    /// `2 P R / (P + R)`, 0 if nothing matches; none if nothing was predicted and there is no gold.
    pub f1: Option<f64>,
}

impl Prf {
    /// From counts.
    pub fn of(counts: Triple) -> Self {
        let p = share(counts.matched, counts.predicted);
        let r = share(counts.matched, counts.gold);
        let f1 = (p.is_some() || r.is_some()).then(|| {
            let (p, r) = (p.unwrap_or(0.0), r.unwrap_or(0.0));
            if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 }
        });
        Self { p, r, f1 }
    }

    /// The mean over the labels of a family that occur in gold or predictions, where a label counts 0
    /// for what it lacks; predictions without a known label form no label of their own.
    pub fn macro_mean(layout: &Layout, row: &[u64], family: Family) -> Self {
        let names = layout.names(family).unwrap_or_default();
        let triples = names.iter().enumerate().filter(|(_, name)| *name != INVALID);
        let triples = triples.map(|(slot, _)| layout.triple(row, family, slot));
        let occurring = triples.filter(|triple| triple.gold + triple.predicted > 0);
        let (mut sums, mut count) = ([0.0; 3], 0_u32);
        for Prf { p, r, f1 } in occurring.map(Prf::of) {
            for (sum, figure) in sums.iter_mut().zip([p, r, f1]) {
                *sum += figure.unwrap_or(0.0);
            }
            count += 1;
        }
        let [p, r, f1] = sums.map(|sum| (count > 0).then(|| sum / f64::from(count)));
        Self { p, r, f1 }
    }
}

/// `part / whole`, none if there is nothing.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Something that is read off pooled counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Micro-averaged F1 of a family.
    F1(Family),
    /// Macro-averaged F1 of a family.
    MacroF1(Family),
    /// The first count as a share of the second.
    Share(Tally, Tally),
}

impl Measure {
    /// Its value, a fraction (list recall can lift it above 1); none where there is nothing to take a
    /// share of.
    pub fn value(self, layout: &Layout, row: &[u64]) -> Option<f64> {
        match self {
            Measure::F1(_) | Measure::MacroF1(_) => self.prf(layout, row)?.f1,
            Measure::Share(part, whole) => share(row[part as usize], row[whole as usize]),
        }
    }

    /// Precision and recall with their F1; none for a share.
    pub fn prf(self, layout: &Layout, row: &[u64]) -> Option<Prf> {
        match self {
            Measure::F1(family) => Some(Prf::of(layout.total(row, family))),
            Measure::MacroF1(family) => Some(Prf::macro_mean(layout, row, family)),
            Measure::Share(..) => None,
        }
    }

    /// The columns that it reads.
    pub(crate) fn columns(self, layout: &Layout) -> Vec<usize> {
        match self {
            Measure::F1(family) | Measure::MacroF1(family) => {
                (0..3 * layout.slots(family)).map(|index| layout.column(family, 0) + index).collect()
            }
            Measure::Share(part, whole) => vec![part as usize, whole as usize],
        }
    }
}

/// A metric of a table: a measure with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in machine output, `ner_f1` for example.
    pub key: &'static str,
    /// The heading in tables.
    pub title: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// What it is.
    pub measure: Measure,
}

/// A counting convention and the metrics that it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Sets, symmetric relations in canonical order.
    #[default]
    Default,
    /// As PURE's script counts: lists, every relation as directed as it is written.
    Pure,
    /// As `SpERT`'s script counts: sets, every relation as directed as it is written.
    Spert,
    /// As PL-Marker's script counts: sets, symmetric relations in both directions.
    PlMarker,
    /// The scores of the public TAB-PO code: label sets and relaxed spans, per document and per
    /// unit. For comparison only; both can be gamed.
    TabPo,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 5] = [Profile::Default, Profile::Pure, Profile::Spert, Profile::PlMarker, Profile::TabPo];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Pure => "pure",
            Profile::Spert => "spert",
            Profile::PlMarker => "plmarker",
            Profile::TabPo => "tabpo",
        }
    }

    /// The profile with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The metrics of the profile, in the order of tables: the family over which p-values are
    /// corrected. Those of relations and of sub-labels are left out where the ontology has none,
    /// those of raw output unless `raw`.
    pub fn metrics(self, layout: &Layout, raw: bool) -> Vec<Metric> {
        let metric = |key, title, measure| Metric { key, title, higher_is_better: true, measure };
        let ner = metric("ner_f1", "NER F1", Measure::F1(Family::Ner));
        let mut metrics = match self {
            Profile::Default => vec![
                ner,
                metric("ner_macro_f1", "NER macro F1", Measure::MacroF1(Family::Ner)),
                metric("label_accuracy", "Label given span", Measure::Share(Tally::LocatedCorrect, Tally::Located)),
                metric("rel_f1", "Rel F1", Measure::F1(Family::RelSymmetric)),
                metric("rel_plus_f1", "Rel+ F1", Measure::F1(Family::RelPlusSymmetric)),
                metric("pair_f1", "Pair F1", Measure::F1(Family::Pair)),
                metric("span_f1", "Span F1", Measure::F1(Family::Span)),
                metric("relaxed_strict_f1", "Relaxed span F1", Measure::F1(Family::RelaxedStrict)),
            ],
            Profile::Pure => vec![
                metric("ner_f1", "NER F1", Measure::F1(Family::ListNer)),
                metric("rel_f1", "Rel F1", Measure::F1(Family::ListRel)),
                metric("rel_plus_f1", "Rel+ F1", Measure::F1(Family::ListRelPlus)),
            ],
            Profile::Spert => vec![
                ner,
                metric("ner_macro_f1", "NER macro F1", Measure::MacroF1(Family::Ner)),
                metric("rel_f1", "Rel F1", Measure::F1(Family::Rel)),
                metric("rel_macro_f1", "Rel macro F1", Measure::MacroF1(Family::Rel)),
                metric("rel_plus_f1", "Rel+ F1", Measure::F1(Family::RelPlus)),
                metric("rel_plus_macro_f1", "Rel+ macro F1", Measure::MacroF1(Family::RelPlus)),
            ],
            Profile::PlMarker => vec![
                ner,
                metric("rel_f1", "Rel F1", Measure::F1(Family::RelDoubled)),
                metric("rel_plus_f1", "Rel+ F1", Measure::F1(Family::RelPlusDoubled)),
            ],
            Profile::TabPo => vec![
                metric("label_micro_document", "Label set F1 (document)", Measure::F1(Family::LabelSetDocument)),
                metric("label_micro_unit", "Label set F1 (unit)", Measure::F1(Family::LabelSetUnit)),
                metric("relaxed_document", "Relaxed span F1 (document)", Measure::F1(Family::RelaxedDocument)),
                metric("relaxed_unit", "Relaxed span F1 (unit)", Measure::F1(Family::RelaxedUnit)),
            ],
        };
        if self == Profile::Default && layout.has_subtypes() {
            metrics.push(metric("ner_subtype_f1", "Subtype F1", Measure::F1(Family::NerSubtype)));
            metrics.push(metric("ner_both_f1", "Type+subtype F1", Measure::F1(Family::NerBoth)));
        }
        if self == Profile::Default && raw {
            let ungrounded = Measure::Share(Tally::NotTokenAligned, Tally::EntityTexts);
            metrics.push(Metric {
                key: "ungrounded",
                title: "Ungrounded",
                higher_is_better: false,
                measure: ungrounded,
            });
            let of_units = |tally| Measure::Share(tally, Tally::Units);
            metrics.push(metric("json_valid", "Valid JSON", of_units(Tally::JsonValid)));
            metrics.push(metric("schema_valid", "Valid schema", of_units(Tally::SchemaValid)));
            metrics.push(metric("refs_valid", "Valid references", of_units(Tally::RefsValid)));
            metrics.push(metric("fully_grounded", "Fully grounded", of_units(Tally::FullyGrounded)));
        }
        let relational = |metric: &Metric| metric.key.starts_with("rel_") || metric.key == "pair_f1";
        metrics.retain(|metric| layout.has_relations() || !relational(metric));
        metrics
    }
}
