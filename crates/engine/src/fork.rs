//! Places in a completion where a threshold decides between two tokens, instead of which of them is likelier.
//!
//! A completion that holds lists decides after every item whether another one follows. Greedy decoding adds an item if
//! that is likelier than the end of the list. For F1, an item is worth adding when it is right with a probability above
//! half the F1 that the whole system reaches (Lipton, Elkan and Naryanaswamy 2014), which is always below 1/2.

use thiserror::Error;

/// A place where one token makes a list go on and another one ends it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fork {
    /// The token with which the list goes on.
    pub go_on: u32,
    /// The token that ends the list.
    pub stop: u32,
    /// The list goes on if the log-odds of `go_on` against `stop` exceed this. At 0, the token of greedy decoding is
    /// chosen.
    pub threshold: f64,
    /// Whether the list may go on where greedy decoding ends it. Without that, a low threshold could make a model repeat
    /// items up to the limit of tokens.
    pub may_add: bool,
    /// What the caller calls this fork; it is returned in [`Outcome`].
    pub name: u64,
}

/// What was decided at a fork.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The name of the fork.
    pub name: u64,
    /// The list goes on at every threshold below this: the log-odds of going on. If both tokens are equally likely and
    /// greedy decoding goes on, the smallest positive number; if it ends the list and nothing may be added, negative
    /// infinity.
    pub log_odds: f64,
    /// Whether the list goes on.
    pub goes_on: bool,
}

/// Why the caller cannot tell where a completion forks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ForkError(pub String);

impl Fork {
    /// The other token of the two; `None` if `token` is neither, and then nothing is decided.
    pub(crate) fn rival(&self, token: u32) -> Option<u32> {
        match token {
            _ if token == self.go_on => Some(self.stop),
            _ if token == self.stop => Some(self.go_on),
            _ => None,
        }
    }

    /// Decides, where greedy decoding takes `token` and the logits of the two tokens differ by `difference`.
    pub(crate) fn decide(&self, token: u32, difference: f64) -> Outcome {
        let log_odds = match difference {
            0.0 if token == self.go_on => f64::MIN_POSITIVE,
            ..=0.0 if !self.may_add => f64::NEG_INFINITY,
            difference => difference,
        };
        Outcome { name: self.name, log_odds, goes_on: log_odds > self.threshold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_zero_the_likelier_token_is_taken_and_a_tie_is_left_to_greedy_decoding() {
        let fork = Fork { go_on: 5, stop: 3, threshold: 0.0, may_add: true, name: 7 };
        let goes_on = |token, difference| fork.decide(token, difference).goes_on;
        assert!(goes_on(5, 1e-300) && !goes_on(3, -1e-300));
        assert!(goes_on(5, 0.0) && !goes_on(3, 0.0) && goes_on(5, -0.0) && !goes_on(3, -0.0));
        assert_eq!((fork.rival(5), fork.rival(3), fork.rival(4)), (Some(3), Some(5), None));
    }

    #[test]
    fn log_odds_must_exceed_the_threshold() {
        let fork = Fork { go_on: 0, stop: 1, threshold: -1.0, may_add: true, name: 0 };
        assert!(fork.decide(1, -0.9).goes_on && !fork.decide(1, -1.0).goes_on);
        let limited = Fork { may_add: false, ..fork };
        assert!(!limited.decide(1, -0.1).goes_on && !limited.decide(1, 0.0).goes_on && limited.decide(0, 0.1).goes_on);
        assert_eq!(limited.decide(1, -0.1).log_odds, f64::NEG_INFINITY);
        let fork = Fork { threshold: 1.0, ..fork };
        assert!(fork.decide(0, 1.1).goes_on && !fork.decide(0, 1.0).goes_on);
    }
}
