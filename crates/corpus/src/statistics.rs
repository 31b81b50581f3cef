//! What a corpus holds, in numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tabpo_ontology::{EntityLabelId, Ontology};

use crate::{Document, Level, Span, Unit};

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
    /// Surface forms that more than one mention of the unit bears.
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
    let pairs: Vec<(Span, Span)> = documents.iter().flat_map(overlapping_pairs).collect();
    let count_pairs = |test: fn(Span, Span) -> bool| pairs.iter().filter(|(a, b)| test(*a, *b)).count() as u64;
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
        nested_pairs: count_pairs(|a, b| a != b && (a.contains(b) || b.contains(a))),
        crossing_pairs: count_pairs(|a, b| !a.contains(b) && !b.contains(a)),
        same_span_pairs: count_pairs(|a, b| a == b),
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

/// Pairs of mentions that share a token.
fn overlapping_pairs(document: &Document) -> Vec<(Span, Span)> {
    let mut pairs = Vec::new();
    for (index, first) in document.mentions.iter().enumerate() {
        // Mentions are sorted by start, so the rest begins after `first` ends.
        let rest = document.mentions[index + 1..].iter().take_while(|second| second.span.start < first.span.end);
        pairs.extend(rest.map(|second| (first.span, second.span)));
    }
    pairs
}

fn surfaces<'a>(units: impl Iterator<Item = Unit<'a>>) -> SurfaceStatistics {
    let mut statistics = SurfaceStatistics::default();
    for unit in units {
        let mut labels: BTreeMap<Vec<&str>, (u64, BTreeSet<EntityLabelId>)> = BTreeMap::new();
        for (_, mention) in unit.mentions() {
            let words: Vec<&str> = mention.span.range().map(|token| unit.document.token(token)).collect();
            let occurrences = occurrences(&unit, &words);
            if occurrences.len() > 1 {
                statistics.mentions_repeated += 1;
                statistics.mentions_not_first += u64::from(occurrences[0] != mention.span.start);
            }
            let entry = labels.entry(words).or_default();
            entry.0 += 1;
            entry.1.insert(mention.label);
        }
        statistics.repeated += labels.values().filter(|(count, _)| *count > 1).count() as u64;
        statistics.ambiguous += labels.values().filter(|(_, labels)| labels.len() > 1).count() as u64;
    }
    statistics
}

/// First tokens of all occurrences of a token sequence in a unit.
fn occurrences(unit: &Unit, words: &[&str]) -> Vec<u32> {
    let span = unit.span();
    let matches =
        |start: u32| words.iter().zip(start as usize..).all(|(&word, token)| unit.document.token(token) == word);
    (span.start..=span.end - words.len() as u32).filter(|&start| matches(start)).collect()
}

/// The share of mentions in `test` whose text is the text of no mention in `train`, over mentions
/// for which `keep` holds; 0 if there are none.
pub fn unseen_rate(test: &[Document], train: &[Document], keep: impl Fn(EntityLabelId) -> bool) -> f64 {
    let texts = |documents: &'_ [Document]| -> Vec<(EntityLabelId, String)> {
        let mentions = documents.iter().flat_map(|document| {
            document.mentions.iter().map(move |mention| (mention.label, document.span_text(mention.span).to_owned()))
        });
        mentions.collect()
    };
    let seen: BTreeSet<String> = texts(train).into_iter().map(|(_, text)| text).collect();
    let wanted: Vec<String> = texts(test).into_iter().filter(|(label, _)| keep(*label)).map(|(_, text)| text).collect();
    let unseen = wanted.iter().filter(|text| !seen.contains(*text)).count();
    if wanted.is_empty() { 0.0 } else { unseen as f64 / wanted.len() as f64 }
}
