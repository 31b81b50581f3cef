//! Pairs of places, the nearest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tabpo_corpus::Span;

/// The sort key of a pair: distance, the earlier place, head, tail.
type Key = (u32, Span, Span, Span);

/// Iterates over the pairs of two different places, one from each list, nearest first and then from left to
/// right. It is lazy, because there may be too many pairs to list.
///
/// The places of a list have the same text, so none lies inside another: starts and ends both ascend.
pub(crate) struct NearestPairs {
    heads: Vec<Span>,
    tails: Vec<Span>,
    /// The next pair of every place of the shorter list to either side.
    candidates: BinaryHeap<Reverse<(Key, Candidate)>>,
}

/// A pair by positions in the lists, the shorter one's first, and where to go on from it.
type Candidate = (u32, u32, Side);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// To the next place before this one.
    Before,
    /// To the next place after this one.
    After,
    /// Nowhere: the places overlap, and all overlapping pairs are candidates from the start.
    Overlapping,
}

impl NearestPairs {
    /// Both lists must be sorted.
    pub(crate) fn new(heads: Vec<Span>, tails: Vec<Span>) -> Self {
        let mut pairs = Self { heads, tails, candidates: BinaryHeap::new() };
        let (few, many) = pairs.lists();
        let mut first = Vec::new();
        for (index, place) in (0..).zip(few) {
            let before = many.partition_point(|other| other.end <= place.start);
            let after = many.partition_point(|other| other.start < place.end);
            first.extend(before.checked_sub(1).map(|other| (index, other as u32, Side::Before)));
            first.extend((before..after).map(|other| (index, other as u32, Side::Overlapping)));
            first.extend((after < many.len()).then_some((index, after as u32, Side::After)));
        }
        for candidate in first {
            pairs.push(candidate);
        }
        pairs
    }

    /// The shorter list and the longer one.
    fn lists(&self) -> (&[Span], &[Span]) {
        if self.heads.len() <= self.tails.len() { (&self.heads, &self.tails) } else { (&self.tails, &self.heads) }
    }

    /// Positions of head and tail.
    fn roles(&self, (few, many, _): Candidate) -> (usize, usize) {
        let (few, many) = (few as usize, many as usize);
        if self.heads.len() <= self.tails.len() { (few, many) } else { (many, few) }
    }

    fn push(&mut self, candidate: Candidate) {
        let (head, tail) = self.roles(candidate);
        let (head, tail) = (self.heads[head], self.tails[tail]);
        if head != tail {
            self.candidates.push(Reverse(((distance(head, tail), head.min(tail), head, tail), candidate)));
        }
    }
}

impl Iterator for NearestPairs {
    type Item = (Span, Span);

    fn next(&mut self) -> Option<(Span, Span)> {
        let Reverse(((_, _, head, tail), (few, many, side))) = self.candidates.pop()?;
        let length = self.lists().1.len() as u32;
        let next = match side {
            Side::Before => many.checked_sub(1),
            Side::After => Some(many + 1).filter(|&next| next < length),
            Side::Overlapping => None,
        };
        if let Some(next) = next {
            self.push((few, next, side));
        }
        Some((head, tail))
    }
}

/// Tokens from the end of one span to the start of the other, whichever way is shorter.
fn distance(a: Span, b: Span) -> u32 {
    a.start.abs_diff(b.end - 1).min(b.start.abs_diff(a.end - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_as_if_all_were_sorted() {
        let spans = |starts: u32, length: u32| -> Vec<Span> {
            let starts = (0..10).filter(|bit| starts >> bit & 1 == 1);
            starts.map(|start| Span::new(start, start + length)).collect()
        };
        for number in 0..2000_u32 {
            let (heads, tails) = (spans(number * 7 % 1021, number % 4 + 1), spans(number * 13 % 1019, number % 3 + 1));
            let all = heads.iter().flat_map(|&head| tails.iter().map(move |&tail| (head, tail)));
            let mut all: Vec<(Span, Span)> = all.filter(|(head, tail)| head != tail).collect();
            all.sort_by_key(|&(head, tail)| (distance(head, tail), head.min(tail), head, tail));
            let found: Vec<(Span, Span)> = NearestPairs::new(heads, tails).collect();
            assert_eq!(found, all);
        }
    }

    #[test]
    fn the_first_pairs_of_many_are_found_at_once() {
        let places: Vec<Span> = (0..20_000).map(|start| Span::new(start, start + 1)).collect();
        let mut pairs = NearestPairs::new(places.clone(), places);
        assert_eq!(pairs.next(), Some((Span::new(0, 1), Span::new(1, 2))));
        assert_eq!(pairs.by_ref().take(1000).count(), 1000);
        assert!(pairs.candidates.len() < 70_000);
    }
}
