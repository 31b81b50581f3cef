//! Deserialises TOML into types. Errors are data: what was found, what was expected, and where. So nothing has to
//! interpret the message of a parser.

use std::{fmt, ops::Range};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::StrDeserializer};
use toml::de::{DeTable, DeValue};

/// Deserialises a TOML document.
pub(super) fn from_toml<T: de::DeserializeOwned>(text: &str) -> Result<T, ReadError> {
    let table = DeTable::parse(text).map_err(|error| ReadError {
        problem: Problem::Other(error.message().trim().replace('\n', ", ")),
        span: error.span(),
    })?;
    let span = table.span();
    T::deserialize(Node { value: &DeValue::Table(table.into_inner()), span })
}

/// What is wrong with a document, and the range of bytes it is at.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) problem: Problem,
    pub(super) span: Option<Range<usize>>,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Problem {
    /// A value of the wrong kind.
    Kind { found: Found, expected: Expected },
    /// An unknown key, and the valid ones.
    UnknownKey { found: String, known: Vec<&'static str> },
    /// An unknown name, and the valid ones.
    UnknownValue { found: String, known: Vec<&'static str> },
    /// A required key that is missing.
    Missing(&'static str),
    /// Anything else, in the words of its source.
    Other(String),
}

/// The value that was found.
#[derive(Debug)]
pub(super) enum Found {
    Text(String),
    /// A number, a boolean or a date, as written.
    Plain(String),
    List,
    Section,
}

/// The kind of value that was expected.
#[derive(Debug)]
pub(super) enum Expected {
    /// A whole number of at least 0.
    Unsigned,
    Whole,
    Number,
    Truth,
    Text,
    List,
    Section,
    /// One of these names.
    OneOf(Vec<&'static str>),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { problem: Problem::Other(message.to_string()), span: None }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { problem: Problem::UnknownKey { found: field.to_owned(), known: expected.to_vec() }, span: None }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self { problem: Problem::UnknownValue { found: variant.to_owned(), known: expected.to_vec() }, span: None }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { problem: Problem::Missing(field), span: None }
    }
}

impl ReadError {
    /// Sets where the error is, unless it already knows.
    fn at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

/// A value and where it is in the document.
struct Node<'d> {
    value: &'d DeValue<'d>,
    span: Range<usize>,
}

impl Node<'_> {
    fn found(&self) -> Found {
        match self.value {
            DeValue::String(text) => Found::Text(text.to_string()),
            DeValue::Integer(number) => Found::Plain(number.to_string()),
            DeValue::Float(number) => Found::Plain(number.to_string()),
            DeValue::Boolean(truth) => Found::Plain(truth.to_string()),
            DeValue::Datetime(date) => Found::Plain(date.to_string()),
            DeValue::Array(_) => Found::List,
            DeValue::Table(_) => Found::Section,
        }
    }

    fn wrong(&self, expected: Expected) -> ReadError {
        ReadError { problem: Problem::Kind { found: self.found(), expected }, span: Some(self.span.clone()) }
    }

    /// The value as a whole number of type `T`.
    fn whole<T: TryFrom<i128>>(&self, expected: Expected) -> Result<T, ReadError> {
        let number = self.value.as_integer();
        let value = number.and_then(|number| i128::from_str_radix(number.as_str(), number.radix()).ok());
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| self.wrong(expected))
    }

    fn number(&self) -> Result<f64, ReadError> {
        match self.value {
            DeValue::Integer(_) => self.whole(Expected::Number).map(|value: i128| value as f64),
            DeValue::Float(number) => number.as_str().parse().map_err(|_| self.wrong(Expected::Number)),
            _ => Err(self.wrong(Expected::Number)),
        }
    }
}

/// The methods that deserialise integers.
macro_rules! whole_numbers {
    ($($method:ident $visit:ident $expected:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            visitor.$visit(self.whole(Expected::$expected)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = ReadError;

    whole_numbers! {
        deserialize_i8 visit_i8 Whole, deserialize_i16 visit_i16 Whole, deserialize_i32 visit_i32 Whole,
        deserialize_i64 visit_i64 Whole, deserialize_u8 visit_u8 Unsigned, deserialize_u16 visit_u16 Unsigned,
        deserialize_u32 visit_u32 Unsigned, deserialize_u64 visit_u64 Unsigned
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Integer(_) => match self.whole::<i64>(Expected::Whole) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_u64(self.whole(Expected::Whole)?),
            },
            DeValue::Float(_) => visitor.visit_f64(self.number()?),
            DeValue::Boolean(truth) => visitor.visit_bool(*truth),
            DeValue::Datetime(date) => visitor.visit_str(&date.to_string()),
            DeValue::Array(_) => self.deserialize_seq(visitor),
            DeValue::Table(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let DeValue::Boolean(truth) = self.value else { return Err(self.wrong(Expected::Truth)) };
        visitor.visit_bool(*truth)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let DeValue::String(text) = self.value else { return Err(self.wrong(Expected::Text)) };
        visitor.visit_str(text).map_err(|error: ReadError| error.at(&self.span))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let DeValue::Array(values) = self.value else { return Err(self.wrong(Expected::List)) };
        let nodes = values.iter().map(|value| Node { value: value.get_ref(), span: value.span() });
        visitor.visit_seq(List(nodes)).map_err(|error| error.at(&self.span))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let DeValue::Table(table) = self.value else { return Err(self.wrong(Expected::Section)) };
        let entries = table
            .iter()
            .map(|(key, value)| (&**key.get_ref(), key.span(), Node { value: value.get_ref(), span: value.span() }));
        visitor.visit_map(Section { entries, open: None }).map_err(|error| error.at(&self.span))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let DeValue::String(text) = self.value else {
            return Err(self.wrong(Expected::OneOf(variants.to_vec())));
        };
        visitor.visit_enum(StrDeserializer::new(text)).map_err(|error: ReadError| error.at(&self.span))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct List<I>(I);

impl<'de, 'd, I: Iterator<Item = Node<'d>>> SeqAccess<'de> for List<I> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(node) = self.0.next() else { return Ok(None) };
        let span = node.span.clone();
        seed.deserialize(node).map(Some).map_err(|error| error.at(&span))
    }
}

struct Section<'d, I> {
    entries: I,
    /// The value of the key that was read last.
    open: Option<Node<'d>>,
}

impl<'de, 'd, I: Iterator<Item = (&'d str, Range<usize>, Node<'d>)>> MapAccess<'de> for Section<'d, I> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, span, node)) = self.entries.next() else { return Ok(None) };
        self.open = Some(node);
        seed.deserialize(StrDeserializer::new(key)).map(Some).map_err(|error: ReadError| error.at(&span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let node = self.open.take().expect("serde reads a value after its key");
        let span = node.span.clone();
        seed.deserialize(node).map_err(|error| error.at(&span))
    }
}
