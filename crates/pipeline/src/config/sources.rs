//! The sources of the edits in preference pairs, as a configuration lists them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tabpo_ontology::Alternatives;
use tabpo_pairs::{ShareError, Source};

/// One source and its share: `modes` or `modes=0.4`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceShare {
    /// The source.
    pub source: Source,
    /// Its share of the edits of each kind, at least 0 and relative to the others; 1 where it is not given.
    pub share: Option<f64>,
}

impl SourceShare {
    /// A source without a share of its own: all such sources get the same.
    pub fn equal(source: Source) -> Self {
        Self { source, share: None }
    }
}

impl FromStr for SourceShare {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let (name, share) = text.split_once('=').map_or((text, None), |(name, share)| (name, Some(share.trim())));
        let name = name.trim();
        let singular = name.strip_suffix('s').unwrap_or(name);
        let source = Source::ALL.into_iter().find(|source| source.name() == singular).ok_or_else(|| {
            let alternatives = Alternatives::to(name, Source::ALL.map(Source::name));
            ShareError::Unknown { what: "source", found: name.to_owned(), alternatives }
        })?;
        let share = share.map(|share| match share.parse::<f64>() {
            Ok(share) if share >= 0.0 && share.is_finite() => Ok(share),
            _ => Err(ShareError::NotAShare { name: source.name(), found: share.to_owned() }),
        });
        Ok(Self { source, share: share.transpose()? })
    }
}

impl fmt::Display for SourceShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if matches!(self.source, Source::Mode | Source::Pattern) { "s" } else { "" };
        write!(f, "{}{plural}", self.source.name())?;
        self.share.map_or(Ok(()), |share| write!(f, "={share}"))
    }
}

impl Serialize for SourceShare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceShare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for (text, source, share) in [
            ("modes", Source::Mode, None),
            ("patterns=0.25", Source::Pattern, Some(0.25)),
            ("random=0", Source::Random, Some(0.0)),
            ("on-policy", Source::OnPolicy, None),
        ] {
            let read: SourceShare = text.parse().expect(text);
            assert_eq!(read, SourceShare { source, share });
            assert_eq!(read.to_string(), text);
        }
        assert_eq!("mode = 1".parse::<SourceShare>().expect("singular").source, Source::Mode);
        assert!(matches!("mods".parse::<SourceShare>(), Err(ShareError::Unknown { .. })));
        assert!(matches!("modes=-1".parse::<SourceShare>(), Err(ShareError::NotAShare { .. })));
        assert!(matches!("modes,patterns".parse::<SourceShare>(), Err(ShareError::Unknown { .. })));
    }
}
