//! The rows of a batch as a card computes them.
//!
//! Rows of every tree are put into depth-first order. Then row `j` is seen by the rows `i` with `j <= i < end[j]`, where
//! `end[j]` is one past the last row below `j`, so that one number a row is the whole mask of any forest. Rows are
//! computed in tiles of 64; for every tile of queries the host lists the tiles of keys that any of its rows sees.

use tabpo_engine::{Batch, Segment, Target};

/// Rows of a tile.
pub const TILE: usize = 64;
/// The bit of a listed tile in which some row doesn't see some key.
pub const PARTIAL: u32 = 1 << 31;

/// Why a batch can't be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The segments don't cover the rows one after the other.
    #[error("segment {0} doesn't start where the one before it ends, or the last doesn't end with the batch")]
    Rows(usize),
    /// A segment's context isn't the path from a root to one of the rows before it.
    #[error("the context of segment {0} is not a path from a root")]
    Context(usize),
    /// A target's row isn't in the batch.
    #[error("target {0} has a row that isn't in the batch")]
    Target(usize),
    /// More rows than a card's numbers count.
    #[error("the batch has {0} rows; at most {most} can be computed at once", most = PARTIAL)]
    TooMany(usize),
}

/// A batch in a card's order. A row's place is its index in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The batch's row at every place.
    pub rows: Vec<u32>,
    /// The place of every row of the batch.
    pub places: Vec<u32>,
    /// Tokens by place.
    pub tokens: Vec<u32>,
    /// Positions by place.
    pub positions: Vec<u32>,
    /// One past the last place below each place, itself included.
    pub ends: Vec<u32>,
}

/// For every tile of rows the tiles that it is computed with, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// The tiles of tile `t` are `list[bounds[t]..bounds[t + 1]]`.
    pub bounds: Vec<u32>,
    /// Numbers of tiles, with [`PARTIAL`] where not every row sees every key.
    pub list: Vec<u32>,
}

/// Targets in the order in which the head computes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The distinct places with targets, in order.
    pub places: Vec<u32>,
    /// For every place of the batch its index in `places`, or `u32::MAX`.
    pub slots: Vec<u32>,
    /// The targets of `places[i]` are `bounds[i]..bounds[i + 1]` of `tokens` and `indices`.
    pub bounds: Vec<u32>,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Each target's index among those that were asked for.
    pub indices: Vec<u32>,
}

/// Places by their token, for the gradient of embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByToken {
    /// The distinct tokens, in order.
    pub tokens: Vec<u32>,
    /// The places of `tokens[i]` are `places[bounds[i]..bounds[i + 1]]`.
    pub bounds: Vec<u32>,
    /// The places, in order for every token.
    pub places: Vec<u32>,
}

impl Plan {
    /// Plans a batch. Its order is kept where the batch is already depth-first, as a trunk with one branch is.
    pub fn new(batch: &Batch) -> Result<Self, PlanError> {
        let count = batch.tokens.len();
        if count > PARTIAL as usize {
            return Err(PlanError::TooMany(count));
        }
        let parents = parents(batch)?;
        let rows = depth_first(batch, &parents);
        let mut places = vec![0; count];
        for (place, &row) in rows.iter().enumerate() {
            places[row as usize] = place as u32;
        }
        let mut ends: Vec<u32> = (1..=count as u32).collect();
        // Every row comes after its parent, so what lies below it is known when it is reached from behind.
        for place in (0..count).rev() {
            if let Some(parent) = parents[rows[place] as usize] {
                let parent = places[parent as usize] as usize;
                ends[parent] = ends[parent].max(ends[place]);
            }
        }
        let by_place = |values: &[u32]| rows.iter().map(|&row| values[row as usize]).collect();
        let (tokens, positions) = (by_place(&batch.tokens), by_place(&batch.positions));
        Ok(Self { rows, places, tokens, positions, ends })
    }

    /// Whether the row at place `query` sees the key at place `key`; with a window, only keys whose position is at most
    /// `window - 1` before its own.
    pub fn sees(&self, query: usize, key: usize, window: Option<u32>) -> bool {
        let near = |window| self.positions[query] - self.positions[key] < window;
        key <= query && query < self.ends[key] as usize && window.is_none_or(near)
    }

    /// For every tile of queries its tiles of keys, and for every tile of keys its tiles of queries.
    pub fn tiles(&self, window: Option<u32>) -> (Tiles, Tiles) {
        let count = self.rows.len();
        let tiles = count.div_ceil(TILE);
        let range = |tile: usize| tile * TILE..((tile + 1) * TILE).min(count);
        let extent = |values: &[u32], tile: usize| {
            let values = &values[range(tile)];
            // A tile has at least one row.
            (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0))
        };
        let ends: Vec<(u32, u32)> = (0..tiles).map(|tile| extent(&self.ends, tile)).collect();
        let positions: Vec<(u32, u32)> = (0..tiles).map(|tile| extent(&self.positions, tile)).collect();
        let mut pairs: Vec<(u32, u32, u32)> = Vec::new();
        for query in 0..tiles {
            let queries = range(query);
            // The smallest position of the tile's rows up to each of them.
            let mut lowest = Vec::with_capacity(TILE);
            for &position in &self.positions[queries.clone()] {
                lowest.push(lowest.last().map_or(position, |&lowest: &u32| lowest.min(position)));
            }
            for key in 0..=query {
                if key == query {
                    // The keys after a row, or after the last of all, are hidden from it.
                    pairs.push((query as u32, key as u32, PARTIAL));
                    continue;
                }
                // A row after the tile of keys is seen from it exactly if it comes before the last end.
                if queries.start >= ends[key].1 as usize {
                    continue;
                }
                let (mut seen, mut full) = (true, queries.end <= ends[key].0 as usize);
                if let Some(window) = window {
                    seen = range(key).any(|key| {
                        let below = queries.end.min(self.ends[key] as usize);
                        below > queries.start && lowest[below - 1 - queries.start] - self.positions[key] < window
                    });
                    full &= positions[query].1 - positions[key].0 < window;
                }
                if seen {
                    pairs.push((query as u32, key as u32, if full { 0 } else { PARTIAL }));
                }
            }
        }
        let by_query = listed(tiles, pairs.iter().copied());
        pairs.sort_by_key(|&(query, key, _)| (key, query));
        (by_query, listed(tiles, pairs.into_iter().map(|(query, key, mark)| (key, query, mark))))
    }

    /// The targets, by place.
    pub fn targets(&self, targets: &[Target]) -> Result<Targets, PlanError> {
        let place = |target: &Target| self.places.get(target.row as usize).copied();
        let mut order = Vec::with_capacity(targets.len());
        for (index, target) in targets.iter().enumerate() {
            order.push((place(target).ok_or(PlanError::Target(index))?, index as u32));
        }
        order.sort_unstable();
        let indices: Vec<u32> = order.iter().map(|&(_, index)| index).collect();
        let (places, bounds) = grouped(order.iter().map(|&(place, _)| place));
        let tokens = indices.iter().map(|&index| targets[index as usize].token).collect();
        let mut slots = vec![u32::MAX; self.rows.len()];
        for (slot, &place) in places.iter().enumerate() {
            slots[place as usize] = slot as u32;
        }
        Ok(Targets { places, slots, bounds, tokens, indices })
    }

    /// The places of every token.
    pub fn by_token(&self) -> ByToken {
        let mut order: Vec<(u32, u32)> = self.tokens.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let (tokens, bounds) = grouped(order.iter().map(|&(token, _)| token));
        ByToken { tokens, bounds, places: order.into_iter().map(|(_, place)| place).collect() }
    }
}

/// The distinct values of a sorted list, and where each begins, with the list's length at the end.
fn grouped(values: impl Iterator<Item = u32>) -> (Vec<u32>, Vec<u32>) {
    let (mut distinct, mut bounds, mut count) = (Vec::new(), Vec::new(), 0);
    for value in values {
        if distinct.last() != Some(&value) {
            distinct.push(value);
            bounds.push(count);
        }
        count += 1;
    }
    bounds.push(count);
    (distinct, bounds)
}

/// Pairs in the order of their first tile.
fn listed(tiles: usize, pairs: impl Iterator<Item = (u32, u32, u32)>) -> Tiles {
    let (mut bounds, mut list) = (Vec::with_capacity(tiles + 1), Vec::new());
    for (own, other, mark) in pairs {
        // Every tile has at least itself.
        if own as usize == bounds.len() {
            bounds.push(list.len() as u32);
        }
        list.push(other | mark);
    }
    bounds.push(list.len() as u32);
    Tiles { bounds, list }
}

/// The row before every row on its path, none for the first row of a tree.
fn parents(batch: &Batch) -> Result<Vec<Option<u32>>, PlanError> {
    let count = batch.tokens.len();
    let mut parents: Vec<Option<u32>> = Vec::with_capacity(count);
    let mut segment_of_row: Vec<usize> = Vec::with_capacity(count);
    for (index, segment) in batch.segments.iter().enumerate() {
        if segment.rows.start != parents.len() || segment.rows.end < segment.rows.start || segment.rows.end > count {
            return Err(PlanError::Rows(index));
        }
        let parent = segment.context.iter().rev().find(|range| !range.is_empty()).map(|range| range.end - 1);
        if let Some(parent) = parent {
            let within = segment_of_row.get(parent).ok_or(PlanError::Context(index))?;
            if !is_path_to(&batch.segments[*within], parent, segment) {
                return Err(PlanError::Context(index));
            }
        }
        for row in segment.rows.clone() {
            let first = row == segment.rows.start;
            parents.push(if first { parent.map(|row| row as u32) } else { Some(row as u32 - 1) });
            segment_of_row.push(index);
        }
    }
    if parents.len() != count || batch.positions.len() != count {
        return Err(PlanError::Rows(batch.segments.len()));
    }
    Ok(parents)
}

/// Whether a segment's context is what the row `parent` of another segment sees, itself included.
fn is_path_to(other: &Segment, parent: usize, segment: &Segment) -> bool {
    let path = other.context.iter().cloned().chain(std::iter::once(other.rows.start..parent + 1));
    joined(segment.context.iter().cloned()) == joined(path)
}

/// Ranges without empty ones, and those that touch as one.
fn joined(ranges: impl Iterator<Item = std::ops::Range<usize>>) -> Vec<std::ops::Range<usize>> {
    let mut all: Vec<std::ops::Range<usize>> = Vec::new();
    for range in ranges.filter(|range| !range.is_empty()) {
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}

/// The rows depth first: after a row comes the rest of its segment, then the segments that branch off it.
fn depth_first(batch: &Batch, parents: &[Option<u32>]) -> Vec<u32> {
    let mut branches: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut roots = Vec::new();
    for (index, segment) in batch.segments.iter().enumerate().filter(|(_, segment)| !segment.rows.is_empty()) {
        match parents[segment.rows.start] {
            Some(parent) => branches[parent as usize].push(index),
            None => roots.push(index),
        }
    }
    let mut order = Vec::with_capacity(parents.len());
    // What is still to be laid out, the next at the end: a segment from one of its rows on.
    let mut open: Vec<(usize, usize)> =
        roots.iter().rev().map(|&index| (index, batch.segments[index].rows.start)).collect();
    while let Some((index, start)) = open.pop() {
        let end = batch.segments[index].rows.end;
        // The rest of the segment waits where the first branch begins.
        let fork = (start..end).find(|&row| !branches[row].is_empty());
        let stop = fork.map_or(end, |row| row + 1);
        order.extend(start as u32..stop as u32);
        if let Some(row) = fork {
            open.extend(branches[row].iter().rev().map(|&branch| (branch, batch.segments[branch].rows.start)));
        }
        if stop < end {
            open.push((index, stop));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the batch lets a row see another, by the words of its documentation.
    fn sees(batch: &Batch, query: usize, key: usize, window: Option<u32>) -> bool {
        let segment = batch.segments.iter().find(|segment| segment.rows.contains(&query)).expect("a row has a segment");
        let of_context = segment.context.iter().any(|range| range.contains(&key));
        let own = segment.rows.start <= key && key <= query;
        let near = |window| batch.positions[query] - batch.positions[key] < window;
        (of_context || own) && window.is_none_or(near)
    }

    /// A forest: for every segment the row it branches off, as a fraction of the rows before it, and its length.
    fn forest(parts: &[(u8, u16, usize)]) -> Batch {
        let mut batch = Batch::default();
        for &(kind, at, length) in parts {
            let start = batch.tokens.len();
            // One in four starts a tree; the others branch off any row before them.
            let parent = (kind % 4 != 0 && start > 0).then(|| at as usize % start);
            let (context, depth) = match parent {
                None => (Vec::new(), 0),
                Some(parent) => {
                    let other =
                        batch.segments.iter().find(|segment| segment.rows.contains(&parent)).expect("it has one");
                    let mut context = other.context.clone();
                    context.push(other.rows.start..parent + 1);
                    (context, batch.positions[parent] + 1)
                }
            };
            batch.tokens.extend((0..length).map(|row| ((start + row) * 7 % 13) as u32));
            batch.positions.extend((0..length as u32).map(|row| depth + row));
            batch.segments.push(Segment { rows: start..start + length, context });
        }
        batch
    }

    fn forests() -> impl Strategy<Value = Batch> {
        prop::collection::vec((any::<u8>(), any::<u16>(), 1..70_usize), 1..9).prop_map(|parts| forest(&parts))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// One number a row says the same as the batch, with and without a window.
        #[test]
        fn the_mask_is_the_batchs(batch in forests(), window in prop::option::of(1..90_u32)) {
            let plan = Plan::new(&batch).expect("it is a forest");
            let count = batch.tokens.len();
            for query in 0..count {
                prop_assert_eq!(plan.rows[plan.places[query] as usize] as usize, query);
                for key in 0..count {
                    let found = plan.sees(plan.places[query] as usize, plan.places[key] as usize, window);
                    prop_assert_eq!(found, sees(&batch, query, key, window), "{} sees {}", query, key);
                }
            }
        }

        /// The lists name exactly the tiles in which any row sees any key, and mark exactly those where not all do.
        #[test]
        fn the_tiles_are_those_of_the_mask(batch in forests(), window in prop::option::of(1..90_u32)) {
            let plan = Plan::new(&batch).expect("it is a forest");
            let (by_query, by_key) = plan.tiles(window);
            let count = batch.tokens.len();
            let tiles = count.div_ceil(TILE);
            let marks = |query: usize, key: usize| {
                let queries = query * TILE..((query + 1) * TILE).min(count);
                let mut pairs = queries.flat_map(|q| (key * TILE..(key + 1) * TILE).map(move |k| (q, k)));
                let seen = |(q, k): (usize, usize)| k < count && plan.sees(q, k, window);
                let all = pairs.clone().all(seen);
                pairs.any(seen).then_some(if all { 0 } else { PARTIAL })
            };
            for own in 0..tiles {
                let wanted = |of: &dyn Fn(usize) -> Option<u32>| {
                    (0..tiles).filter_map(|other| of(other).map(|mark| other as u32 | mark)).collect::<Vec<u32>>()
                };
                let listed = |tiles: &Tiles| {
                    tiles.list[tiles.bounds[own] as usize..tiles.bounds[own + 1] as usize].to_vec()
                };
                prop_assert_eq!(listed(&by_query), wanted(&|key| marks(own, key)));
                prop_assert_eq!(listed(&by_key), wanted(&|query| marks(query, own)));
            }
            prop_assert_eq!((by_query.bounds.len(), by_key.bounds.len()), (tiles + 1, tiles + 1));
        }

        /// Targets and tokens come back in the order they were asked for in.
        #[test]
        fn targets_and_tokens_are_all_there(batch in forests(), picks in prop::collection::vec((any::<u16>(), 0..50_u32), 0..40)) {
            let plan = Plan::new(&batch).expect("it is a forest");
            let count = batch.tokens.len();
            let targets: Vec<Target> =
                picks.iter().map(|&(row, token)| Target { row: u32::from(row) % count as u32, token }).collect();
            let found = plan.targets(&targets).expect("the rows are there");
            let mut again = vec![None; targets.len()];
            for (slot, &place) in found.places.iter().enumerate() {
                prop_assert_eq!(found.slots[place as usize], slot as u32);
                for at in found.bounds[slot] as usize..found.bounds[slot + 1] as usize {
                    again[found.indices[at] as usize] = Some(Target { row: plan.rows[place as usize], token: found.tokens[at] });
                }
            }
            prop_assert_eq!(again.into_iter().flatten().collect::<Vec<_>>(), targets);
            prop_assert!(found.places.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(found.slots.iter().filter(|&&slot| slot != u32::MAX).count(), found.places.len());

            let tokens = plan.by_token();
            let mut places: Vec<u32> = Vec::new();
            for (index, &token) in tokens.tokens.iter().enumerate() {
                let own = &tokens.places[tokens.bounds[index] as usize..tokens.bounds[index + 1] as usize];
                prop_assert!(!own.is_empty() && own.is_sorted());
                prop_assert!(own.iter().all(|&place| plan.tokens[place as usize] == token));
                places.extend(own);
            }
            places.sort_unstable();
            prop_assert_eq!(places, (0..count as u32).collect::<Vec<_>>());
        }
    }

    /// The layout of a pair: prompt and chosen answer as the trunk, the rejected answer as a branch.
    #[test]
    fn a_pair_stays_in_its_order() {
        let batch = forest(&[(0, 0, 50), (1, 29, 12)]);
        let plan = Plan::new(&batch).expect("it is a tree");
        assert_eq!(plan.rows, (0..62).collect::<Vec<u32>>());
        assert_eq!((plan.ends[29], plan.ends[30], plan.ends[50]), (62, 50, 62));
        let (by_query, _) = plan.tiles(None);
        assert_eq!((by_query.bounds, by_query.list), (vec![0, 1], vec![PARTIAL]));
    }

    #[test]
    fn what_is_no_forest_is_refused() {
        let mut batch = forest(&[(0, 0, 10), (1, 5, 10), (1, 12, 4)]);
        Plan::new(&batch).expect("it is a tree");
        batch.segments[2].context.remove(0);
        assert_eq!(Plan::new(&batch), Err(PlanError::Context(2)));
        let mut batch = forest(&[(0, 0, 10), (0, 0, 10)]);
        batch.segments[1].rows = 11..20;
        assert_eq!(Plan::new(&batch), Err(PlanError::Rows(1)));
        let mut batch = forest(&[(0, 0, 10)]);
        batch.segments[0].context.push(12..13);
        assert_eq!(Plan::new(&batch), Err(PlanError::Context(0)));
        let plan = Plan::new(&forest(&[(0, 0, 3)])).expect("it is a tree");
        assert_eq!(plan.targets(&[Target { row: 3, token: 0 }]), Err(PlanError::Target(0)));
    }

    #[test]
    fn an_empty_batch_has_no_tiles() {
        let plan = Plan::new(&Batch::default()).expect("nothing is a forest");
        let (by_query, by_key) = plan.tiles(None);
        assert_eq!((by_query.bounds, by_key.list), (vec![0], vec![]));
    }
}
