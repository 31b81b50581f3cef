//! Memory of a device in one allocation that is cut by a plan, so that nothing is allocated while it computes.
//!
//! Cuts that are never needed at the same time share memory: what was reserved after a [`Mark`] is released together, and
//! later cuts take its place.

use std::sync::Arc;

use crate::driver::{Address, Driver, DriverError};

/// What every cut is aligned to, in bytes: as much as makes a difference to a card.
pub const ALIGNMENT: u64 = 256;

/// A part of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    offset: u64,
    bytes: u64,
}

impl Cut {
    /// Its size in bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

/// A point in a plan.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// The cuts of an arena before it is allocated.
#[derive(Clone, Debug, Default)]
pub struct ArenaPlan {
    /// The end of what is reserved now.
    end: u64,
    /// The most that was reserved at any time.
    most: u64,
}

impl ArenaPlan {
    /// Reserves `bytes`, which may be none.
    pub fn reserve(&mut self, bytes: u64) -> Cut {
        let cut = Cut { offset: self.end, bytes };
        self.end += bytes.next_multiple_of(ALIGNMENT);
        self.most = self.most.max(self.end);
        cut
    }

    /// The point up to which [`release`](Self::release) goes back.
    pub fn mark(&self) -> Mark {
        Mark(self.end)
    }

    /// Lets later cuts take the place of those that were reserved after the mark.
    pub fn release(&mut self, mark: Mark) {
        self.end = self.end.min(mark.0);
    }

    /// Bytes of the whole.
    pub fn bytes(&self) -> u64 {
        self.most
    }

    /// Allocates the memory.
    pub fn allocate(&self, driver: &Arc<dyn Driver>) -> Result<Arena, DriverError> {
        Arena::new(driver, self.most)
    }
}

/// Memory of a device that is given back when it is dropped.
pub struct Arena {
    driver: Arc<dyn Driver>,
    start: Address,
    bytes: u64,
}

impl Arena {
    /// Takes `bytes` of memory, or the smallest amount if that is none.
    pub fn new(driver: &Arc<dyn Driver>, bytes: u64) -> Result<Self, DriverError> {
        let bytes = bytes.max(ALIGNMENT);
        Ok(Self { start: driver.allocate(bytes as usize)?, driver: Arc::clone(driver), bytes })
    }

    /// Memory that begins with zeros.
    pub fn zeros(driver: &Arc<dyn Driver>, bytes: u64) -> Result<Self, DriverError> {
        let arena = Self::new(driver, bytes)?;
        driver.clear(arena.start, arena.bytes as usize)?;
        Ok(arena)
    }

    /// The first byte.
    pub fn start(&self) -> Address {
        self.start
    }

    /// Bytes of the whole.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The place of a cut of the plan that the arena was made for.
    pub fn address(&self, cut: Cut) -> Address {
        assert!(cut.offset + cut.bytes <= self.bytes, "the cut is of the arena's own plan");
        self.start.offset(cut.offset)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // Nothing is to be done about an error: a card that was lost has no memory to give back.
        let _ = self.driver.free(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is reserved at the same time lies apart, aligned, within the whole, and what is released is used again.
        #[test]
        fn cuts_that_live_at_the_same_time_never_overlap(steps in prop::collection::vec((0..3_u8, 0..2000_u64), 1..60)) {
            let mut plan = ArenaPlan::default();
            let mut living: Vec<Cut> = Vec::new();
            let mut marks: Vec<(Mark, usize)> = Vec::new();
            let mut all = Vec::new();
            let mut most = 0;
            for (kind, bytes) in steps {
                match kind {
                    0 => marks.push((plan.mark(), living.len())),
                    1 => if let Some((mark, count)) = marks.pop() {
                        plan.release(mark);
                        living.truncate(count);
                    },
                    _ => {
                        let cut = plan.reserve(bytes);
                        prop_assert_eq!(cut.offset % ALIGNMENT, 0);
                        for other in &living {
                            let apart = cut.offset >= other.offset + other.bytes || cut.offset + cut.bytes <= other.offset;
                            prop_assert!(apart, "{:?} and {:?}", cut, other);
                        }
                        living.push(cut);
                        all.push(cut);
                        most = most.max(living.iter().map(|cut| cut.bytes.next_multiple_of(ALIGNMENT)).sum::<u64>());
                    }
                }
            }
            prop_assert!(all.iter().all(|cut| cut.offset + cut.bytes <= plan.bytes()));
            prop_assert_eq!(plan.bytes(), most);
        }
    }
}
