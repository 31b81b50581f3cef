//! Reading the head of a file without trusting its numbers.

use std::fmt;

use crate::error::{Malformed, Problem};
use crate::value::ValueType;

/// The most bytes that metadata and tensor descriptions of a file may take. The largest tokenizers take
/// about 30 MB.
pub(crate) const LARGEST_HEAD: usize = 128 << 20;

/// What is being read, for messages.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    Header,
    Key(u64),
    Value(&'a str),
    TensorName(u64),
    Description(&'a str),
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => formatter.write_str("the header"),
            Self::Key(index) => write!(formatter, "metadata key {index}"),
            Self::Value(key) => write!(formatter, "the value of metadata key {key:?}"),
            Self::TensorName(index) => write!(formatter, "the name of tensor {index}"),
            Self::Description(name) => write!(formatter, "the description of tensor {name:?}"),
        }
    }
}

/// A position in the head of a file.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// A problem at the present position.
    pub(crate) fn problem(&self, problem: Problem) -> Malformed {
        Malformed { offset: self.position as u64, problem }
    }

    /// Checks that `count` entries of at least `smallest` bytes each can follow.
    pub(crate) fn expect_room(&self, count: u64, smallest: usize, item: Item<'_>) -> Result<usize, Malformed> {
        let most = (self.bytes.len() - self.position) / smallest;
        match usize::try_from(count) {
            Ok(count) if count <= most => {
                self.expect_small(count * smallest)?;
                Ok(count)
            }
            _ => Err(self.problem(Problem::Count { item: item.to_string(), count, most: most as u64 })),
        }
    }

    fn expect_small(&self, length: usize) -> Result<(), Malformed> {
        if length > LARGEST_HEAD.saturating_sub(self.position) {
            return Err(self.problem(Problem::HeadTooLarge { limit: LARGEST_HEAD as u64 }));
        }
        Ok(())
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: u64, item: Item<'_>) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.position..];
        match usize::try_from(length) {
            Ok(length) if length <= rest.len() => {
                self.expect_small(length)?;
                self.position += length;
                Ok(&rest[..length])
            }
            _ => Err(self.problem(Problem::Truncated {
                item: item.to_string(),
                needed: length,
                left: rest.len() as u64,
            })),
        }
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, item: Item<'_>) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, item)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, item: Item<'_>) -> Result<u32, Malformed> {
        self.array(item).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, item: Item<'_>) -> Result<u64, Malformed> {
        self.array(item).map(u64::from_le_bytes)
    }

    pub(crate) fn string(&mut self, item: Item<'_>) -> Result<&'a str, Malformed> {
        let length = self.u64(item)?;
        let start = self.position;
        let bytes = self.take(length, item)?;
        str::from_utf8(bytes).map_err(|error| Malformed {
            offset: (start + error.valid_up_to()) as u64,
            problem: Problem::Utf8 { item: item.to_string() },
        })
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Result<bool, Malformed> {
        let start = self.position;
        match self.array(Item::Value(key))? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(Malformed { offset: start as u64, problem: Problem::Boolean { key: key.to_owned(), byte } }),
        }
    }

    pub(crate) fn value_type(&mut self, key: &str) -> Result<ValueType, Malformed> {
        let start = self.position;
        let code = self.u32(Item::Value(key))?;
        ValueType::from_code(code).ok_or_else(|| Malformed {
            offset: start as u64,
            problem: Problem::ValueType { key: key.to_owned(), code },
        })
    }
}
