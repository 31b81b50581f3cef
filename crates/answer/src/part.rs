//! The parts of a rendered answer.

use std::ops::Range;

use tabpo_roles::Role;

/// Which item of the answer a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// The frame around the lists.
    Frame,
    /// The entity at this position.
    Entity(u32),
    /// The relation at this position.
    Relation(u32),
}

/// A stretch of an answer with one role. The parts of a rendered answer cover it without gap or
/// overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the rendered text.
    pub range: Range<usize>,
    /// What they are for.
    pub role: Role,
    /// The item that they belong to.
    pub item: Item,
}
