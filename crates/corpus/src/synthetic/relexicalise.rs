//! The synthetic corpus in the words of another one.
//!
//! A small model that learns to copy on the synthetic corpus learns to copy the few hundred words
//! that it is made of. With the words of the corpus that comes next, it learns to copy those.

use std::collections::{BTreeSet, HashMap};

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::Document;

/// The distinct words of some documents that can stand for a word of a term: at least three
/// characters, of which the first is a letter.
pub fn words(documents: &[Document]) -> Vec<String> {
    let tokens = documents.iter().flat_map(|document| (0..document.tokens.len()).map(|index| document.token(index)));
    let fit = |word: &&str| word.chars().count() >= 3 && word.starts_with(char::is_alphabetic);
    tokens.filter(fit).map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
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
    let mut text = String::with_capacity(document.text.len());
    let mut tokens = Vec::with_capacity(document.tokens.len());
    let mut end = 0;
    for (index, range) in document.tokens.iter().enumerate() {
        text.push_str(&document.text[end..range.start as usize]);
        end = range.end as usize;
        let token = document.token(index);
        let start = text.len() as u32;
        text.push_str(if last.contains(&index) {
            token
        } else {
            replacements.get(token).copied().flatten().unwrap_or(token)
        });
        tokens.push(start..text.len() as u32);
    }
    text.push_str(&document.text[end..]);
    Document { text, tokens, ..document.clone() }
}
