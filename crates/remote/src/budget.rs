//! A limit on cost that is never exceeded.

use std::cell::Cell;

use tokio::sync::Notify;

/// The most that a request can cost is reserved before it is sent, and replaced by its actual cost
/// afterwards. A request is sent only if everything spent and reserved stays within the limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<f64>,
    spent: Cell<f64>,
    reserved: Cell<f64>,
    in_flight: Cell<usize>,
    settled: Notify,
}

impl Budget {
    /// A budget of which `spent` is already used; `None` means no limit.
    pub(crate) fn new(limit: Option<f64>, spent: f64) -> Self {
        Self {
            limit,
            spent: Cell::new(spent),
            reserved: Cell::new(0.0),
            in_flight: Cell::new(0),
            settled: Notify::new(),
        }
    }

    /// Reserves `most`. Waits while requests in flight could still free enough; false if they cannot.
    pub(crate) async fn reserve(&self, most: f64) -> bool {
        loop {
            let Some(limit) = self.limit else { return true };
            // NaN is never within a limit.
            let within = |cost: f64| cost <= limit;
            if !within(self.spent.get() + most) {
                return false;
            }
            if within(self.spent.get() + self.reserved.get() + most) {
                self.in_flight.set(self.in_flight.get() + 1);
                self.reserved.set(self.reserved.get() + most);
                return true;
            }
            self.settled.notified().await;
        }
    }

    /// Replaces a reservation by what was spent.
    pub(crate) fn settle(&self, most: f64, spent: f64) {
        if self.limit.is_some() {
            self.in_flight.set(self.in_flight.get().saturating_sub(1));
            // Rounding errors must not keep the last request waiting for ever.
            let rest = if self.in_flight.get() == 0 { 0.0 } else { (self.reserved.get() - most).max(0.0) };
            self.reserved.set(rest);
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
    async fn the_limit_is_never_exceeded_and_what_becomes_free_is_used() {
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

    #[tokio::test(start_paused = true)]
    async fn rounding_errors_and_nan_make_no_request_wait_for_ever() {
        let budget = Budget::new(Some(0.1), 0.0);
        assert!(budget.reserve(0.01).await && budget.reserve(0.07).await);
        budget.settle(0.01, 0.0);
        budget.settle(0.07, 0.0);
        assert!(budget.reserve(0.1).await);
        assert!(!Budget::new(Some(f64::NAN), 0.0).reserve(1.0).await);
        assert!(!Budget::new(Some(1.0), 0.0).reserve(f64::NAN).await);
    }
}
