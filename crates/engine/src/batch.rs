//! The packed, padding-free input of one forward pass.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A run of consecutive tokens of one sequence or of one branch of a token trie.
///
/// A row of a segment attends to all rows of `context` (its ancestors in the trie), to the earlier
/// rows of its own segment and to itself. A plain sequence is one segment with an empty context; a
/// rejected answer that diverges from prompt + chosen at depth `d` is a segment whose context is the first
/// `d` rows of the trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The rows of the packed token list that belong to the segment.
    pub rows: Range<usize>,
    /// Ranges of earlier rows, in order of depth, to which every row of the segment attends.
    pub context: Vec<Range<usize>>,
}

/// Tokens of any number of tries, laid end to end.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Token ids, one per row.
    pub tokens: Vec<u32>,
    /// Depth of every row in its sequence, from 0, for rotary embeddings.
    pub positions: Vec<u32>,
    /// Segments that partition the rows, each after the segments of its context.
    pub segments: Vec<Segment>,
}

/// A log-probability to compute: that of `token` after the prefix that ends at `row`. The first token of a
/// branch is predicted from a row of the trunk, so that a row may have several targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The row whose hidden state predicts the token.
    pub row: u32,
    /// The token whose log-probability is computed.
    pub token: u32,
}
