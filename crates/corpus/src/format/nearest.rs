//! Which mentions a relation connects in files that name its arguments by text or by identifier, either of which several
//! mentions may have.

/// A mention by its place in the text, in tokens or in characters, and its position in the file.
pub(super) type Place = (usize, u32);

/// The pairs of mentions that `count` relations between a head among `heads` and a tail among `tails` connect, nearest
/// first and, of equally near ones, the earlier first. Both lists are in order and not empty.
///
/// A relation of a mention with itself results only where both lists have no other. There are fewer pairs than `count`
/// where too few mentions are anyone's nearest; the rest are repetitions.
pub(super) fn nearest(heads: &[Place], tails: &[Place], count: usize) -> Vec<(u32, u32)> {
    // The nearest pair has each as the other's nearest, so that neighbours are enough and the work is linear.
    let with_tails = heads.iter().flat_map(|head| neighbours(*head, tails).map(|tail| (*head, tail)));
    let with_heads = tails.iter().flat_map(|tail| neighbours(*tail, heads).map(|head| (head, *tail)));
    let mut pairs: Vec<(Place, Place)> = with_tails.chain(with_heads).collect();
    pairs.sort_unstable_by_key(|&(head, tail)| (head.0.abs_diff(tail.0), head, tail));
    pairs.dedup();
    pairs.truncate(count);
    if pairs.is_empty() && count > 0 {
        pairs.push((heads[0], tails[0]));
    }
    pairs.into_iter().map(|(head, tail)| (head.1, tail.1)).collect()
}

/// The last place before and the first after one among `others`, itself excepted.
fn neighbours(place: Place, others: &[Place]) -> impl Iterator<Item = Place> {
    let at = others.partition_point(|other| *other < place);
    let is_other = |other: &&Place| other.1 != place.1;
    let before = others[..at].iter().rev().find(is_other);
    let after = others[at..].iter().find(is_other);
    before.into_iter().chain(after).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_mentions_are_connected_first() {
        let (heads, tails) = ([(3, 0), (20, 1)], [(0, 2), (5, 3), (21, 4)]);
        assert_eq!(nearest(&heads, &tails, 1), [(1, 4)]);
        assert_eq!(nearest(&heads, &tails, 3), [(1, 4), (0, 3), (0, 2)]);
        // Between two that are equally near, the earlier one.
        assert_eq!(nearest(&[(5, 0)], &[(3, 1), (7, 2)], 1), [(0, 1)]);
        assert_eq!(nearest(&[(3, 1), (7, 2)], &[(5, 0)], 1), [(1, 0)]);
        // Two names of one thing.
        let same = [(2, 0), (9, 1)];
        assert_eq!(nearest(&same, &same, 2), [(0, 1), (1, 0)]);
        assert_eq!(nearest(&same[..1], &same[..1], 2), [(0, 0)]);
    }
}
