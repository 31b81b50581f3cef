//! Relaxed matching of texts.
//!
//! Two texts match if the set of lower-cased words of one contains the other's, or if the sets have
//! a Jaccard index of at least 0.6.

use smallvec::{SmallVec, smallvec};

use crate::texts::{Texts, WordedItem};

/// How many predicted texts find a gold text, as the public TAB-PO code counts: each predicted
/// text in output order takes the first gold text that matches and is not taken. It ignores labels
/// and places, depends on the order, and a copy of the whole source matches every gold text; it is
/// here for comparison only.
pub(crate) fn greedy_matches(texts: &Texts, gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    if gold.is_empty() || predicted.is_empty() {
        return 0;
    }
    let mut free: SmallVec<[_; 64]> = gold.iter().map(|&(_, text)| texts.words(text)).collect();
    for &(_, text) in predicted {
        let words = texts.words(text);
        if let Some(first) = free.iter().position(|&gold| texts.alike(words, gold)) {
            free.remove(first);
        }
    }
    (gold.len() - free.len()) as u32
}

/// The size of a maximum one-to-one matching of predicted and gold items whose texts match and
/// whose spans overlap. Items without words or without a place never match, so neither empty
/// strings nor copies of the source can win anything, and the order does not matter.
pub(crate) fn strict_matches(texts: &Texts, gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    let fits = |&(span, text): &WordedItem, &(gold_span, gold_text): &WordedItem| {
        span.zip(gold_span).is_some_and(|(span, gold_span)| span.overlaps(gold_span)) && {
            let (words, gold_words) = (texts.words(text), texts.words(gold_text));
            !words.is_empty() && !gold_words.is_empty() && texts.alike(words, gold_words)
        }
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
    use tabpo_corpus::Span;

    use super::*;

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
