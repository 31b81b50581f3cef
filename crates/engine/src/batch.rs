//! The packed, padding-free input of one forward pass.

use std::ops::Range;

/// A run of consecutive tokens of one sequence or of one branch of a token trie.
///
/// A row of a segment attends to every row of `context` (its ancestors in the trie), to the earlier
/// rows of its own segment and to itself. A plain sequence is one segment with an empty context; a
/// rejected answer that leaves prompt + chosen at depth `d` is a segment whose context is the first
/// `d` rows of the trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The rows of the packed token list that belong to the segment.
    pub rows: Range<usize>,
    /// Ranges of earlier rows, in order of depth, that every row of the segment sees.
    pub context: Vec<Range<usize>>,
}

/// Tokens of any number of tries, laid end to end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Batch {
    /// Token ids, one a row.
    pub tokens: Vec<u32>,
    /// Depth of every row in its sequence, from 0: what rotary embeddings see.
    pub positions: Vec<u32>,
    /// Segments that partition the rows, each after the segments of its context.
    pub segments: Vec<Segment>,
}

/// A log-probability that is wanted: that of `token` following the prefix that ends at `row`.
/// The first token of a branch is predicted from a row of the trunk, so a row may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The row whose hidden state predicts.
    pub row: u32,
    /// The token whose log-probability is wanted.
    pub token: u32,
}
