//! Documents with other words: the built-in corpus with the words of another one, and copies of documents
//! with their content words replaced.
//!
//! A small model that is trained to copy on one corpus learns to copy the words of that corpus, or memorises
//! its sentences. With new words in the same places it has to learn copying itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use tabpo_corpus::Document;

use crate::exchange::MentionExchange;

/// The most frequent words of a corpus, mostly function words, which are never replaced.
const COMMON: usize = 150;
/// Share of the replacements that are invented words: the beginning of one word with the end of another. They
/// stand in for words that the training data lacks.
const INVENTED: f64 = 0.4;
/// How many final characters a replacement shares with its word.
const ENDING: usize = 2;

/// The distinct words of some documents that can replace a word of a term: at least three characters, the
/// first one a letter.
pub fn words(documents: &[Document]) -> Vec<String> {
    all_words(documents).filter(|word| fit(word)).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

fn all_words(documents: &[Document]) -> impl Iterator<Item = &str> {
    documents.iter().flat_map(|document| (0..document.tokens.len()).map(|index| document.token(index)))
}

fn fit(word: &str) -> bool {
    word.chars().count() >= 3 && word.starts_with(char::is_alphabetic)
}

/// `count` copies of the documents with other words. In each, a share of the mentions is exchanged for
/// other mentions of the same label (and sub-label), and then a share of the content words, inside
/// mentions and outside, for words with the same ending, from the documents or invented; a word that occurs
/// several times in a document gets the same replacement each time. What identifies labels and phrase
/// boundaries stays: mentions of the same label, function words, and the endings that make a word a noun or a
/// verb. Annotation follows the words. Keys get the number of the copy.
pub fn copies(documents: &[Document], count: usize, share: f64, seed: u64) -> Vec<Document> {
    let vocabulary = Vocabulary::new(documents);
    let mentions = MentionExchange::new(documents);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut copies = Vec::with_capacity(count * documents.len());
    for number in 1..=count {
        for document in documents {
            let document = mentions.exchange(document, share, &mut random);
            let mut replacements: HashMap<&str, Option<String>> = HashMap::new();
            let copy = rewritten(&document, |index| {
                let word = document.token(index);
                let replacement =
                    replacements.entry(word).or_insert_with(|| vocabulary.another(word, share, &mut random));
                replacement.clone().map(Cow::Owned)
            });
            copies.push(Document { key: format!("{}~{number}", document.key), ..copy });
        }
    }
    copies
}

/// The content words of some documents by their endings.
struct Vocabulary<'a> {
    by_ending: BTreeMap<String, Vec<&'a str>>,
    content: BTreeSet<&'a str>,
}

impl<'a> Vocabulary<'a> {
    fn new(documents: &'a [Document]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        all_words(documents).for_each(|word| *counts.entry(word).or_default() += 1);
        let mut by_count: Vec<(&str, usize)> = counts.into_iter().collect();
        by_count.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let content: BTreeSet<&str> =
            by_count.into_iter().skip(COMMON).map(|(word, _)| word).filter(|word| fit(word)).collect();
        let mut by_ending: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for word in &content {
            by_ending.entry(ending(word)).or_default().push(word);
        }
        Self { by_ending, content }
    }

    /// With probability `share`, a replacement of a content word: a word with the same ending, or the beginning
    /// of one with the rest of another.
    fn another(&self, word: &str, share: f64, random: &mut impl Rng) -> Option<String> {
        if !self.content.contains(word) || !random.random_bool(share) {
            return None;
        }
        let choices = &self.by_ending[&ending(word)];
        let (first, second) = (choices.choose(random)?, choices.choose(random)?);
        if !random.random_bool(INVENTED) {
            return Some((*first).to_owned());
        }
        let (first, second): (Vec<char>, Vec<char>) = (first.chars().collect(), second.chars().collect());
        let head = random.random_range(1..=first.len());
        let tail = random.random_range(0..=second.len().saturating_sub(ENDING));
        Some(first[..head].iter().chain(&second[tail..]).collect())
    }
}

/// The last characters of a word, with a mark before them if the word is capitalised.
fn ending(word: &str) -> String {
    let mark = word.starts_with(char::is_uppercase).then_some('^');
    let mut last: Vec<char> = word.chars().rev().take(ENDING).collect();
    last.reverse();
    mark.into_iter().chain(last).collect()
}

/// Replaces words inside mentions by words from `words`, each with probability `share` and by the same word
/// throughout a document. The last word of a mention, which shows its label, is kept. Annotation stays where
/// it is. If `words` is empty, nothing changes.
pub fn relexicalise(documents: &[Document], words: &[String], share: f64, seed: u64) -> Vec<Document> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    documents.iter().map(|document| replaced(document, words, share, &mut rng)).collect()
}

fn replaced(document: &Document, words: &[String], share: f64, rng: &mut ChaCha8Rng) -> Document {
    let last: BTreeSet<usize> = document.mentions.iter().map(|mention| mention.span.end as usize - 1).collect();
    let inside: BTreeSet<usize> = document.mentions.iter().flat_map(|mention| mention.span.range()).collect();
    let mut replacements: HashMap<&str, Option<&str>> = HashMap::new();
    for &index in inside.difference(&last) {
        replacements.entry(document.token(index)).or_insert_with(|| {
            let chosen = if rng.random_bool(share) { words.choose(rng) } else { None };
            chosen.map(String::as_str)
        });
    }
    rewritten(document, |index| {
        let kept = last.contains(&index);
        if kept { None } else { replacements.get(document.token(index)).copied().flatten().map(Cow::Borrowed) }
    })
}

/// The document with some tokens replaced.
fn rewritten<'a>(document: &'a Document, mut replacement: impl FnMut(usize) -> Option<Cow<'a, str>>) -> Document {
    let mut text = String::with_capacity(document.text.len());
    let mut tokens = Vec::with_capacity(document.tokens.len());
    let mut end = 0;
    for (index, range) in document.tokens.iter().enumerate() {
        text.push_str(&document.text[end..range.start as usize]);
        end = range.end as usize;
        let start = text.len() as u32;
        text.push_str(&replacement(index).unwrap_or(Cow::Borrowed(document.token(index))));
        tokens.push(start..text.len() as u32);
    }
    text.push_str(&document.text[end..]);
    Document { text, tokens, ..document.clone() }
}
