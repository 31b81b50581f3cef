//! The key–value pairs of a file.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::error::MetadataError;
use crate::value::{Array, Value};

/// Key–value pairs in the order of their file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Metadata without pairs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a pair, or replaces the value if the key exists.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.index.get(&key) {
            Some(&index) => self.entries[index].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// As [`insert`](Self::insert), if there is a value.
    pub(crate) fn insert_some(&mut self, key: impl Into<String>, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.insert(key, value);
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&index| &self.entries[index].1)
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key as a Rust type, or `None` if the key is missing.
    ///
    /// Fails if the value has another type or is out of range.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(MetadataError::Unexpected {
                key: key.to_owned(),
                found: value.describe(),
                expected: T::EXPECTED.to_owned(),
            }),
        }
    }

    /// As [`optional`](Self::optional), but a missing key is an error.
    pub fn required<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, MetadataError> {
        self.optional(key)?.ok_or_else(|| MetadataError::Missing { key: key.to_owned() })
    }
}

/// Types that metadata values can be read as.
///
/// Integers may have any width and sign in the file as long as the value fits, because programs that write
/// GGUF differ in that.
pub trait FromValue<'a>: Sized {
    /// What is accepted, for messages.
    const EXPECTED: &'static str;

    /// The value, or `None` if it has another type or is out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl FromValue<'_> for u32 {
    const EXPECTED: &'static str = "an integer from 0 to 4294967295";

    fn from_value(value: &Value) -> Option<Self> {
        value.integer()?.try_into().ok()
    }
}

impl FromValue<'_> for NonZeroU32 {
    const EXPECTED: &'static str = "an integer from 1 to 4294967295";

    fn from_value(value: &Value) -> Option<Self> {
        u32::from_value(value)?.try_into().ok()
    }
}

impl FromValue<'_> for u64 {
    const EXPECTED: &'static str = "an integer from 0 to 18446744073709551615";

    fn from_value(value: &Value) -> Option<Self> {
        value.integer()?.try_into().ok()
    }
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a finite number";

    fn from_value(value: &Value) -> Option<Self> {
        let number = match *value {
            Value::F32(number) => number,
            Value::F64(number) => number as f32,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a Boolean";

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(value) = *value { Some(value) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::String(value) = value { Some(value) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [String] {
    const EXPECTED: &'static str = "an array of strings";

    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::String(values)) = value { Some(values) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [f32] {
    const EXPECTED: &'static str = "an array of f32 values";

    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::F32(values)) = value { Some(values) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [i32] {
    const EXPECTED: &'static str = "an array of i32 values";

    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::I32(values)) = value { Some(values) } else { None }
    }
}
