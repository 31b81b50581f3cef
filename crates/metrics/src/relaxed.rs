//! Relaxed matching of texts.
//!
//! Two texts match if the set of lower-cased words of one contains the other's, or if the sets have
//! a Jaccard index of at least 0.6.

use std::ops::Range;

use smallvec::{SmallVec, smallvec};
use tabpo_answer::comparable;
use tabpo_corpus::Span;
use wide::u8x16;

use crate::interner::Interner;

/// The texts of a document as numbers, and the words of each as numbers too, so that they can be
/// compared without looking at a string again. Made to be cleared and filled again and again.
#[derive(Default)]
pub(crate) struct Texts {
    known: Interner,
    /// The words of each text.
    sets: Vec<WordSet>,
    /// The words of all texts, those of each sorted and without duplicates.
    words: Vec<Word>,
    long_words: Interner,
    lowercase: Vec<u8>,
}

/// The set of words of a text.
struct WordSet {
    /// A bit for each word: sets without a common bit have no common word.
    bits: u64,
    /// The place of the set in [`Texts::words`].
    words: Range<usize>,
}

/// A word: its letters from the lowest byte on, and their number in the highest. A word of more letters
/// than that leaves room for has the number that [`Texts::long_words`] gives it, and 16 in the highest.
type Word = u128;

/// How many letters are looked at in one step.
const STEP: usize = 16;

/// The highest byte of a word.
const HIGHEST: usize = 8 * (STEP - 1);

fn step(bytes: &[u8], start: usize) -> [u8; STEP] {
    bytes[start..start + STEP].try_into().expect("a slice of this length")
}

/// An item with a text: its place, if it has one, and the number of its text.
pub(crate) type WordedItem = (Option<Span>, u32);

impl Texts {
    /// Forgets all texts.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.sets.clear();
        self.words.clear();
        self.long_words.clear();
    }

    /// The number of a text in normal form; texts that Unicode calls equivalent have the same.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        let decomposed;
        let text = if text.is_ascii() {
            text
        } else {
            decomposed = comparable(text);
            &*decomposed
        };
        let number = self.known.number(text.as_bytes());
        if number as usize == self.sets.len() {
            self.add_words(text);
        }
        number
    }

    fn add_words(&mut self, text: &str) {
        let Self { sets, words, long_words, lowercase, .. } = self;
        lowercase.clear();
        if text.is_ascii() {
            lowercase.extend_from_slice(text.as_bytes());
            lowercase.make_ascii_lowercase();
        } else {
            lowercase.extend_from_slice(text.to_lowercase().as_bytes());
        }
        // Every word ends at a space, and a step can be read from every letter on.
        lowercase.push(b' ');
        let length = lowercase.len();
        lowercase.extend_from_slice(&[0; STEP]);
        let (first, mut start) = (words.len(), 0);
        for place in (0..length).step_by(STEP) {
            let mut spaces = u8x16::new(step(lowercase, place)).simd_eq(u8x16::splat(b' ')).to_bitmask();
            while spaces != 0 {
                let end = place + spaces.trailing_zeros() as usize;
                spaces &= spaces - 1;
                let letters = end - start;
                if letters >= STEP {
                    words.push((STEP as u128) << HIGHEST | u128::from(long_words.number(&lowercase[start..end])));
                } else if letters > 0 {
                    let kept = (1 << (8 * letters)) - 1;
                    words.push((letters as u128) << HIGHEST | u128::from_le_bytes(step(lowercase, start)) & kept);
                }
                start = end + 1;
            }
        }
        if !words[first..].is_sorted_by(|a, b| a < b) {
            words[first..].sort_unstable();
            let mut kept = first;
            for index in first + 1..words.len() {
                kept += usize::from(words[index] != words[kept]);
                words[kept] = words[index];
            }
            words.truncate(kept + 1);
        }
        // The highest bits of a product depend on all bits of its factors.
        let bit = |word: &Word| ((*word ^ *word >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        let bits = words[first..].iter().fold(0, |bits, word| bits | 1 << bit(word));
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
        let words = |set: &WordSet| &self.words[set.words.clone()];
        let shared = if a.bits & b.bits == 0 { 0 } else { shared(words(a), words(b)) };
        let union = a.words.len() + b.words.len() - shared;
        // Jaccard >= 0.6, in integers.
        shared == a.words.len().min(b.words.len()) || 5 * shared >= 3 * union
    }
}

/// How many words two sorted sets share.
fn shared(a: &[Word], b: &[Word]) -> usize {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let (first, second) = (a[i], b[j]);
        // Without branches: which of them is less cannot be foreseen.
        shared += usize::from(first == second);
        i += usize::from(first <= second);
        j += usize::from(first >= second);
    }
    shared
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
    // Gold is sorted by its spans: only a run of it can overlap a span.
    let starts: Vec<u32> = gold.iter().map(|(span, _)| span.map_or(u32::MAX, |span| span.start)).collect();
    let mut furthest = 0;
    let reach = gold.iter().map(|(span, _)| {
        furthest = furthest.max(span.map_or(0, |span| span.end));
        furthest
    });
    let reach: Vec<u32> = reach.collect();
    let is_sorted = starts.is_sorted();
    let near = |span: Option<Span>| match span {
        None => 0..0,
        Some(span) if is_sorted => {
            let first = reach.partition_point(|&end| end <= span.start);
            first..starts.partition_point(|&start| start < span.end).max(first)
        }
        Some(_) => 0..gold.len(),
    };
    let mut edges = Edges::default();
    for item in predicted {
        edges.add(near(item.0).filter(|&index| fits(item, &gold[index])));
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
    fn words_with_the_same_bit_are_told_apart() {
        let mut texts = Texts::default();
        let numbers: Vec<u32> = (0..100).map(|number| texts.number(&format!("w{number}"))).collect();
        let mut same_bit = 0;
        for (&a, &b) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (a, b))) {
            same_bit += usize::from(a != b && texts.sets[a as usize].bits == texts.sets[b as usize].bits);
            assert_eq!(texts.alike(a, b), a == b);
        }
        assert!(same_bit > 0, "there are more words than bits");
        texts.clear();
        let (a, b) = (texts.number("w0 w64"), texts.number("W64 w0 w64"));
        assert!(texts.alike(a, b));
    }

    /// Items at the given token ranges; an empty range stands for no place.
    fn items<const N: usize>(texts: &mut Texts, items: [(u32, u32, &str); N]) -> Vec<WordedItem> {
        let place = |start, end| (start < end).then(|| Span::new(start, end));
        items.into_iter().map(|(start, end, text)| (place(start, end), texts.number(text))).collect()
    }

    #[test]
    fn words_of_every_length_are_told_apart() {
        let mut texts = Texts::default();
        let mut words: Vec<String> = (1..40).map(|length| "w".repeat(length)).collect();
        words.extend((1..40).map(|length| format!("{}\0", "w".repeat(length))));
        words.extend((0..20).map(|length| format!("\0{}é", "x".repeat(length))));
        for (index, word) in words.iter().enumerate() {
            for (other_index, other) in words.iter().enumerate() {
                // Three words that are shared of four are enough, two of four are not.
                for (rest, alike) in [("one two three", true), ("one two", index == other_index)] {
                    let (a, b) = (format!("{word} {rest}"), format!("{rest} {other}").to_uppercase());
                    let (a, b) = (texts.number(&a), texts.number(&b));
                    assert_eq!(texts.alike(a, b), alike || index == other_index, "{word:?} {other:?}");
                }
            }
            texts.clear();
        }
        let twice = texts.number("again and again and again");
        assert_eq!(texts.sets[twice as usize].words.len(), 2);
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
