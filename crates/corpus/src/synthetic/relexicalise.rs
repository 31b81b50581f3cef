//! Documents in other words: the built-in corpus in the words of another one, and copies of documents
//! with their content words exchanged.
//!
//! A small model that learns to copy on a corpus learns to copy the words that it is made of, or
//! learns its sentences by heart. Other words in the same places leave it nothing but to copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::Document;

/// The most frequent words of a corpus, mostly words of grammar, which are never replaced.
const COMMON: usize = 150;
/// Share of the replacements that are invented words: the beginning of one word with the end of
/// another, for the words that will only be met later.
const INVENTED: f64 = 0.4;

/// The distinct words of some documents that can stand for a word of a term: at least three
/// characters, of which the first is a letter.
pub fn words(documents: &[Document]) -> Vec<String> {
    all_words(documents).filter(|word| fit(word)).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

fn all_words(documents: &[Document]) -> impl Iterator<Item = &str> {
    documents.iter().flat_map(|document| (0..document.tokens.len()).map(|index| document.token(index)))
}

fn fit(word: &str) -> bool {
    word.chars().count() >= 3 && word.starts_with(char::is_alphabetic)
}

/// `count` copies of the documents, each with a share of its content words replaced, inside mentions
/// and outside, by other content words of the documents or by invented ones; a word that occurs
/// twice in a document is replaced twice the same. Annotation stays where it is. Keys get the
/// number of the copy.
pub fn copies(documents: &[Document], count: usize, share: f64, seed: u64) -> Vec<Document> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all_words(documents).for_each(|word| *counts.entry(word).or_default() += 1);
    let mut by_count: Vec<(&str, usize)> = counts.into_iter().collect();
    by_count.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let content: BTreeSet<&str> =
        by_count.into_iter().skip(COMMON).map(|(word, _)| word).filter(|word| fit(word)).collect();
    let choices: Vec<&str> = content.iter().copied().collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut copies = Vec::with_capacity(count * documents.len());
    for number in 1..=count {
        for document in documents {
            let mut replacements: HashMap<&str, Option<String>> = HashMap::new();
            let copy = rewritten(document, |index| {
                let word = document.token(index);
                if !content.contains(word) {
                    return None;
                }
                let replacement = replacements
                    .entry(word)
                    .or_insert_with(|| random.random_bool(share).then(|| another(&choices, &mut random)).flatten());
                replacement.clone().map(Cow::Owned)
            });
            copies.push(Document { key: format!("{}~{number}", document.key), ..copy });
        }
    }
    copies
}

/// One of the words, or an invented one.
fn another(choices: &[&str], random: &mut impl Rng) -> Option<String> {
    let (first, second) = (choices.choose(random)?, choices.choose(random)?);
    if !random.random_bool(INVENTED) {
        return Some((*first).to_owned());
    }
    let (first, second): (Vec<char>, Vec<char>) = (first.chars().collect(), second.chars().collect());
    let (head, tail) = (random.random_range(1..=first.len()), random.random_range(0..second.len()));
    Some(first[..head].iter().chain(&second[tail..]).collect())
}

/// Replaces words inside mentions by words of `words`, with probability `share` a word and the same
/// replacement throughout a document. A mention's last word, from which its label can be told, is
/// kept. Annotation stays where it is; without `words`, so does everything.
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
