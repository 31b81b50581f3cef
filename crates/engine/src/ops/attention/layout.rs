//! Which rows attend to which, as products over ranges of rows.

use std::ops::Range;

use crate::batch::Batch;

/// Query rows times heads that make up a block: enough for products near the machine's peak, and few enough for their
/// scores over a long context to stay in the second-level cache.
const STACKED_ROWS: usize = 96;

/// Trees times key heads times parts that are worth computing in parallel.
const TASKS: usize = 12;

/// The most parts of a tree: each has gradients of keys and values of its own.
pub(super) const MOST_PARTS: usize = 4;

/// The rows of a batch in blocks of queries, with the keys that each block sees.
///
/// Keys are counted along the path of a row: along its segment's context and then its own segment. The count is also
/// the key's place among a block's scores. Rows of several segments that see the same keys at the same places share
/// one product over them, such as all sequences over a prompt that they have in common.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(super) blocks: Vec<Block>,
    pub(super) members: Vec<Member>,
    pub(super) pieces: Vec<Piece>,
    /// First row of every block, and the number of rows.
    pub(super) block_bounds: Vec<usize>,
    pub(super) trees: Vec<Tree>,
    /// Parts of every tree in the backward pass.
    pub(super) parts: usize,
}

/// Consecutive query rows of one tree.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    /// The segments that the rows belong to, as indices of members.
    pub(super) members: Range<usize>,
    /// The products, as indices of pieces.
    pub(super) pieces: Range<usize>,
    /// The number of keys up to the last that any row sees.
    pub(super) keys: usize,
}

/// Rows of a block that belong to the same segment.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) segment: usize,
    pub(super) rows: Range<usize>,
    /// Number of keys in the context.
    pub(super) context: usize,
}

/// Keys that some consecutive rows of a block see at the same places; of the rows' own segments, those after a row are
/// still hidden from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Query rows.
    pub(super) queries: Range<usize>,
    /// Rows of the keys.
    pub(super) keys: Range<usize>,
    /// Place of the first key.
    pub(super) place: usize,
}

/// Segments that share context.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) rows: Range<usize>,
    /// First block of every part of about the same work, and the end of the last.
    pub(super) parts: [usize; MOST_PARTS + 1],
}

/// Where a member is along its keys.
#[derive(Clone, Copy)]
struct Cursor {
    member: usize,
    /// Index of the range: one of the context, or after them the segment itself.
    range: usize,
    /// Keys of the range that have been passed.
    passed: usize,
}

impl Layout {
    /// Lays out a batch whose segments partition the rows in order, each after its context. `group` query heads
    /// share one of `kv_heads` key heads.
    pub(crate) fn set(&mut self, batch: &Batch, group: usize, kv_heads: usize) {
        let block_rows = (STACKED_ROWS / group).clamp(16, 64);
        self.blocks.clear();
        self.members.clear();
        self.pieces.clear();
        self.block_bounds.clear();
        self.trees.clear();
        let mut cursors = Vec::new();
        for (segments, rows) in trees(batch) {
            let first_block = self.blocks.len();
            for start in rows.clone().step_by(block_rows) {
                let block = start..(start + block_rows).min(rows.end);
                self.add_block(batch, segments.clone(), block, &mut cursors);
            }
            let mut parts = [self.blocks.len(); MOST_PARTS + 1];
            parts[0] = first_block;
            self.trees.push(Tree { rows, parts });
        }
        self.block_bounds.push(batch.tokens.len());
        self.parts = parts(self.trees.len(), kv_heads);
        self.split_trees();
    }

    fn add_block(&mut self, batch: &Batch, segments: Range<usize>, rows: Range<usize>, cursors: &mut Vec<Cursor>) {
        let (first_member, first_piece) = (self.members.len(), self.pieces.len());
        let first = segments.start + batch.segments[segments.clone()].partition_point(|s| s.rows.end <= rows.start);
        let mut keys = 0;
        for (segment, description) in batch.segments.iter().enumerate().take(segments.end).skip(first) {
            let own = rows.start.max(description.rows.start)..rows.end.min(description.rows.end);
            if own.is_empty() {
                break;
            }
            let context = description.context.iter().map(ExactSizeIterator::len).sum::<usize>();
            keys = keys.max(context + own.end - description.rows.start);
            self.members.push(Member { segment, rows: own, context });
        }
        cursors.clear();
        cursors.extend((first_member..self.members.len()).map(|member| Cursor { member, range: 0, passed: 0 }));
        self.add_pieces(batch, cursors, 0);
        self.block_bounds.push(rows.start);
        self.blocks.push(Block {
            rows,
            members: first_member..self.members.len(),
            pieces: first_piece..self.pieces.len(),
            keys,
        });
    }

    /// The keys that remain in the range of a cursor, after stepping over ranges that have ended; empty at the end of
    /// the path.
    fn remaining(&self, batch: &Batch, cursor: &mut Cursor) -> Range<usize> {
        let member = &self.members[cursor.member];
        let segment = &batch.segments[member.segment];
        loop {
            let range = match segment.context.get(cursor.range) {
                Some(context) => context.clone(),
                None => segment.rows.start..member.rows.end,
            };
            let rest = range.start + cursor.passed..range.end;
            if !rest.is_empty() || cursor.range == segment.context.len() {
                return rest;
            }
            (cursor.range, cursor.passed) = (cursor.range + 1, 0);
        }
    }

    /// Adds the products of members with the keys from `place` on.
    fn add_pieces(&mut self, batch: &Batch, cursors: &mut [Cursor], place: usize) {
        let mut start = 0;
        while start < cursors.len() {
            let rest = self.remaining(batch, &mut cursors[start]);
            if rest.is_empty() {
                start += 1;
                continue;
            }
            // Neighbours that see the same key at this place also see the next ones in common.
            let (mut end, mut shared) = (start + 1, rest.len());
            while end < cursors.len() {
                let other = self.remaining(batch, &mut cursors[end]);
                if other.is_empty() || other.start != rest.start {
                    break;
                }
                shared = shared.min(other.len());
                end += 1;
            }
            let queries =
                self.members[cursors[start].member].rows.start..self.members[cursors[end - 1].member].rows.end;
            self.pieces.push(Piece { queries, keys: rest.start..rest.start + shared, place });
            for cursor in &mut cursors[start..end] {
                cursor.passed += shared;
            }
            self.add_pieces(batch, &mut cursors[start..end], place + shared);
            start = end;
        }
    }

    /// Splits the blocks of every tree into parts of about the same number of scores.
    fn split_trees(&mut self) {
        let Self { blocks, pieces, trees, parts, .. } = self;
        let scores = |block: &Block| {
            let pieces = &pieces[block.pieces.clone()];
            pieces.iter().map(|piece| piece.queries.len() * piece.keys.len()).sum::<usize>()
        };
        for tree in trees {
            let own = tree.parts[0]..tree.parts[MOST_PARTS];
            let total = blocks[own.clone()].iter().map(scores).sum::<usize>();
            let (mut done, mut part) = (0, 1);
            for block in own {
                let work = scores(&blocks[block]);
                // A part ends where its share is closest.
                while part < *parts && (done + work / 2) * *parts >= total * part {
                    tree.parts[part] = block;
                    part += 1;
                }
                done += work;
            }
        }
    }
}

/// The number of parts that trees are split into: a power of two.
pub(crate) fn parts(trees: usize, kv_heads: usize) -> usize {
    (TASKS.div_ceil((trees * kv_heads).max(1))).next_power_of_two().min(MOST_PARTS)
}

/// Segments and rows of every tree. A segment belongs to the tree of its context, and so do all segments between them.
fn trees(batch: &Batch) -> Vec<(Range<usize>, Range<usize>)> {
    let mut trees: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (index, segment) in batch.segments.iter().enumerate() {
        let root = segment.context.iter().map(|rows| rows.start).min().unwrap_or(segment.rows.start);
        let mut tree = (index..index + 1, segment.rows.clone());
        while let Some((segments, rows)) = trees.pop_if(|(_, rows)| rows.end > root) {
            tree = (segments.start..tree.0.end, rows.start..tree.1.end);
        }
        trees.push(tree);
    }
    trees
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a context is a list of ranges, often of one")]
mod tests {
    use super::*;
    use crate::batch::Segment;

    fn batch(segments: &[(Range<usize>, &[Range<usize>])]) -> Batch {
        let rows = segments.last().map_or(0, |(rows, _)| rows.end);
        let segments =
            segments.iter().map(|(rows, context)| Segment { rows: rows.clone(), context: context.to_vec() }).collect();
        Batch { tokens: vec![0; rows], positions: vec![0; rows], segments }
    }

    /// The key rows that the pieces of its block give a row, by place.
    fn keys_of(layout: &Layout, row: usize) -> Vec<usize> {
        let block = layout.blocks.iter().find(|block| block.rows.contains(&row)).expect("blocks cover the rows");
        let mut keys = vec![None; block.keys];
        for piece in layout.pieces[block.pieces.clone()].iter().filter(|piece| piece.queries.contains(&row)) {
            for (offset, key) in piece.keys.clone().enumerate() {
                assert_eq!(keys[piece.place + offset].replace(key), None, "one key at each place");
            }
        }
        keys.into_iter().map_while(|key| key).collect()
    }

    #[test]
    fn rows_see_their_context_and_themselves_whatever_their_block() {
        // A prompt of 70 rows, two sequences on it, a branch of the first, and a tree of its own.
        let segments: [(Range<usize>, &[Range<usize>]); 5] =
            [(0..70, &[]), (70..95, &[0..70]), (95..103, &[0..70, 70..80]), (103..120, &[0..65]), (120..130, &[])];
        let batch = batch(&segments);
        for group in [1, 3, 7] {
            let mut layout = Layout::default();
            layout.set(&batch, group, 2);
            assert_eq!(layout.trees.iter().map(|tree| tree.rows.clone()).collect::<Vec<_>>(), [0..120, 120..130]);
            for (rows, context) in &segments {
                for row in rows.clone() {
                    let path: Vec<usize> = context.iter().cloned().flatten().chain(rows.start..=row).collect();
                    assert_eq!(keys_of(&layout, row)[..path.len()], path, "row {row}");
                }
            }
        }
    }

    #[test]
    fn sequences_share_one_product_over_their_prompt() {
        let batch = batch(&[(0..64, &[]), (64..74, &[0..64]), (74..84, &[0..64]), (84..94, &[0..64])]);
        let mut layout = Layout::default();
        layout.set(&batch, 1, 1);
        let block = &layout.blocks[1];
        assert_eq!(block.rows, 64..94);
        let shared = layout.pieces[block.pieces.clone()].iter().filter(|piece| piece.keys.start == 0);
        assert_eq!(shared.collect::<Vec<_>>(), [&Piece { queries: 64..94, keys: 0..64, place: 0 }]);
    }

    #[test]
    fn parts_of_a_tree_cover_its_blocks_in_order() {
        let batch = batch(&[(0..1000, &[]), (1000..1001, &[0..10])]);
        let mut layout = Layout::default();
        layout.set(&batch, 1, 1);
        let parts = layout.trees[0].parts;
        assert_eq!((layout.parts, parts[0], parts[MOST_PARTS]), (MOST_PARTS, 0, layout.blocks.len()));
        assert!(parts.windows(2).all(|part| part[0] < part[1]), "{parts:?}");
    }
}
