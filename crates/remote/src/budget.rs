//! A limit on cost that is never passed.

use std::cell::Cell;

use tokio::sync::Notify;

/// Before a request is sent, the most that it can cost is set aside; afterwards it is replaced by
/// what it did cost. A request is sent only if everything spent and set aside stays within the limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<f64>,
    spent: Cell<f64>,
    reserved: Cell<f64>,
    settled: Notify,
}

impl Budget {
    /// A budget of which `spent` is gone already; `None` is no limit.
    pub(crate) fn new(limit: Option<f64>, spent: f64) -> Self {
        Self { limit, spent: Cell::new(spent), reserved: Cell::new(0.0), settled: Notify::new() }
    }

    /// Sets `most` aside. Waits while requests in flight could still leave room; false if there will
    /// be none.
    pub(crate) async fn reserve(&self, most: f64) -> bool {
        loop {
            let Some(limit) = self.limit else { return true };
            if self.spent.get() + most > limit {
                return false;
            }
            if self.spent.get() + self.reserved.get() + most <= limit {
                self.reserved.set(self.reserved.get() + most);
                return true;
            }
            self.settled.notified().await;
        }
    }

    /// Replaces what was set aside by what was spent.
    pub(crate) fn settle(&self, most: f64, spent: f64) {
        if self.limit.is_some() {
            self.reserved.set((self.reserved.get() - most).max(0.0));
        }
        self.spent.set(self.spent.get() + spent);
        self.settled.notify_waiters();
    }

    /// Spent so far.
    pub(crate) fn spent(&self) -> f64 {
        self.spent.get()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_never_passed_and_room_that_becomes_free_is_used() {
        let budget = Budget::new(Some(10.0), 1.0);
        assert!(budget.reserve(6.0).await);
        let waiting = async {
            assert!(budget.reserve(6.0).await);
            budget.spent()
        };
        let settling = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            budget.settle(6.0, 2.0);
        };
        let (spent, ()) = tokio::join!(waiting, settling);
        assert_eq!(spent, 3.0);
        budget.settle(6.0, 6.0);
        assert!(!budget.reserve(6.0).await);
        assert!(budget.reserve(1.0).await);
    }

    #[tokio::test]
    async fn no_limit_is_no_limit() {
        let budget = Budget::new(None, 0.0);
        assert!(budget.reserve(f64::MAX).await);
        budget.settle(f64::MAX, 2.5);
        assert_eq!(budget.spent(), 2.5);
    }
}
