//! Mentions exchanged for other mentions of the same label: the same sentences about other things.
//!
//! "Mention replacement" of Dai and Adel, An Analysis of Simple Data Augmentation for Named Entity
//! Recognition, COLING 2020.

use std::collections::BTreeMap;

use rand::{Rng, RngExt, seq::IndexedRandom};
use tabpo_corpus::{Document, Mention, Span};
use tabpo_ontology::{EntityLabelId, SubtypeId};

/// The mentions of some documents by label and sub-label, each as its words.
pub(crate) struct MentionExchange<'a> {
    by_label: BTreeMap<(EntityLabelId, Option<SubtypeId>), Vec<Vec<&'a str>>>,
}

impl<'a> MentionExchange<'a> {
    /// Collects the mentions; frequent ones are drawn more often.
    pub(crate) fn new(documents: &'a [Document]) -> Self {
        let mut by_label: BTreeMap<_, Vec<Vec<&str>>> = BTreeMap::new();
        for document in documents {
            for mention in &document.mentions {
                let words = mention.span.range().map(|index| document.token(index)).collect();
                by_label.entry((mention.label, mention.subtype)).or_default().push(words);
            }
        }
        Self { by_label }
    }

    /// The document with each mention exchanged with probability `share`. Mentions that overlap others stay;
    /// relations, sentences and the other mentions follow the words. Co-reference clusters, which would no
    /// longer be true, are dropped.
    pub(crate) fn exchange(&self, document: &Document, share: f64, random: &mut impl Rng) -> Document {
        let mut replaced: BTreeMap<u32, (u32, &[&str])> = BTreeMap::new();
        for (index, mention) in document.mentions.iter().enumerate() {
            let mut others = document.mentions.iter().enumerate().filter(|(other, _)| *other != index);
            let alone = !others.any(|(_, other)| other.span.overlaps(mention.span));
            if alone && random.random_bool(share) {
                let choices = &self.by_label[&(mention.label, mention.subtype)];
                if let Some(words) = choices.choose(random) {
                    replaced.insert(mention.span.start, (mention.span.end, words));
                }
            }
        }
        rebuilt(document, &replaced)
    }
}

/// The document with the token ranges in `replaced` (start, end and the new words) rewritten.
fn rebuilt(document: &Document, replaced: &BTreeMap<u32, (u32, &[&str])>) -> Document {
    let count = document.tokens.len();
    let mut text = String::with_capacity(document.text.len());
    let mut tokens = Vec::with_capacity(count);
    // Where each token boundary of the old document lies in the new one.
    let mut boundary = vec![0; count + 1];
    let (mut index, mut end) = (0, 0);
    while index < count {
        let (next, words) = match replaced.get(&(index as u32)) {
            Some(&(next, words)) => (next as usize, words.to_vec()),
            None => (index + 1, vec![document.token(index)]),
        };
        text.push_str(&document.text[end..document.tokens[index].start as usize]);
        for (position, word) in words.into_iter().enumerate() {
            if position > 0 {
                text.push(' ');
            }
            let start = text.len() as u32;
            text.push_str(word);
            tokens.push(start..text.len() as u32);
        }
        end = document.tokens[next - 1].end as usize;
        boundary[index + 1..=next].fill(tokens.len() as u32);
        index = next;
    }
    text.push_str(&document.text[end..]);
    let moved = |span: Span| Span::new(boundary[span.start as usize], boundary[span.end as usize]);
    Document {
        text,
        tokens,
        sentences: document.sentences.iter().map(|&span| moved(span)).collect(),
        mentions: document.mentions.iter().map(|mention| Mention { span: moved(mention.span), ..*mention }).collect(),
        clusters: Vec::new(),
        ..document.clone()
    }
}
