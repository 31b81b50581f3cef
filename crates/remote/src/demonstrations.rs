//! Demonstrations: training units with their gold answers, shown before the source text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use tabpo_corpus::Unit;
use tabpo_ontology::Ontology;

use crate::Selection;

/// A text with its gold answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The source text.
    pub text: String,
    /// The canonical answer.
    pub answer: String,
}

/// Training units to choose demonstrations from.
#[derive(Clone, Debug)]
pub struct Demonstrations {
    pool: Vec<Demonstration>,
    /// Document and sentence of each, so that a unit is never its own demonstration.
    places: Vec<(String, Option<u32>)>,
    shots: usize,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// These for every prompt; one more than requested, in case the prompt is among them.
    Same(Vec<usize>),
    Nearest(Index),
}

/// An inverted index of tf-idf vectors of length 1.
#[derive(Clone, Debug)]
struct Index {
    postings: HashMap<String, Vec<(u32, f64)>>,
    idf: HashMap<String, f64>,
}

impl Demonstrations {
    /// Prepares `shots` demonstrations per prompt from training units, chosen by [`Selection`].
    pub fn new(units: &[Unit], ontology: &Ontology, shots: usize, selection: Selection, seed: u64) -> Self {
        let pool: Vec<Demonstration> = units
            .iter()
            .map(|unit| Demonstration {
                text: unit.text().to_owned(),
                answer: tabpo_answer::render(&tabpo_answer::gold(unit), ontology).text,
            })
            .collect();
        let places = units.iter().map(|unit| (unit.document.key.clone(), unit.sentence)).collect();
        let wanted = (shots + 1).min(pool.len());
        let rule = match selection {
            Selection::Fixed => Rule::Same(covering(units, wanted)),
            Selection::Random => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                Rule::Same(index::sample(&mut random, pool.len(), wanted).into_vec())
            }
            Selection::Nearest => Rule::Nearest(Index::new(pool.iter().map(|one| one.text.as_str()))),
        };
        Self { pool, places, shots, rule }
    }

    /// The demonstrations for a unit, in the order in which they are shown.
    pub fn choose(&self, unit: &Unit) -> Vec<&Demonstration> {
        let own = |&place: &usize| self.places[place].0 == unit.document.key && self.places[place].1 == unit.sentence;
        let mut chosen: Vec<usize> = match &self.rule {
            Rule::Same(places) => places.iter().copied().filter(|place| !own(place)).take(self.shots).collect(),
            Rule::Nearest(index) => {
                let ranked = index.ranked(unit.text());
                ranked.into_iter().filter(|place| !own(place)).take(self.shots).collect()
            }
        };
        if matches!(self.rule, Rule::Nearest(_)) {
            chosen.reverse();
        }
        chosen.into_iter().map(|place| &self.pool[place]).collect()
    }
}

/// Units chosen greedily: each time the first one with the most labels not shown yet. Once no unit adds
/// a label, all count as not shown again.
fn covering(units: &[Unit], wanted: usize) -> Vec<usize> {
    let labels: Vec<BTreeSet<(bool, u16)>> = units
        .iter()
        .map(|unit| {
            let entities = unit.mentions().map(|(_, mention)| (false, mention.label.0));
            entities.chain(unit.relations().map(|relation| (true, relation.label.0))).collect()
        })
        .collect();
    let (mut chosen, mut shown) = (Vec::new(), BTreeSet::new());
    while chosen.len() < wanted {
        let left = (0..units.len()).filter(|place| !chosen.contains(place));
        let new = |place: &usize| labels[*place].difference(&shown).count();
        // `max_by_key` takes the last of equals, so the order is reversed.
        let Some(best) = left.rev().max_by_key(new) else { break };
        if new(&best) == 0 && !shown.is_empty() {
            shown.clear();
            continue;
        }
        shown.extend(labels[best].iter().copied());
        chosen.push(best);
    }
    chosen
}

impl Index {
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let counts: Vec<BTreeMap<String, f64>> = texts.map(words).collect();
        let mut frequency: HashMap<String, f64> = HashMap::new();
        for word in counts.iter().flat_map(BTreeMap::keys) {
            *frequency.entry(word.clone()).or_default() += 1.0;
        }
        let total = counts.len() as f64;
        let idf: HashMap<String, f64> =
            frequency.into_iter().map(|(word, count)| (word, ((1.0 + total) / (1.0 + count)).ln() + 1.0)).collect();
        let mut postings: HashMap<String, Vec<(u32, f64)>> = HashMap::new();
        for (place, counts) in counts.iter().enumerate() {
            let length = counts.iter().map(|(word, count)| (count * idf[word]).powi(2)).sum::<f64>().sqrt();
            for (word, count) in counts {
                postings.entry(word.clone()).or_default().push((place as u32, count * idf[word] / length));
            }
        }
        Self { postings, idf }
    }

    /// All texts that share a word, most similar first, ties in order. The query's norm does not matter
    /// for the order.
    fn ranked(&self, text: &str) -> Vec<usize> {
        let mut similarity: HashMap<u32, f64> = HashMap::new();
        for (word, count) in words(text) {
            for &(place, weight) in self.postings.get(&word).into_iter().flatten() {
                *similarity.entry(place).or_default() += count * self.idf[&word] * weight;
            }
        }
        let mut ranked: Vec<(u32, f64)> = similarity.into_iter().collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        ranked.into_iter().map(|(place, _)| place as usize).collect()
    }
}

/// Lower-cased words with their counts, sorted so that sums do not depend on hashing.
fn words(text: &str) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1.0;
    }
    counts
}
