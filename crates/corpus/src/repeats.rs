//! Which stretches of a text are repeated in it.

use rustc_hash::FxHashMap;

/// A suffix array with longest common prefixes. Looking up a stretch takes logarithmic time however often it
/// occurs, so the work does not grow with mentions times tokens.
pub(crate) struct Repeats {
    /// Starts of the suffixes in their order, and the place of each start in it.
    order: Vec<u32>,
    rank: Vec<u32>,
    /// How many items each suffix has in common with the one before it: for every power of two, the least
    /// of as many neighbours.
    common: Vec<Vec<u32>>,
    /// The least start among as many suffixes, for every power of two.
    starts: Vec<Vec<u32>>,
}

/// Where a stretch occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occurrences {
    /// Equal for equal stretches, and only for these.
    pub(crate) id: (u32, u32),
    /// How often it occurs.
    pub(crate) count: u32,
    /// Where it begins first.
    pub(crate) first: u32,
}

/// The least of all runs whose length is a power of two.
fn minima(values: Vec<u32>) -> Vec<Vec<u32>> {
    let mut levels = vec![values];
    let mut half = 1;
    while let Some(last) = levels.last().filter(|last| last.len() > half) {
        let next = last.iter().zip(&last[half..]).map(|(&a, &b)| a.min(b)).collect();
        levels.push(next);
        half *= 2;
    }
    levels
}

/// The least of a non-empty run.
fn minimum(levels: &[Vec<u32>], start: usize, end: usize) -> u32 {
    let level = (end - start).ilog2() as usize;
    levels[level][start].min(levels[level][end - (1 << level)])
}

impl Repeats {
    /// Looks at a sequence of words.
    pub(crate) fn new<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let mut numbers: FxHashMap<&str, u32> = FxHashMap::default();
        let words: Vec<u32> = words
            .map(|word| {
                let next = numbers.len() as u32;
                *numbers.entry(word).or_insert(next)
            })
            .collect();
        let (order, rank) = suffixes(&words);
        let common = minima(common_prefixes(&words, &order, &rank));
        Self { starts: minima(order.clone()), order, rank, common }
    }

    /// Where a non-empty stretch of the sequence occurs.
    pub(crate) fn of(&self, start: usize, length: usize) -> Occurrences {
        let place = self.rank[start] as usize;
        // Neighbours up to the first one that has less in common with its own neighbour.
        let (mut low, mut high) = (place, place + 1);
        for level in (0..self.common.len()).rev() {
            let step = 1 << level;
            if low >= step && self.common[level][low + 1 - step] as usize >= length {
                low -= step;
            }
        }
        for level in (0..self.common.len()).rev() {
            let step = 1 << level;
            if high + step <= self.order.len() && self.common[level][high] as usize >= length {
                high += step;
            }
        }
        let first = minimum(&self.starts, low, high);
        Occurrences { id: (low as u32, length as u32), count: (high - low) as u32, first }
    }
}

/// The starts of all suffixes in order, and the place of each, by doubling the stretch that is compared.
fn suffixes(words: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut rank = words.to_vec();
    let mut order: Vec<u32> = (0..words.len() as u32).collect();
    let mut length = 1;
    loop {
        // A suffix that ends comes before those that go on: `None` is less than any rank.
        let key = |&start: &u32| (rank[start as usize], rank.get(start as usize + length).copied());
        order.sort_unstable_by_key(key);
        let mut next = vec![0; words.len()];
        for pair in order.windows(2) {
            next[pair[1] as usize] = next[pair[0] as usize] + u32::from(key(&pair[0]) != key(&pair[1]));
        }
        let all_differ = order.last().is_none_or(|&last| next[last as usize] as usize + 1 == words.len());
        rank = next;
        if all_differ {
            return (order, rank);
        }
        length *= 2;
    }
}

/// How many words each suffix has in common with the one before it in order (Kasai et al. 2001).
fn common_prefixes(words: &[u32], order: &[u32], rank: &[u32]) -> Vec<u32> {
    let mut common = vec![0; words.len()];
    let mut shared = 0;
    for (start, &place) in rank.iter().enumerate() {
        let place = place as usize;
        if place == 0 {
            shared = 0;
            continue;
        }
        let before = order[place - 1] as usize;
        while words.get(start + shared).is_some_and(|word| words.get(before + shared) == Some(word)) {
            shared += 1;
        }
        common[place] = shared as u32;
        shared = shared.saturating_sub(1);
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurrences_are_those_of_a_search() {
        let texts = ["", "a", "a a a a a", "a b a b a", "b a n a n a", "x y x y z x y x", "c b a c b a b c a a b"];
        for text in texts {
            let words: Vec<&str> = text.split_whitespace().collect();
            let repeats = Repeats::new(words.iter().copied());
            let mut ids = FxHashMap::default();
            for start in 0..words.len() {
                for end in start + 1..=words.len() {
                    let stretch = &words[start..end];
                    let found = repeats.of(start, stretch.len());
                    let places = words.windows(stretch.len()).enumerate().filter(|(_, other)| *other == stretch);
                    let places: Vec<usize> = places.map(|(place, _)| place).collect();
                    assert_eq!(found.count as usize, places.len(), "{stretch:?} in {text}");
                    assert_eq!(found.first as usize, places[0], "{stretch:?} in {text}");
                    assert_eq!(*ids.entry(stretch.to_vec()).or_insert(found.id), found.id);
                }
            }
            let different: std::collections::HashSet<_> = ids.values().collect();
            assert_eq!(different.len(), ids.len(), "{text}");
        }
    }
}
