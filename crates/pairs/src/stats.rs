//! Statistics of pairs.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use tabpo_metrics::modes::{ErrorModes, ModeKind};

use crate::{
    Kind, PairRecord, Source,
    describe::names_labels,
    difference::{shared_prefix, starts_in_scaffold},
};

/// Collects statistics pair by pair; memory grows only with the number of examples.
#[derive(Default)]
pub struct StatsCollector {
    pairs: u64,
    weight: f64,
    examples: HashSet<(String, Option<u32>)>,
    kinds: BTreeMap<Kind, KindCount>,
    sources: BTreeMap<Source, u64>,
    patterns: BTreeMap<String, u64>,
    changes: BTreeMap<(Kind, Option<String>, Option<String>), Change>,
    prefix_sum: f64,
    scaffold_first: u64,
}

#[derive(Default)]
struct KindCount {
    distances: BTreeMap<u32, u64>,
    scaffold_first: u64,
}

#[derive(Default)]
struct Change {
    count: u64,
    from_modes: u64,
}

/// Statistics of a set of pairs. Shares are in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStats {
    /// Pairs.
    pub pairs: u64,
    /// Examples with at least one pair.
    pub examples: u64,
    /// Mean weight.
    pub mean_weight: f64,
    /// Edits by kind, in the order of [`Kind::ALL`]; kinds without edits are left out.
    pub kinds: Vec<KindStats>,
    /// Edits by source; sources without edits are left out.
    pub sources: Vec<Counted>,
    /// Edits by pattern, most frequent first.
    pub patterns: Vec<Counted>,
    /// Labels and relation types that were changed, dropped and added, most frequent first.
    pub changes: Vec<ChangeStats>,
    /// Total variation distance, in [0, 1], between the label changes that error modes proposed and the
    /// confusions on validation; `None` without error modes or without such edits.
    pub label_distance: Option<f64>,
    /// The same for relation types.
    pub relation_distance: Option<f64>,
    /// Edit distances over all pairs.
    pub distances: Distances,
    /// The mean share of the gold answer (in bytes) before the first difference.
    pub prefix_shared: f64,
    /// The share of pairs whose first difference is scaffold on the gold side: the number of items
    /// differs there, or one text ends earlier than the other.
    pub scaffold_first: f64,
}

/// A name with its count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// The name.
    pub name: String,
    /// How often it occurs.
    pub count: u64,
    /// Its share of all edits.
    pub share: f64,
}

/// Edits of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindStats {
    /// The kind.
    pub kind: Kind,
    /// How often it occurs.
    pub count: u64,
    /// Its share of all edits.
    pub share: f64,
    /// The edit distances of its pairs.
    pub distances: Distances,
    /// The share of its pairs whose first difference is scaffold, as in
    /// [`PairStats::scaffold_first`].
    pub scaffold_first: f64,
}

/// Edits that change one label into another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeStats {
    /// The kind of edit.
    pub kind: Kind,
    /// The label in gold, if there is one.
    pub from: Option<String>,
    /// The label in the negative, if there is one.
    pub to: Option<String>,
    /// How often it occurs.
    pub count: u64,
    /// Its share of the edits of its kind.
    pub share: f64,
    /// Its share of the confusions of its kind on validation; `None` for kinds that are not confusions,
    /// or without error modes.
    pub error_share: Option<f64>,
}

/// A distribution of edit distances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// The smallest.
    pub least: u32,
    /// The median (the lower of the two in the middle).
    pub median: u32,
    /// The mean.
    pub mean: f64,
    /// The 90th percentile.
    pub ninth_decile: u32,
    /// The largest.
    pub largest: u32,
}

impl StatsCollector {
    /// Adds a pair.
    pub fn add(&mut self, record: &PairRecord) {
        self.pairs += 1;
        self.weight += record.weight;
        self.examples.insert((record.doc_key.clone(), record.sent));
        let prefix = shared_prefix(&record.chosen, &record.rejected);
        self.prefix_sum += prefix as f64 / record.chosen.len().max(1) as f64;
        let scaffold_first = u64::from(starts_in_scaffold(&record.chosen, &record.rejected));
        self.scaffold_first += scaffold_first;
        let edit = &record.edit;
        let kind = self.kinds.entry(edit.kind).or_default();
        kind.scaffold_first += scaffold_first;
        *kind.distances.entry(record.distance_tokens).or_default() += 1;
        *self.sources.entry(edit.source).or_default() += 1;
        if let Some(pattern) = &edit.pattern {
            *self.patterns.entry(pattern.clone()).or_default() += 1;
        }
        if names_labels(edit.kind) {
            let change = self.changes.entry((edit.kind, edit.from.clone(), edit.to.clone())).or_default();
            change.count += 1;
            change.from_modes += u64::from(edit.source == Source::Mode);
        }
    }

    /// The statistics; with error modes, label changes are compared with those on validation.
    pub fn finish(&self, errors: Option<&ErrorModes>) -> PairStats {
        let share = |count: u64| if self.pairs == 0 { 0.0 } else { count as f64 / self.pairs as f64 };
        let mean = |sum: f64| if self.pairs == 0 { 0.0 } else { sum / self.pairs as f64 };
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        let kinds: Vec<KindStats> = self
            .kinds
            .iter()
            .map(|(&kind, counts)| {
                for (&distance, &count) in &counts.distances {
                    *all.entry(distance).or_default() += count;
                }
                let count: u64 = counts.distances.values().sum();
                KindStats {
                    kind,
                    count,
                    share: share(count),
                    distances: Distances::of(&counts.distances),
                    scaffold_first: counts.scaffold_first as f64 / count as f64,
                }
            })
            .collect();
        let counted = |name: &str, count: u64| Counted { name: name.to_owned(), count, share: share(count) };
        let mut patterns: Vec<Counted> = self.patterns.iter().map(|(name, &count)| counted(name, count)).collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.count));
        let of_kind = |wanted: Kind| kinds.iter().find(|stats| stats.kind == wanted).map_or(0, |stats| stats.count);
        let mut changes: Vec<ChangeStats> = self
            .changes
            .iter()
            .map(|((kind, from, to), change)| ChangeStats {
                kind: *kind,
                from: from.clone(),
                to: to.clone(),
                count: change.count,
                share: change.count as f64 / of_kind(*kind).max(1) as f64,
                error_share: errors.and_then(|errors| error_share(errors, *kind, from.as_deref()?, to.as_deref()?)),
            })
            .collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.count));
        PairStats {
            pairs: self.pairs,
            examples: self.examples.len() as u64,
            mean_weight: mean(self.weight),
            sources: self.sources.iter().map(|(source, &count)| counted(source.name(), count)).collect(),
            patterns,
            changes,
            label_distance: errors.and_then(|errors| self.variation(errors, Kind::Label)),
            relation_distance: errors.and_then(|errors| self.variation(errors, Kind::RelationLabel)),
            distances: Distances::of(&all),
            prefix_shared: mean(self.prefix_sum),
            scaffold_first: share(self.scaffold_first),
            kinds,
        }
    }

    /// Total variation distance between the changes of a kind that modes proposed and those on validation.
    fn variation(&self, errors: &ErrorModes, kind: Kind) -> Option<f64> {
        let confusion = confusion_kind(kind)?;
        let mut shares: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        let seen = errors.count(confusion) as f64;
        for mode in errors.of_kind(confusion) {
            if let (Some(from), Some(to)) = (&mode.gold, &mode.predicted) {
                *shares.entry((from, to)).or_default() += mode.count as f64 / seen;
            }
        }
        let of_kind = || self.changes.iter().filter(|((other, ..), _)| *other == kind);
        let made: u64 = of_kind().map(|(_, change)| change.from_modes).sum();
        if seen == 0.0 || made == 0 {
            return None;
        }
        for ((_, from, to), change) in of_kind() {
            if let (Some(from), Some(to)) = (from, to) {
                *shares.entry((label_part(from), label_part(to))).or_default() -=
                    change.from_modes as f64 / made as f64;
            }
        }
        Some(shares.values().map(|difference| difference.abs()).sum::<f64>() / 2.0)
    }
}

/// The kind of error mode whose labels an edit of this kind changes.
fn confusion_kind(kind: Kind) -> Option<ModeKind> {
    match kind {
        Kind::Label => Some(ModeKind::LabelConfusion),
        Kind::RelationLabel => Some(ModeKind::RelationConfusion),
        _ => None,
    }
}

fn error_share(errors: &ErrorModes, kind: Kind, from: &str, to: &str) -> Option<f64> {
    let confusion = confusion_kind(kind)?;
    let is_this = |mode: &&tabpo_metrics::modes::ErrorMode| {
        mode.gold.as_deref() == Some(label_part(from)) && mode.predicted.as_deref() == Some(label_part(to))
    };
    let count: u64 = errors.of_kind(confusion).filter(is_this).map(|mode| mode.count).sum();
    let seen = errors.count(confusion);
    (seen > 0).then(|| count as f64 / seen as f64)
}

/// The label of `Label/sub-label`.
fn label_part(name: &str) -> &str {
    name.split_once('/').map_or(name, |(label, _)| label)
}

impl Distances {
    /// From the number of pairs at each distance.
    fn of(counts: &BTreeMap<u32, u64>) -> Self {
        let total: u64 = counts.values().sum();
        let sum: f64 = counts.iter().map(|(&distance, &count)| f64::from(distance) * count as f64).sum();
        // The distance of the pair at a rank counted from 1.
        let at = |rank: u64| {
            let mut seen = 0;
            let found = counts.iter().find(|(_, count)| {
                seen += **count;
                seen >= rank
            });
            found.map_or(0, |(&distance, _)| distance)
        };
        Self {
            least: at(1),
            median: at(total.div_ceil(2)),
            mean: if total == 0 { 0.0 } else { sum / total as f64 },
            ninth_decile: at((9 * total).div_ceil(10)),
            largest: at(total),
        }
    }
}
