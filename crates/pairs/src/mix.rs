//! The proportions of kinds and sources of edits.

use serde::Serialize;
use tabpo_ontology::Alternatives;
use thiserror::Error;

use crate::{Kind, ModeRates, Source};

/// The share of every kind of edit; sums to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mix([f64; Kind::ALL.len()]);

/// The share of every source among the edits of a kind; sums to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SourceShares([f64; Source::ALL.len()]);

/// A list of shares that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShareError {
    /// An unknown kind or source.
    #[error("unknown {what} `{found}`{alternatives}")]
    Unknown {
        /// `kind` or `source`.
        what: &'static str,
        /// The name.
        found: String,
        /// The valid names.
        alternatives: Alternatives,
    },
    /// A share that is not a number of at least 0.
    #[error("the share of `{name}` must be a number of at least 0, found `{found}`")]
    NotAShare {
        /// What it is the share of.
        name: &'static str,
        /// The text.
        found: String,
    },
    /// Every share is 0.
    #[error("all shares are 0")]
    Nothing,
}

impl Default for Mix {
    /// Label 0.30, direction and subtype 0.12, and so on down to occurrence 0.01.
    fn default() -> Self {
        let share = |kind| match kind {
            Kind::Label => 0.30,
            Kind::RelationLabel | Kind::Boundary => 0.10,
            Kind::Subtype | Kind::Direction => 0.12,
            Kind::Argument | Kind::DropEntity | Kind::AddEntity => 0.08,
            Kind::DropRelation | Kind::AddRelation => 0.05,
            Kind::Grounding => 0.03,
            Kind::Occurrence => 0.01,
        };
        Self(normalise(Kind::ALL.map(share)).expect("the shares are not all 0"))
    }
}

impl Mix {
    /// Shares in the order of [`Kind::ALL`]; they are divided by their sum.
    pub fn new(shares: [f64; Kind::ALL.len()]) -> Result<Self, ShareError> {
        normalise(shares).map(Self).ok_or(ShareError::Nothing)
    }

    /// Reads `label=0.5,direction=0.2,...`; kinds that are not listed get no share.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        let mut shares = [0.0; Kind::ALL.len()];
        for (name, share) in entries(text) {
            let kind = Kind::named(name).ok_or_else(|| unknown("kind", name, Kind::ALL.map(Kind::name)))?;
            shares[kind.index()] = share.map_or(Ok(1.0), |share| number(kind.name(), share))?;
        }
        Self::new(shares)
    }

    /// The proportions of kinds among the errors on validation.
    pub fn of_modes(rates: &ModeRates) -> Result<Self, ShareError> {
        Self::new(rates.counts.map(|count| count as f64))
    }

    /// The share of a kind.
    pub fn share(&self, kind: Kind) -> f64 {
        self.0[kind.index()]
    }
}

impl SourceShares {
    /// Equal shares for these sources.
    pub fn equal(sources: &[Source]) -> Result<Self, ShareError> {
        let share = |source| f64::from(u8::from(sources.contains(&source)));
        normalise(Source::ALL.map(share)).map(Self).ok_or(ShareError::Nothing)
    }

    /// Reads `pattern,mode` (equal shares) or `pattern=0.6,mode=0.4`; plurals are accepted.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        let mut shares = [0.0; Source::ALL.len()];
        for (name, share) in entries(text) {
            let source = Source::named(name)
                .or_else(|| Source::named(name.strip_suffix('s')?))
                .ok_or_else(|| unknown("source", name, Source::ALL.map(Source::name)))?;
            shares[source.index()] = share.map_or(Ok(1.0), |share| number(source.name(), share))?;
        }
        normalise(shares).map(Self).ok_or(ShareError::Nothing)
    }

    /// The share of a source.
    pub fn share(&self, source: Source) -> f64 {
        self.0[source.index()]
    }
}

fn normalise<const N: usize>(shares: [f64; N]) -> Option<[f64; N]> {
    let sum: f64 = shares.iter().sum();
    (sum > 0.0).then(|| shares.map(|share| share / sum))
}

fn entries(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(|entry| match entry.split_once('=') {
        Some((name, share)) => (name.trim(), Some(share.trim())),
        None => (entry, None),
    })
}

fn number(name: &'static str, text: &str) -> Result<f64, ShareError> {
    match text.parse::<f64>() {
        Ok(share) if share >= 0.0 && share.is_finite() => Ok(share),
        _ => Err(ShareError::NotAShare { name, found: text.to_owned() }),
    }
}

fn unknown<const N: usize>(what: &'static str, found: &str, valid: [&'static str; N]) -> ShareError {
    ShareError::Unknown { what, found: found.to_owned(), alternatives: Alternatives::to(found, valid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_one_and_bad_names_get_a_suggestion() {
        let mix = Mix::parse("label=3, direction=1").unwrap();
        assert_eq!((mix.share(Kind::Label), mix.share(Kind::Direction)), (0.75, 0.25));
        assert_eq!(mix.share(Kind::Argument), 0.0);
        let sources = SourceShares::parse("patterns,modes").unwrap();
        assert_eq!((sources.share(Source::Pattern), sources.share(Source::Random)), (0.5, 0.0));
        let wrong = Mix::parse("lable=1").unwrap_err();
        assert_eq!(wrong.to_string(), "unknown kind `lable`; did you mean `label`?");
        let wrong = SourceShares::parse("foo").unwrap_err().to_string();
        assert!(wrong.starts_with("unknown source `foo`; valid: pattern, mode"), "{wrong}");
        let wrong = Mix::parse("foo=1").unwrap_err().to_string();
        assert!(wrong.starts_with("unknown kind `foo`; valid: label, subtype"), "{wrong}");
        assert_eq!(Mix::parse("label=0").unwrap_err(), ShareError::Nothing);
        assert!(matches!(SourceShares::parse("mode=-1").unwrap_err(), ShareError::NotAShare { .. }));
    }
}
