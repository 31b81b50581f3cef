//! Random forests of tokens in depth-first order, and which tiles of them see which, worked out from parents.

use crate::common::Random;

/// Rows of a tile.
pub(crate) const TILE: usize = 64;
/// The mark of a tile in which not every row sees every key.
const PARTIAL: u32 = 0x8000_0000;

/// A forest whose rows are in depth-first order.
pub(crate) struct Forest {
    parents: Vec<Option<usize>>,
    /// Depth of every row.
    pub(crate) positions: Vec<u32>,
    /// One past the last row of every row's subtree.
    pub(crate) ends: Vec<u32>,
    window: u32,
}

impl Forest {
    /// A forest of several trees with branches of all lengths, or one sequence. Rows see ancestors less than `window` above
    /// them, or all if it is 0.
    pub(crate) fn new(random: &mut Random, rows: usize, branches: bool, window: u32) -> Self {
        let mut parents: Vec<Option<usize>> = Vec::new();
        for row in 0..rows {
            parents.push(match random.below(60) {
                _ if row == 0 => None,
                _ if !branches => Some(row - 1),
                0 => None,
                1..=3 => {
                    let mut at = row - 1;
                    for _ in 0..random.below(80) {
                        at = parents[at].unwrap_or(at);
                    }
                    Some(at)
                }
                _ => Some(row - 1),
            });
        }
        let mut ends: Vec<u32> = (1..=rows as u32).collect();
        for row in (0..rows).rev() {
            if let Some(parent) = parents[row] {
                ends[parent] = ends[parent].max(ends[row]);
            }
        }
        let mut positions = vec![0; rows];
        for row in 0..rows {
            positions[row] = parents[row].map_or(0, |parent| positions[parent] + 1);
        }
        Self { parents, positions, ends, window }
    }

    /// The rows that a row sees, itself first and then up to the root.
    pub(crate) fn seen(&self, row: usize) -> Vec<usize> {
        let path = std::iter::successors(Some(row), |&at| self.parents[at]);
        path.take(if self.window == 0 { usize::MAX } else { self.window as usize }).collect()
    }

    /// For every tile of queries the tiles of keys that it sees, or turned around: bounds and list as kernels read them.
    pub(crate) fn tiles(&self, turned: bool) -> (Vec<u32>, Vec<u32>) {
        let rows = self.parents.len();
        let count = rows.div_ceil(TILE);
        let mut pairs = vec![0_usize; count * count];
        for row in 0..rows {
            for key in self.seen(row) {
                pairs[row / TILE * count + key / TILE] += 1;
            }
        }
        let (mut bounds, mut list) = (vec![0], Vec::new());
        for own in 0..count {
            for other in 0..count {
                let seen = if turned { pairs[other * count + own] } else { pairs[own * count + other] };
                if seen > 0 {
                    list.push(other as u32 | if seen == TILE * TILE { 0 } else { PARTIAL });
                }
            }
            bounds.push(list.len() as u32);
        }
        (bounds, list)
    }
}
