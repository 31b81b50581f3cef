//! Which rows of a pass attend together, and to which keys.

use std::ops::Range;

use crate::cache::Sequence;
use crate::pass::Feed;
use crate::real::Real;

/// Query rows (rows times query heads that share a key head) of a block: enough that its products read every key for
/// several of them, and few enough that a batch makes blocks for all threads.
const BLOCK_ROWS: usize = 24;

/// Consecutive rows of a block that see the same part of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The rows.
    pub(crate) rows: Range<usize>,
    /// Index of the feed of one of them.
    pub(crate) feed: usize,
    /// Index of the part in what the feed's sequence shares, or the number of shared parts for what is its own.
    pub(crate) level: usize,
}

/// The rows of a pass in blocks that attend together.
#[derive(Debug, Default)]
pub(crate) struct PassLayout {
    /// The position of every row in its sequence.
    pub(crate) positions: Vec<u32>,
    /// The first row of every block, and the number of rows.
    pub(crate) bounds: Vec<usize>,
    pieces: Vec<Piece>,
    /// The first piece of every block, and the number of pieces.
    piece_bounds: Vec<usize>,
}

impl PassLayout {
    /// Lays out the rows of feeds; `heads` is the number of query heads that share a key head.
    pub(crate) fn set<R: Real>(&mut self, work: &[(Feed<'_>, &mut Sequence<R>)], heads: usize) {
        self.positions.clear();
        self.bounds.clear();
        self.pieces.clear();
        self.piece_bounds.clear();
        let mut feed_of_row = Vec::new();
        for (index, (feed, sequence)) in work.iter().enumerate() {
            let start = (sequence.before + sequence.own.length) as u32;
            self.positions.extend(start..start + feed.tokens.len() as u32);
            feed_of_row.resize(self.positions.len(), index);
        }
        let size = (BLOCK_ROWS / heads).max(1);
        for start in (0..feed_of_row.len()).step_by(size) {
            let rows = start..feed_of_row.len().min(start + size);
            self.bounds.push(start);
            self.piece_bounds.push(self.pieces.len());
            let levels = feed_of_row[rows.clone()].iter().map(|&feed| work[feed].1.shared.len()).max().unwrap_or(0);
            for level in 0..=levels {
                // What identifies the part at this level: a shared one, or that of the sequence itself.
                let part = |row: usize| {
                    let feed = feed_of_row[row];
                    let shared = &work[feed].1.shared;
                    match shared.get(level) {
                        Some(part) => Some((true, part.number() as usize)),
                        None => (shared.len() == level).then_some((false, feed)),
                    }
                };
                let mut row = rows.start;
                while row < rows.end {
                    let end = (row..rows.end).find(|&other| part(other) != part(row)).unwrap_or(rows.end);
                    if part(row).is_some() {
                        self.pieces.push(Piece { rows: row..end, feed: feed_of_row[row], level });
                    }
                    row = end;
                }
            }
        }
        self.bounds.push(feed_of_row.len());
        self.piece_bounds.push(self.pieces.len());
    }

    /// The pieces of a block, from the beginning of its sequences on.
    pub(crate) fn pieces(&self, block: usize) -> &[Piece] {
        &self.pieces[self.piece_bounds[block]..self.piece_bounds[block + 1]]
    }
}
