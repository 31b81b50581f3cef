//! Relaxed matching of texts.
//!
//! Two texts match if the set of lower-cased words of one contains the other's, or if the sets have
//! a Jaccard index of at least 0.6.

use rustc_hash::FxHashMap;
use tabpo_answer::comparable;
use tabpo_corpus::Span;

/// The texts of a document as numbers, each with the set of its words, which are numbers too.
#[derive(Default)]
pub(crate) struct Texts {
    numbers: FxHashMap<String, u32>,
    words: FxHashMap<String, u32>,
    /// The words of each text, sorted and without duplicates.
    sets: Vec<Vec<u32>>,
}

/// An item with a text: its place, if it has one, and the number of its text.
pub(crate) type WordedItem = (Option<Span>, u32);

impl Texts {
    /// The number of a text in normal form; texts that Unicode calls equivalent have the same.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        let text = comparable(text);
        if let Some(&number) = self.numbers.get(&*text) {
            return number;
        }
        let lowercase = text.to_lowercase();
        let mut set = Vec::new();
        for word in lowercase.split(' ').filter(|word| !word.is_empty()) {
            let next = self.words.len() as u32;
            set.push(self.words.get(word).copied().unwrap_or_else(|| {
                self.words.insert(word.to_owned(), next);
                next
            }));
        }
        set.sort_unstable();
        set.dedup();
        let number = self.sets.len() as u32;
        self.sets.push(set);
        self.numbers.insert(text.into_owned(), number);
        number
    }

    fn has_words(&self, text: u32) -> bool {
        !self.sets[text as usize].is_empty()
    }

    /// Whether two texts match. An empty set is contained in every other: see [`greedy_matches`] for
    /// what that allows.
    fn alike(&self, a: u32, b: u32) -> bool {
        if a == b {
            return true;
        }
        let (a, b) = (&self.sets[a as usize], &self.sets[b as usize]);
        let shared = shared(a, b);
        let union = a.len() + b.len() - shared;
        // Jaccard >= 0.6, in integers.
        shared == a.len().min(b.len()) || 5 * shared >= 3 * union
    }
}

/// How many words two sorted sets share.
fn shared(mut a: &[u32], mut b: &[u32]) -> usize {
    let mut shared = 0;
    while let (Some((first, rest)), Some((second, other_rest))) = (a.split_first(), b.split_first()) {
        shared += usize::from(first == second);
        if first <= second {
            a = rest;
        }
        if first >= second {
            b = other_rest;
        }
    }
    shared
}

/// How many predicted texts find a gold text, as the public TAB-PO code counts: each predicted
/// text in output order takes the first free gold text that matches. It ignores labels and
/// places, depends on the order, and lets a copy of the whole source match every gold text; it is here for
/// comparison only.
pub(crate) fn greedy_matches(known: &Texts, gold: &[WordedItem], predicted: &[WordedItem]) -> u32 {
    let mut taken = vec![false; gold.len()];
    let mut matches = 0;
    for &(_, text) in predicted {
        let fits = |&index: &usize| !taken[index] && known.alike(text, gold[index].1);
        if let Some(index) = (0..gold.len()).find(fits) {
            taken[index] = true;
            matches += 1;
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
    let edges = predicted.iter().map(|item| near(item.0).filter(|&index| fits(item, &gold[index])).collect());
    maximum_matching(&edges.collect::<Vec<_>>(), gold.len())
}

/// The size of a maximum matching of a bipartite graph, by augmenting paths. `edges` are the right nodes that
/// each left node may take, out of `right`.
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

    /// Items at the given token ranges; an empty range stands for no place.
    fn items<const N: usize>(texts: &mut Texts, items: [(u32, u32, &str); N]) -> Vec<WordedItem> {
        let place = |start, end| (start < end).then(|| Span::new(start, end));
        items.into_iter().map(|(start, end, text)| (place(start, end), texts.number(text))).collect()
    }

    #[test]
    fn words_count_once_and_in_either_case() {
        let mut texts = Texts::default();
        let twice = texts.number("Again and again and AGAIN");
        assert_eq!(texts.sets[twice as usize].len(), 2);
        assert_eq!(texts.number("caf\u{e9}"), texts.number("cafe\u{301}"));
        assert_ne!(texts.number("CAF\u{c9}"), texts.number("caf\u{e9}"));
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
        let edges = |lists: &[&[usize]]| lists.iter().map(|list| list.to_vec()).collect::<Vec<_>>();
        // A greedy choice of 0 for the first left node would block the second.
        assert_eq!(maximum_matching(&edges(&[&[0, 1], &[0]]), 2), 2);
        assert_eq!(maximum_matching(&edges(&[&[0, 1], &[0, 2], &[0], &[0]]), 3), 3);
        assert_eq!(maximum_matching(&edges(&[&[], &[0]]), 1), 1);
    }
}
