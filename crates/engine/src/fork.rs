//! Places in a completion where a threshold decides between two tokens, instead of which of them is likelier.
//!
//! A completion that holds lists decides after every item whether another one follows. Greedy decoding adds an item if
//! that is likelier than the end of the list. For F1, an item is worth adding when it is right with a probability above
//! half the F1 that the whole system reaches (Lipton, Elkan and Naryanaswamy 2014), which is always below 1/2.

use thiserror::Error;

/// A place where one token makes a list go on and others end it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The token with which the list goes on.
    pub go_on: u32,
    /// The tokens that end the list, at least one: a token may also hold what comes after the list.
    pub stop: Vec<u32>,
    /// The list goes on if the log-odds of `go_on` against the likeliest token of `stop` exceed this. At 0, the token of
    /// greedy decoding is chosen.
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

/// Decides at forks that one token passes, in order, where greedy decoding takes `token`: the tokens that end the first
/// list may be a fork again. Only tokens that are `allowed` are chosen; a fork at which only one way is allowed decides
/// nothing. Returns the token and what was decided.
pub(crate) fn decide(
    forks: &[Fork],
    token: u32,
    logit: impl Fn(u32) -> f64,
    allowed: impl Fn(u32) -> bool,
) -> (u32, Vec<Outcome>) {
    let mut chosen = token;
    let mut outcomes = Vec::new();
    for fork in forks {
        if chosen != fork.go_on && !fork.stop.contains(&chosen) {
            break;
        }
        // Greedy decoding's own token comes before others that are as likely.
        let likelier = |one: u32, other: u32| if logit(other) > logit(one) { other } else { one };
        let first = Some(chosen).filter(|&chosen| chosen != fork.go_on);
        let stop = first.into_iter().chain(fork.stop.iter().copied()).filter(|&stop| allowed(stop)).reduce(likelier);
        let (Some(stop), true) = (stop, allowed(fork.go_on)) else { continue };
        let outcome = fork.outcome(chosen, logit(fork.go_on) - logit(stop));
        outcomes.push(outcome);
        chosen = if outcome.goes_on { fork.go_on } else { stop };
        if outcome.goes_on {
            break;
        }
    }
    (chosen, outcomes)
}

impl Fork {
    /// What is decided where greedy decoding takes `token` and `go_on` has this much more logit than the other token.
    fn outcome(&self, token: u32, difference: f64) -> Outcome {
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

    fn fork(threshold: f64) -> Fork {
        Fork { go_on: 5, stop: vec![3], threshold, may_add: true, name: 7 }
    }

    /// The token at one fork, where the logits of tokens 5 and 3 differ by this much.
    fn token(fork: &Fork, greedy: u32, difference: f64) -> u32 {
        let logit = |token| if token == 5 { difference } else { 0.0 };
        decide(std::slice::from_ref(fork), greedy, logit, |_| true).0
    }

    #[test]
    fn at_zero_the_likelier_token_is_taken_and_a_tie_is_left_to_greedy_decoding() {
        let fork = fork(0.0);
        assert_eq!((token(&fork, 5, 1e-300), token(&fork, 3, -1e-300)), (5, 3));
        for tie in [0.0, -0.0] {
            assert_eq!((token(&fork, 5, tie), token(&fork, 3, tie)), (5, 3));
        }
        assert_eq!(token(&fork, 4, 9.0), 4, "a token that does neither is left alone");
    }

    #[test]
    fn log_odds_must_exceed_the_threshold() {
        let low = fork(-1.0);
        assert_eq!((token(&low, 3, -0.9), token(&low, 3, -1.0)), (5, 3));
        let high = fork(1.0);
        assert_eq!((token(&high, 5, 1.1), token(&high, 5, 1.0)), (5, 3));
        let limited = Fork { may_add: false, ..low };
        assert_eq!((token(&limited, 3, -0.1), token(&limited, 3, 0.0), token(&limited, 5, 0.1)), (3, 3, 5));
        assert_eq!(limited.outcome(3, -0.1).log_odds, f64::NEG_INFINITY);
    }

    /// One token ends a list and decides about the next: 1 goes on, 2 ends it and begins the other, 3 ends both.
    #[test]
    fn a_token_may_pass_two_forks() {
        let forks = |first, second| {
            [
                Fork { go_on: 1, stop: vec![2, 3], threshold: first, may_add: true, name: 0 },
                Fork { go_on: 2, stop: vec![3], threshold: second, may_add: true, name: 1 },
            ]
        };
        let logits: [f64; 4] = [0.0, 1.0, 0.0, 0.5];
        let at = |first, second, allowed: &[u32]| {
            let logit = |token: u32| logits[token as usize];
            let greedy = *allowed.iter().max_by(|a, b| logit(**a).total_cmp(&logit(**b))).expect("a token");
            let (token, outcomes) = decide(&forks(first, second), greedy, logit, |token| allowed.contains(&token));
            (token, outcomes.iter().map(|outcome| (outcome.name, outcome.log_odds)).collect::<Vec<_>>())
        };
        let all = [1, 2, 3];
        assert_eq!(at(0.0, 0.0, &all), (1, vec![(0, 0.5)]));
        assert_eq!(at(0.5, 0.0, &all), (3, vec![(0, 0.5), (1, -0.5)]));
        assert_eq!(at(0.5, -0.6, &all), (2, vec![(0, 0.5), (1, -0.5)]));
        // What a grammar forbids is not chosen, and where it leaves one way nothing is decided.
        assert_eq!(at(9.0, -9.0, &[1, 3]), (3, vec![(0, 0.5)]));
        assert_eq!(at(9.0, -9.0, &[1, 2]), (2, vec![(0, 1.0)]));
        assert_eq!(at(-9.0, -9.0, &[2, 3]), (2, vec![(1, -0.5)]));
        assert_eq!(at(9.0, 9.0, &[1]), (1, vec![]));
    }
}
