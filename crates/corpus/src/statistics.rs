//! What a corpus holds, in numbers.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;
use tabpo_ontology::{EntityLabelId, Ontology};

use crate::{Document, Level, Span, Unit, repeats::Repeats};

/// Numbers of a corpus. The same documents always give the same numbers, in the same order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Documents.
    pub documents: u64,
    /// Sentences.
    pub sentences: u64,
    /// Tokens.
    pub tokens: u64,
    /// Entity mentions.
    pub mentions: u64,
    /// Relations; a document never holds the same one twice.
    pub relations: u64,
    /// Mentions of each label, in the order of the ontology.
    pub mentions_by_label: Vec<LabelCount>,
    /// Mentions of each sub-label, as `Label/sub-label`, in the order of the ontology.
    pub mentions_by_subtype: Vec<LabelCount>,
    /// Relations of each type, in the order of the ontology.
    pub relations_by_type: Vec<LabelCount>,
    /// Sentences without a mention.
    pub sentences_without_mention: u64,
    /// Sentences without a relation between two of their mentions.
    pub sentences_without_relation: u64,
    /// Relations between different sentences.
    pub relations_across_sentences: u64,
    /// Pairs of mentions of which one lies inside the other and is shorter.
    pub nested_pairs: u64,
    /// Pairs of mentions that overlap, neither inside the other.
    pub crossing_pairs: u64,
    /// Pairs of mentions with the same span.
    pub same_span_pairs: u64,
    /// Co-reference clusters.
    pub clusters: u64,
    /// Surface forms within a sentence.
    pub surfaces_in_sentence: SurfaceStatistics,
    /// Surface forms within a document.
    pub surfaces_in_document: SurfaceStatistics,
    /// Tokens per sentence.
    pub sentence_length: Distribution,
    /// Mentions per sentence.
    pub mentions_per_sentence: Distribution,
    /// Relations per sentence.
    pub relations_per_sentence: Distribution,
    /// Tokens per mention.
    pub mention_length: Distribution,
}

/// How often a label occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// How often it occurs.
    pub count: u64,
}

/// How ambiguous the texts of mentions are within a unit.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct SurfaceStatistics {
    /// Surface forms that more than one mention of the unit has.
    pub repeated: u64,
    /// Of those, surface forms whose mentions have different labels.
    pub ambiguous: u64,
    /// Mentions whose token sequence occurs more than once in the unit, annotated or not.
    pub mentions_repeated: u64,
    /// Of those, mentions that are not the first occurrence.
    pub mentions_not_first: u64,
}

/// A distribution of small whole numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// Arithmetic mean; none if there is no value.
    pub mean: Option<f64>,
    /// The largest value; 0 if there is none.
    pub max: u64,
    /// How often each value occurs.
    pub histogram: BTreeMap<u64, u64>,
}

impl Distribution {
    fn of(values: impl IntoIterator<Item = usize>) -> Self {
        let mut histogram = BTreeMap::new();
        for value in values {
            *histogram.entry(value as u64).or_default() += 1;
        }
        let count: u64 = histogram.values().sum();
        let total: u64 = histogram.iter().map(|(value, times)| value * times).sum();
        let mean = (count > 0).then(|| total as f64 / count as f64);
        Self { mean, max: histogram.keys().next_back().copied().unwrap_or(0), histogram }
    }
}

/// The statistics of a corpus.
pub fn statistics(documents: &[Document], ontology: &Ontology) -> Statistics {
    let mentions = || documents.iter().flat_map(|document| &document.mentions);
    let units = || documents.iter().flat_map(sentences);
    let overlaps: Vec<Overlaps> = documents.iter().map(overlaps).collect();
    let pairs = |of: fn(&Overlaps) -> u64| overlaps.iter().map(of).sum();
    let relations_per_sentence = Distribution::of(units().map(|unit| unit.relations().count()));
    let mentions_per_sentence = Distribution::of(units().map(|unit| unit.mentions().count()));
    let relations: u64 = documents.iter().map(|document| document.relations.len() as u64).sum();
    let inside: u64 = relations_per_sentence.histogram.iter().map(|(value, times)| value * times).sum();

    Statistics {
        documents: documents.len() as u64,
        sentences: units().count() as u64,
        tokens: documents.iter().map(|document| document.tokens.len() as u64).sum(),
        mentions: mentions().count() as u64,
        relations,
        mentions_by_label: ontology
            .entity_ids()
            .map(|id| LabelCount {
                label: ontology.entity(id).name.clone(),
                count: mentions().filter(|mention| mention.label == id).count() as u64,
            })
            .collect(),
        mentions_by_subtype: ontology
            .entity_ids()
            .flat_map(|id| ontology.subtype_ids(id).map(move |subtype| (id, subtype)))
            .map(|(id, subtype)| LabelCount {
                label: format!("{}/{}", ontology.entity(id).name, ontology.subtype(id, subtype).name),
                count: mentions().filter(|mention| mention.label == id && mention.subtype == Some(subtype)).count()
                    as u64,
            })
            .collect(),
        relations_by_type: ontology
            .relation_ids()
            .map(|id| LabelCount {
                label: ontology.relation(id).name.clone(),
                count: documents
                    .iter()
                    .flat_map(|document| &document.relations)
                    .filter(|relation| relation.label == id)
                    .count() as u64,
            })
            .collect(),
        sentences_without_mention: mentions_per_sentence.histogram.get(&0).copied().unwrap_or(0),
        sentences_without_relation: relations_per_sentence.histogram.get(&0).copied().unwrap_or(0),
        relations_across_sentences: relations - inside,
        nested_pairs: pairs(|overlaps| overlaps.nested),
        crossing_pairs: pairs(|overlaps| overlaps.crossing),
        same_span_pairs: pairs(|overlaps| overlaps.same),
        clusters: documents.iter().map(|document| document.clusters.len() as u64).sum(),
        surfaces_in_sentence: surfaces(units()),
        surfaces_in_document: surfaces(documents.iter().flat_map(|document| Unit::all(document, Level::Document))),
        sentence_length: Distribution::of(units().map(|unit| unit.span().len())),
        mentions_per_sentence,
        relations_per_sentence,
        mention_length: Distribution::of(mentions().map(|mention| mention.span.len())),
    }
}

/// All sentences, those without tokens included.
fn sentences(document: &Document) -> impl Iterator<Item = Unit<'_>> {
    (0..document.sentences.len() as u32).map(move |index| Unit { document, sentence: Some(index) })
}

/// Pairs of mentions that share a token, by how they do.
#[derive(Clone, Copy, Default)]
struct Overlaps {
    nested: u64,
    crossing: u64,
    same: u64,
}

/// Counts the pairs of a document without enumerating them: their number may be quadratic.
fn overlaps(document: &Document) -> Overlaps {
    let spans: Vec<Span> = document.mentions.iter().map(|mention| mention.span).collect();
    let (mut all, mut same, mut crossing) = (0, 0, 0);
    // How many mentions that begin earlier end at each token, as a Fenwick tree.
    let mut ends = vec![0_u64; document.tokens.len() + 2];
    let ends_until = |ends: &[u64], token: u32| -> u64 {
        let mut index = token as usize + 1;
        let mut sum = 0;
        while index > 0 {
            sum += ends[index];
            index &= index - 1;
        }
        sum
    };
    let (mut entered, mut equal) = (0, 0_u64);
    for (index, span) in spans.iter().enumerate() {
        all += (spans.partition_point(|other| other.start < span.end) - index - 1) as u64;
        equal = if index > 0 && spans[index - 1] == *span { equal + 1 } else { 0 };
        same += equal;
        while spans[entered].start < span.start {
            let mut end = spans[entered].end as usize + 1;
            while end < ends.len() {
                ends[end] += 1;
                end += end & end.wrapping_neg();
            }
            entered += 1;
        }
        // Those that end inside this one, after its start.
        crossing += ends_until(&ends, span.end - 1) - ends_until(&ends, span.start);
    }
    Overlaps { nested: all - same - crossing, crossing, same }
}

fn surfaces<'a>(units: impl Iterator<Item = Unit<'a>>) -> SurfaceStatistics {
    let mut statistics = SurfaceStatistics::default();
    for unit in units {
        let mut mentions = unit.mentions().peekable();
        if mentions.peek().is_none() {
            continue;
        }
        let span = unit.span();
        let repeats = Repeats::new(span.range().map(|token| unit.document.token(token)));
        let mut labels: FxHashMap<(u32, u32), (u64, EntityLabelId, bool)> = FxHashMap::default();
        for (_, mention) in mentions {
            let start = mention.span.start - span.start;
            let found = repeats.of(start as usize, mention.span.len());
            if found.count > 1 {
                statistics.mentions_repeated += 1;
                statistics.mentions_not_first += u64::from(found.first != start);
            }
            let (count, label, differ) = labels.entry(found.id).or_insert((0, mention.label, false));
            *count += 1;
            *differ |= *label != mention.label;
        }
        statistics.repeated += labels.values().filter(|(count, ..)| *count > 1).count() as u64;
        statistics.ambiguous += labels.values().filter(|(.., differ)| *differ).count() as u64;
    }
    statistics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mention;

    #[test]
    fn overlaps_are_those_of_all_pairs() {
        // Every set of up to four spans over four tokens, with repetitions.
        let spans: Vec<Span> = (0..4).flat_map(|start| (start + 1..=4).map(move |end| Span::new(start, end))).collect();
        let count = spans.len();
        for number in 0..count.pow(4) {
            let mut chosen: Vec<Span> =
                (0..4).map(|digit| spans[number / count.pow(digit) % count]).take(number % 5).collect();
            chosen.sort_unstable();
            let mention = |&span: &Span| Mention { span, label: EntityLabelId(0), subtype: None };
            let mentions = chosen.iter().map(mention).collect();
            let document = Document { tokens: vec![0..1; 4], mentions, ..Document::default() };
            let (mut nested, mut crossing, mut same) = (0, 0, 0);
            for (index, &a) in chosen.iter().enumerate() {
                for &b in chosen[index + 1..].iter().filter(|b| a.overlaps(**b)) {
                    same += u64::from(a == b);
                    nested += u64::from(a != b && (a.contains(b) || b.contains(a)));
                    crossing += u64::from(!a.contains(b) && !b.contains(a));
                }
            }
            let found = overlaps(&document);
            assert_eq!((found.nested, found.crossing, found.same), (nested, crossing, same), "{chosen:?}");
        }
    }
}
