//! Relaxed matching of texts.
//!
//! Two texts match if the set of lower-cased words of one contains the other's, or if the sets have
//! a Jaccard index of at least 0.6.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use tabpo_corpus::Span;

/// Words of one document as numbers, so that texts can be compared as sorted lists.
#[derive(Default)]
pub(crate) struct Words {
    numbers: FxHashMap<String, u32>,
}

/// The set of words of a text, sorted.
pub(crate) type WordSet = Vec<u32>;

/// An item with a text: its place, if it has one, and the words of its text.
pub(crate) type WordedItem = (Option<Span>, WordSet);

impl Words {
    pub(crate) fn set(&mut self, text: &str) -> WordSet {
        // Texts are mostly lower-case ASCII already.
        let capital = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii();
        let lowercase =
            if text.as_bytes().iter().any(capital) { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        let mut set: WordSet = lowercase
            .split_whitespace()
            .map(|word| {
                if let Some(&number) = self.numbers.get(word) {
                    return number;
                }
                let number = self.numbers.len() as u32;
                self.numbers.insert(word.to_owned(), number);
                number
            })
            .collect();
        set.sort_unstable();
        set.dedup();
        set
    }
}

/// Whether two word sets match. An empty set is contained in every other: see
/// [`greedy_matches`] for what that allows.
fn alike(a: &[u32], b: &[u32]) -> bool {
    let (mut i, mut j, mut shared) = (0, 0, 0_usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let union = a.len() + b.len() - shared;
    // Jaccard >= 0.6, in integers.
    shared == a.len().min(b.len()) || 5 * shared >= 3 * union
}

/// How many predicted texts find a gold text, as the public TAB-PO code counts: each predicted
/// text in output order takes the first gold text that matches and is not taken. It ignores labels
/// and places, depends on the order, and a copy of the whole source matches every gold text; it is
/// here for comparison only.
pub(crate) fn greedy_matches(gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    let mut taken = vec![false; gold.len()];
    let mut matches = 0;
    for (_, words) in predicted {
        if let Some(free) = (0..gold.len()).find(|&index| !taken[index] && alike(words, &gold[index].1)) {
            taken[free] = true;
            matches += 1;
        }
    }
    matches
}

/// The size of a maximum one-to-one matching of predicted and gold items whose texts match and
/// whose spans overlap. Items without words or without a place never match, so neither empty
/// strings nor copies of the source can win anything, and the order does not matter.
pub(crate) fn strict_matches(gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    let fits = |(span, words): &WordedItem, (gold_span, gold_words): &WordedItem| {
        span.zip(*gold_span).is_some_and(|(span, gold_span)| span.overlaps(gold_span))
            && !words.is_empty()
            && !gold_words.is_empty()
            && alike(words, gold_words)
    };
    let edges: Vec<Vec<usize>> =
        predicted.iter().map(|item| (0..gold.len()).filter(|&index| fits(item, &gold[index])).collect()).collect();
    maximum_matching(&edges, gold.len())
}

/// The size of a maximum matching of a bipartite graph, by augmenting paths. `edges[left]` are the
/// right nodes that a left node may take.
fn maximum_matching(edges: &[Vec<usize>], right: usize) -> u32 {
    let mut holder: Vec<Option<usize>> = vec![None; right];
    let mut visited = vec![usize::MAX; right];
    let mut size = 0;
    for start in 0..edges.len() {
        // Depth-first search with its own stack: (left node, next edge to try).
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((left, edge)) = path.last_mut() {
            let Some(&candidate) = edges[*left].get(*edge) else {
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
                    holder[edges[left][edge - 1]] = Some(left);
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
        let mut words = Words::default();
        let mut alike_texts = |a: &str, b: &str| {
            let (a, b) = (words.set(a), words.set(b));
            alike(&a, &b)
        };
        assert!(alike_texts("Optical Flow", "optical flow estimation"));
        assert!(alike_texts("a b c d", "b c d e"));
        assert!(!alike_texts("a b c", "c d e"));
        assert!(alike_texts("a b c x", "a b c y")); // 3 of 5
        assert!(!alike_texts("a b x", "a b y")); // 2 of 4
        assert!(alike_texts("", "anything"));
    }

    /// Items at the given token ranges; an empty range stands for no place.
    fn items<const N: usize>(words: &mut Words, items: [(u32, u32, &str); N]) -> Vec<WordedItem> {
        let place = |start, end| (start < end).then(|| Span::new(start, end));
        items.into_iter().map(|(start, end, text)| (place(start, end), words.set(text))).collect()
    }

    #[test]
    fn greedy_depends_on_order_and_strict_does_not() {
        let mut words = Words::default();
        let gold = items(&mut words, [(0, 1, "a"), (0, 2, "a b c")]);
        let predicted = items(&mut words, [(0, 1, "a"), (0, 1, "a x y")]);
        let reversed: Vec<WordedItem> = predicted.iter().rev().cloned().collect();
        assert_eq!(greedy_matches(&gold, &predicted), 1);
        assert_eq!(greedy_matches(&gold, &reversed), 2);
        assert_eq!(strict_matches(&gold, &predicted), 2);
        assert_eq!(strict_matches(&gold, &reversed), 2);
    }

    #[test]
    fn the_gaming_of_the_compatible_match_fails_under_the_strict_one() {
        let mut words = Words::default();
        let source = "we use optical flow to track cars";
        let gold = items(&mut words, [(2, 4, "optical flow"), (6, 7, "cars")]);
        let copies = items(&mut words, [(0, 7, source), (0, 0, source)]);
        let empty = items(&mut words, [(0, 0, ""), (0, 7, "")]);
        assert_eq!(greedy_matches(&gold, &copies), 2);
        assert_eq!(greedy_matches(&gold, &empty), 2);
        // A copy of the source can be placed once, and then covers one gold item.
        assert_eq!(strict_matches(&gold, &copies), 1);
        assert_eq!(strict_matches(&gold, &empty), 0);
    }

    #[test]
    fn matching_is_maximum() {
        // A greedy choice of 0 for the first left node would block the second.
        assert_eq!(maximum_matching(&[vec![0, 1], vec![0]], 2), 2);
        assert_eq!(maximum_matching(&[vec![0, 1], vec![0, 2], vec![0], vec![0]], 3), 3);
        assert_eq!(maximum_matching(&[vec![], vec![0]], 1), 1);
    }
}
