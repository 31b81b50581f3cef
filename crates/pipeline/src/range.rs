//! The valid range of every number, whether it is a key of the configuration or an option of a command. A number out
//! of range is refused before any work starts.

use std::fmt;

use schemars::Schema;
use serde_json::{Map, Value};
use tabpo_model::BpeOptions;

use crate::error::Error;

/// A range of whole numbers, including both ends.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    least: u64,
    most: u64,
    /// Whether 0 is valid too, although it is below `least`.
    or_none: bool,
}

impl Whole {
    /// From `least` to `most`.
    pub const fn new(least: u64, most: u64) -> Self {
        Self { least, most, or_none: false }
    }

    fn contains(self, value: u64) -> bool {
        (self.least..=self.most).contains(&value) || (self.or_none && value == 0)
    }

    /// Refuses a value outside the range; `key` is what the message calls it.
    pub fn check(self, key: &str, value: u64) -> Result<(), Error> {
        if self.contains(value) {
            return Ok(());
        }
        Err(Error::input(format!("{key} is {value}, but must be {self}")))
    }

    /// A parser for the value of a command-line option.
    pub fn parser<T: TryFrom<u64>>(self) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
        move |text| {
            let value = text.parse().ok().filter(|&value| self.contains(value));
            value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| format!("must be {self}"))
        }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most, or_none } = *self;
        match (or_none, least) {
            (true, 1) => write!(f, "a whole number from 0 to {most}"),
            (true, _) => write!(f, "0 or a whole number from {least} to {most}"),
            (false, _) => write!(f, "a whole number from {least} to {most}"),
        }
    }
}

/// A range of real numbers. NaN and infinity are never in it.
#[derive(Clone, Copy, Debug)]
pub struct Real {
    lower: f64,
    /// Whether `lower` is in the range.
    from: bool,
    upper: f64,
    /// Whether `upper` is in the range.
    to: bool,
}

impl Real {
    /// From `lower` to `upper`, including both.
    pub const fn new(lower: f64, upper: f64) -> Self {
        Self { lower, from: true, upper, to: true }
    }

    /// The same range without its lower end.
    #[must_use]
    pub const fn above_lower(self) -> Self {
        Self { from: false, ..self }
    }

    /// The same range without its upper end.
    #[must_use]
    pub const fn below_upper(self) -> Self {
        Self { to: false, ..self }
    }

    fn contains(self, value: f64) -> bool {
        let low = if self.from { value >= self.lower } else { value > self.lower };
        low && if self.to { value <= self.upper } else { value < self.upper }
    }

    /// Refuses a value outside the range; `key` is what the message calls it.
    pub fn check(self, key: &str, value: f64) -> Result<(), Error> {
        if self.contains(value) {
            return Ok(());
        }
        // The debug form writes 1e300 instead of 301 digits.
        Err(Error::input(format!("{key} is {value:?}, but must be {self}")))
    }

    /// A parser for the value of a command-line option.
    pub fn parser(self) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
        move |text| {
            let value = text.parse().ok().filter(|&value| self.contains(value));
            value.ok_or_else(|| format!("must be {self}"))
        }
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lower, from, upper, to } = *self;
        match (from, to) {
            (true, true) => write!(f, "a number from {lower} to {upper}"),
            (true, false) => write!(f, "a number of at least {lower} and below {upper}"),
            (false, true) => write!(f, "a number above {lower} and at most {upper}"),
            (false, false) => write!(f, "a number above {lower} and below {upper}"),
        }
    }
}

/// A share or a probability.
pub const SHARE: Real = Real::new(0.0, 1.0);
/// A probability above which a list goes on. At 0 it would never end, and at 1 it would be empty.
pub const THRESHOLD: Real = SHARE.above_lower().below_upper();
/// A probability of dropout; at 1 nothing would be left.
pub const DROPOUT: Real = SHARE.below_upper();
/// A peak learning rate.
pub const LEARNING_RATE: Real = SHARE.above_lower().below_upper();
/// Decoupled weight decay; with a learning rate below 1, no step can flip a weight's sign.
pub const WEIGHT_DECAY: Real = SHARE;
/// Passes over the examples.
pub const EPOCHS: Real = Real::new(0.0, 1e6).above_lower();
/// The largest norm of a gradient.
pub const CLIP: Real = Real::new(0.0, 1e12).above_lower();
/// A memory limit, in GB.
pub const MEMORY: Real = Real::new(0.0, 1e6).above_lower();
/// The numerator of an adapter's scale.
pub const ALPHA: Real = Real::new(0.0, 1e6).above_lower();
/// A relative weight.
pub const WEIGHT: Real = Real::new(0.0, 1e6);
/// The divisor of the logits in sampling.
pub const TEMPERATURE: Real = Real::new(0.0, 100.0);

/// A seed: any non-negative integer that TOML can hold.
pub const SEED: Whole = Whole::new(0, i64::MAX as u64);
/// Optimiser steps, or steps between two checkpoints.
pub const STEPS: Whole = Whole::new(1, 1_000_000_000);
/// Examples or sequences in a batch.
pub const BATCH: Whole = Whole::new(1, 65_536);
/// Tokens of a batch or a sequence.
pub const TOKENS: Whole = Whole::new(1, 16_777_216);
/// Tokens of an answer; memory for all of them is reserved up front.
pub const ANSWER: Whole = Whole::new(1, 131_072);
/// Bootstrap resamples of a comparison. With fewer, an interval may not even contain its own score.
pub const RESAMPLES: Whole = Whole::new(10, 10_000_000);
/// Sentences of the built-in corpus.
pub const SENTENCES: Whole = Whole::new(1, 1_000_000);
/// The rank of an adapter, which the width of its model limits too.
pub const RANK: Whole = Whole::new(1, 65_536);
/// A small number: negatives per example, folds, copies.
pub const FEW: Whole = Whole::new(1, 10_000);
/// The width of a model from scratch.
pub const WIDTH: Whole = Whole::new(2, 65_536);
/// The blocks of a model from scratch.
pub const LAYERS: Whole = Whole::new(1, 1024);
/// The heads of a model from scratch.
pub const HEADS: Whole = Whole::new(1, 1024);
/// The width of the feed-forward layers of a model from scratch.
pub const INTERMEDIATE: Whole = Whole::new(1, 1_048_576);
/// How many things to measure or show.
pub const COUNT: Whole = Whole::new(1, 1_000_000);

/// The vocabulary of a model from scratch: at least all bytes and the special tokens.
pub fn vocabulary() -> Whole {
    Whole::new((256 + BpeOptions::default().special.len()) as u64, 1_000_000)
}

impl Whole {
    /// States the range in a JSON Schema: of the value, or of each in a list.
    pub(crate) fn stated(self) -> impl Fn(&mut Schema) {
        move |schema| {
            let schema = of_each(schema);
            schema.insert("minimum".to_owned(), if self.or_none { 0 } else { self.least }.into());
            schema.insert("maximum".to_owned(), self.most.into());
        }
    }
}

impl Real {
    /// States the range in a JSON Schema: of the value, or of each in a list.
    pub(crate) fn stated(self) -> impl Fn(&mut Schema) {
        move |schema| {
            let schema = of_each(schema);
            let least = if self.from { "minimum" } else { "exclusiveMinimum" };
            let most = if self.to { "maximum" } else { "exclusiveMaximum" };
            schema.insert(least.to_owned(), self.lower.into());
            schema.insert(most.to_owned(), self.upper.into());
        }
    }
}

/// The schema of a number, or of each number in a list.
fn of_each(schema: &mut Schema) -> &mut Map<String, Value> {
    let schema = schema.ensure_object();
    if schema.contains_key("items") {
        return schema["items"].as_object_mut().expect("the schema of an item says what it is");
    }
    schema
}

impl Whole {
    /// The same range, and 0.
    #[must_use]
    pub const fn or_none(self) -> Self {
        Self { or_none: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_in_the_range_as_stated() {
        for value in [0.0, 1.0, 0.5, -0.0] {
            assert!(SHARE.check("share", value).is_ok(), "{value}");
        }
        for value in [-1e-300, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(SHARE.check("share", value).is_err(), "{value}");
        }
        for value in [0.0, -0.0, 1.0, f64::NAN, 1e3] {
            assert!(LEARNING_RATE.check("rate", value).is_err(), "{value}");
        }
        assert!(LEARNING_RATE.check("rate", 1e-7).is_ok());
        assert!(DROPOUT.check("dropout", 0.0).is_ok() && DROPOUT.check("dropout", 1.0).is_err());
        assert!(BATCH.check("batch", 1).is_ok() && BATCH.check("batch", 65_536).is_ok());
        assert!(BATCH.check("batch", 0).is_err() && BATCH.check("batch", u64::MAX).is_err());
    }

    #[test]
    fn a_message_names_key_value_and_range() {
        let text = |error: Result<(), Error>| error.expect_err("out of range").messages.join("");
        assert_eq!(
            text(RANK.check("adapter.rank", 0)),
            "adapter.rank is 0, but must be a whole number from 1 to 65536"
        );
        assert_eq!(text(DROPOUT.check("d", f64::NAN)), "d is NaN, but must be a number of at least 0 and below 1");
        assert_eq!(text(EPOCHS.check("e", 1e300)), "e is 1e300, but must be a number above 0 and at most 1000000");
    }

    #[test]
    fn options_are_read_in_their_range() {
        assert_eq!(BATCH.parser::<usize>()("32"), Ok(32));
        for text in ["0", "-1", "1.5", "65537", "18446744073709551616", "", "many"] {
            assert_eq!(
                BATCH.parser::<usize>()(text),
                Err("must be a whole number from 1 to 65536".to_owned()),
                "{text}"
            );
        }
        let few = RESAMPLES.or_none().parser::<u32>();
        assert_eq!((few("0"), few("10")), (Ok(0), Ok(10)));
        for text in ["1", "9"] {
            assert_eq!(few(text), Err("must be 0 or a whole number from 10 to 10000000".to_owned()));
            assert!(RESAMPLES.parser::<u32>()("0").is_err());
        }
        assert_eq!(COUNT.or_none().to_string(), "a whole number from 0 to 1000000");
        assert_eq!(TEMPERATURE.parser()("0.7"), Ok(0.7));
        for text in ["nan", "inf", "-0.1", "1e9", "warm"] {
            assert!(TEMPERATURE.parser()(text).is_err(), "{text}");
        }
    }
}
