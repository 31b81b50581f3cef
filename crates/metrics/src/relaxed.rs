//! Relaxed matching of texts.
//!
//! Two texts match if the set of lower-cased words of one contains the other's, or if the sets have
//! a Jaccard index of at least 0.6.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::ops::Range;

use rustc_hash::FxBuildHasher;
use smallvec::{SmallVec, smallvec};
use tabpo_corpus::Span;

use crate::interner::Interner;

/// The texts of a document as numbers, and the words of each, so that they can be compared quickly.
/// Made to be cleared and filled again and again.
#[derive(Default)]
pub(crate) struct Texts {
    known: Interner,
    /// The words of each text.
    sets: Vec<WordSet>,
    /// The words of all texts, those of each in order and without duplicates.
    words: Vec<Word>,
    /// The texts in lower case, one behind the other.
    letters: Vec<u8>,
}

/// The set of words of a text.
struct WordSet {
    /// A bit for each word, by its hash: sets without a common bit have no common word.
    bits: u64,
    /// The place of the set in [`Texts::words`].
    words: Range<usize>,
}

/// A word, in the order of hash and letters.
struct Word {
    hash: u64,
    /// Its place in [`Texts::letters`].
    letters: Range<usize>,
}

impl Word {
    fn cmp(&self, other: &Self, letters: &[u8]) -> Ordering {
        let of = |word: &Self| &letters[word.letters.clone()];
        self.hash.cmp(&other.hash).then_with(|| of(self).cmp(of(other)))
    }
}

/// An item with a text: its place, if it has one, and the number of its text.
pub(crate) type WordedItem = (Option<Span>, u32);

impl Texts {
    /// Forgets all texts.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.sets.clear();
        self.words.clear();
        self.letters.clear();
    }

    /// The number of a text in normal form; equal texts have the same.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        let number = self.known.number(text.as_bytes());
        if number as usize == self.sets.len() {
            self.add_words(text);
        }
        number
    }

    fn add_words(&mut self, text: &str) {
        let Self { sets, words, letters, .. } = self;
        let (mut start, first) = (letters.len(), words.len());
        if text.is_ascii() {
            letters.extend_from_slice(text.as_bytes());
            letters[start..].make_ascii_lowercase();
        } else {
            letters.extend_from_slice(text.to_lowercase().as_bytes());
        }
        let mut bits = 0;
        // In normal form, words are what is between single spaces.
        for word in letters[start..].split(|&byte| byte == b' ') {
            let place = start..start + word.len();
            start = place.end + 1;
            if !word.is_empty() {
                let hash = FxBuildHasher.hash_one(word);
                bits |= 1 << (hash % 64);
                words.push(Word { hash, letters: place });
            }
        }
        if words.len() > first + 1 {
            words[first..].sort_unstable_by(|a, b| a.cmp(b, letters));
            let mut kept = first;
            for index in first + 1..words.len() {
                if words[index].cmp(&words[kept], letters).is_ne() {
                    kept += 1;
                    words.swap(kept, index);
                }
            }
            words.truncate(kept + 1);
        }
        sets.push(WordSet { bits, words: first..words.len() });
    }

    fn has_words(&self, text: u32) -> bool {
        !self.sets[text as usize].words.is_empty()
    }

    /// Whether two texts match. An empty set is contained in every other: see [`greedy_matches`] for
    /// what that allows.
    fn alike(&self, a: u32, b: u32) -> bool {
        if a == b {
            return true;
        }
        let (a, b) = (&self.sets[a as usize], &self.sets[b as usize]);
        let shared = if a.bits & b.bits == 0 { 0 } else { self.shared(a, b) };
        let union = a.words.len() + b.words.len() - shared;
        // Jaccard >= 0.6, in integers.
        shared == a.words.len().min(b.words.len()) || 5 * shared >= 3 * union
    }

    /// How many words two sets share.
    fn shared(&self, a: &WordSet, b: &WordSet) -> usize {
        let (mut a, mut b) = (&self.words[a.words.clone()], &self.words[b.words.clone()]);
        let mut shared = 0;
        while let ([first, rest @ ..], [other_first, other_rest @ ..]) = (a, b) {
            match first.cmp(other_first, &self.letters) {
                Ordering::Less => a = rest,
                Ordering::Greater => b = other_rest,
                Ordering::Equal => {
                    (a, b) = (rest, other_rest);
                    shared += 1;
                }
            }
        }
        shared
    }
}

/// How many predicted texts find a gold text, as the public TAB-PO code counts: each predicted
/// text in output order takes the first gold text that matches and is not taken. It ignores labels
/// and places, depends on the order, and a copy of the whole source matches every gold text; it is
/// here for comparison only.
pub(crate) fn greedy_matches(known: &Texts, gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    if gold.is_empty() || predicted.is_empty() {
        return 0;
    }
    // A bit for each gold text that is not taken, in its order.
    let mut free: SmallVec<[u64; 4]> = gold.chunks(64).map(|texts| u64::MAX >> (64 - texts.len())).collect();
    let mut matches = 0;
    for &(_, text) in predicted {
        'texts: for (word, texts) in free.iter_mut().zip(gold.chunks(64)) {
            let mut left = *word;
            while left != 0 {
                let first = left.trailing_zeros();
                if known.alike(text, texts[first as usize].1) {
                    *word &= !(1 << first);
                    matches += 1;
                    break 'texts;
                }
                left &= left - 1;
            }
        }
    }
    matches
}

/// The size of a maximum one-to-one matching of predicted and gold items whose texts match and
/// whose spans overlap. Items without words or without a place never match, so neither empty
/// strings nor copies of the source can win anything, and the order does not matter.
pub(crate) fn strict_matches(texts: &Texts, gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    let fits = |&(span, text): &WordedItem, &(gold_span, gold_text): &WordedItem| {
        span.zip(gold_span).is_some_and(|(span, gold_span)| span.overlaps(gold_span))
            && texts.has_words(text)
            && texts.has_words(gold_text)
            && texts.alike(text, gold_text)
    };
    if gold.is_empty() || predicted.is_empty() {
        return 0;
    }
    let mut edges = Edges::default();
    for item in predicted {
        edges.add((0..gold.len()).filter(|&index| fits(item, &gold[index])));
    }
    maximum_matching(&edges, gold.len())
}

/// A bipartite graph: the right nodes that each left node may take.
#[derive(Debug, Default)]
struct Edges {
    right: SmallVec<[usize; 32]>,
    /// Where the edges of each left node end.
    ends: SmallVec<[usize; 32]>,
}

impl Edges {
    /// Adds a left node.
    fn add(&mut self, right: impl Iterator<Item = usize>) {
        self.right.extend(right);
        self.ends.push(self.right.len());
    }

    fn of(&self, left: usize) -> &[usize] {
        let start = if left == 0 { 0 } else { self.ends[left - 1] };
        &self.right[start..self.ends[left]]
    }

    /// Whether no right node has two edges: then every left node with an edge can have one.
    fn are_disjoint(&self, right: usize) -> bool {
        let mut seen: SmallVec<[bool; 64]> = smallvec![false; right];
        self.right.iter().all(|&right| !std::mem::replace(&mut seen[right], true))
    }
}

/// The size of a maximum matching, by augmenting paths.
fn maximum_matching(edges: &Edges, right: usize) -> u32 {
    if edges.are_disjoint(right) {
        return (0..edges.ends.len()).filter(|&left| !edges.of(left).is_empty()).count() as u32;
    }
    let mut holder: Vec<Option<usize>> = vec![None; right];
    let mut visited = vec![usize::MAX; right];
    let mut size = 0;
    for start in 0..edges.ends.len() {
        // Depth-first search with its own stack: (left node, next edge to try).
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((left, edge)) = path.last_mut() {
            let Some(&candidate) = edges.of(*left).get(*edge) else {
                path.pop();
                continue;
            };
            *edge += 1;
            if visited[candidate] == start {
                continue;
            }
            visited[candidate] = start;
            if let Some(next) = holder[candidate] {
                path.push((next, 0));
            } else {
                // Every left node on the path takes the right node that it tried last.
                for &(left, edge) in &path {
                    holder[edges.of(left)[edge - 1]] = Some(left);
                }
                size += 1;
                break;
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_match_by_containment_or_overlap() {
        let mut texts = Texts::default();
        let mut alike_texts = |a: &str, b: &str| {
            let (a, b) = (texts.number(a), texts.number(b));
            texts.alike(a, b)
        };
        assert!(alike_texts("Optical Flow", "optical flow estimation"));
        assert!(alike_texts("a b c d", "b c d e"));
        assert!(!alike_texts("a b c", "c d e"));
        assert!(alike_texts("a b c x", "a b c y")); // 3 of 5
        assert!(!alike_texts("a b x", "a b y")); // 2 of 4
        assert!(alike_texts("", "anything"));
    }

    #[test]
    fn texts_match_alike_with_few_and_many_words() {
        let mut texts = Texts::default();
        let pairs = [("a b c d", "b c d e"), ("a b c", "c d e"), ("w0 w64", "w1 w65"), ("w0 w64", "w0")];
        let compare = |texts: &mut Texts| {
            pairs.map(|(a, b)| {
                let (a, b) = (texts.number(a), texts.number(b));
                texts.alike(a, b)
            })
        };
        assert_eq!(compare(&mut texts), [true, false, false, true]);
        for number in 0..200 {
            texts.number(&format!("w{number}"));
        }
        assert_eq!(compare(&mut texts), [true, false, false, true]);
        texts.clear();
        for number in 0..200 {
            texts.number(&format!("w{number}"));
        }
        assert_eq!(compare(&mut texts), [true, false, false, true]);
        // The bits of both words coincide, the words do not.
        let (a, b) = (texts.number("w0"), texts.number("w64"));
        assert!(!texts.alike(a, b));
    }

    /// Items at the given token ranges; an empty range stands for no place.
    fn items<const N: usize>(texts: &mut Texts, items: [(u32, u32, &str); N]) -> Vec<WordedItem> {
        let place = |start, end| (start < end).then(|| Span::new(start, end));
        items.into_iter().map(|(start, end, text)| (place(start, end), texts.number(text))).collect()
    }

    #[test]
    fn greedy_depends_on_order_and_strict_does_not() {
        let mut texts = Texts::default();
        let gold = items(&mut texts, [(0, 1, "a"), (0, 2, "a b c")]);
        let predicted = items(&mut texts, [(0, 1, "a"), (0, 1, "a x y")]);
        let reversed: Vec<WordedItem> = predicted.iter().rev().copied().collect();
        assert_eq!(greedy_matches(&texts, &gold, &predicted), 1);
        assert_eq!(greedy_matches(&texts, &gold, &reversed), 2);
        assert_eq!(strict_matches(&texts, &gold, &predicted), 2);
        assert_eq!(strict_matches(&texts, &gold, &reversed), 2);
    }

    #[test]
    fn the_gaming_of_the_compatible_match_fails_under_the_strict_one() {
        let mut texts = Texts::default();
        let source = "we use optical flow to track cars";
        let gold = items(&mut texts, [(2, 4, "optical flow"), (6, 7, "cars")]);
        let copies = items(&mut texts, [(0, 7, source), (0, 0, source)]);
        let empty = items(&mut texts, [(0, 0, ""), (0, 7, "")]);
        assert_eq!(greedy_matches(&texts, &gold, &copies), 2);
        assert_eq!(greedy_matches(&texts, &gold, &empty), 2);
        // A copy of the source can be placed once, and then covers one gold item.
        assert_eq!(strict_matches(&texts, &gold, &copies), 1);
        assert_eq!(strict_matches(&texts, &gold, &empty), 0);
    }

    #[test]
    fn matching_is_maximum() {
        let edges = |lists: &[&[usize]]| {
            let mut edges = Edges::default();
            for list in lists {
                edges.add(list.iter().copied());
            }
            edges
        };
        // A greedy choice of 0 for the first left node would block the second.
        assert_eq!(maximum_matching(&edges(&[&[0, 1], &[0]]), 2), 2);
        assert_eq!(maximum_matching(&edges(&[&[0, 1], &[0, 2], &[0], &[0]]), 3), 3);
        assert_eq!(maximum_matching(&edges(&[&[], &[0]]), 1), 1);
    }
}
