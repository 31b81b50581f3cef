//! Memory of a device in one allocation that is cut by a plan, so that nothing is allocated while it computes.
//!
//! Cuts that are never needed at the same time share memory: what was reserved after a [`Mark`] is released together, and
//! later cuts take its place.

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
    pub fn allocate<D: Driver + ?Sized>(self, driver: &D) -> Result<Arena, DriverError> {
        let bytes = self.most.max(ALIGNMENT);
        Ok(Arena { start: driver.allocate(bytes as usize)?, bytes })
    }
}

/// Memory of a device, cut by a plan. It is given back with [`free`](Self::free).
#[derive(Debug)]
pub struct Arena {
    start: Address,
    bytes: u64,
}

impl Arena {
    /// The place of a cut of the arena's plan.
    pub fn address(&self, cut: Cut) -> Address {
        assert!(cut.offset + cut.bytes <= self.bytes, "the cut is of the arena's own plan");
        self.start.offset(cut.offset)
    }

    /// Bytes of the whole.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the memory back.
    pub fn free<D: Driver + ?Sized>(self, driver: &D) -> Result<(), DriverError> {
        driver.free(self.start)
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
