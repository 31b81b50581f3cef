//! Values of metadata.

/// The type of a metadata value, as a file stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// An unsigned 8-bit integer.
    U8,
    /// A signed 8-bit integer.
    I8,
    /// An unsigned 16-bit integer.
    U16,
    /// A signed 16-bit integer.
    I16,
    /// An unsigned 32-bit integer.
    U32,
    /// A signed 32-bit integer.
    I32,
    /// A 32-bit floating-point number.
    F32,
    /// A Boolean, stored as one byte that is 0 or 1.
    Bool,
    /// A UTF-8 string with its length.
    String,
    /// An array of values of one type.
    Array,
    /// An unsigned 64-bit integer.
    U64,
    /// A signed 64-bit integer.
    I64,
    /// A 64-bit floating-point number.
    F64,
}

impl ValueType {
    /// All types, each at the position of its code.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    /// The name of the type in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes of the smallest value of this type in a file.
    pub(crate) fn smallest(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            // The type of the elements and their count.
            Self::Array => 12,
        }
    }
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned 8-bit integer.
    U8(u8),
    /// A signed 8-bit integer.
    I8(i8),
    /// An unsigned 16-bit integer.
    U16(u16),
    /// A signed 16-bit integer.
    I16(i16),
    /// An unsigned 32-bit integer.
    U32(u32),
    /// A signed 32-bit integer.
    I32(i32),
    /// A 32-bit floating-point number.
    F32(f32),
    /// A Boolean.
    Bool(bool),
    /// A string.
    String(String),
    /// An array.
    Array(Array),
    /// An unsigned 64-bit integer.
    U64(u64),
    /// A signed 64-bit integer.
    I64(i64),
    /// A 64-bit floating-point number.
    F64(f64),
}

/// An array of metadata values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Unsigned 8-bit integers.
    U8(Vec<u8>),
    /// Signed 8-bit integers.
    I8(Vec<i8>),
    /// Unsigned 16-bit integers.
    U16(Vec<u16>),
    /// Signed 16-bit integers.
    I16(Vec<i16>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
    /// Signed 32-bit integers.
    I32(Vec<i32>),
    /// 32-bit floating-point numbers.
    F32(Vec<f32>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Strings.
    String(Vec<String>),
    /// Arrays, which may differ in type and length.
    Array(Vec<Array>),
    /// Unsigned 64-bit integers.
    U64(Vec<u64>),
    /// Signed 64-bit integers.
    I64(Vec<i64>),
    /// 64-bit floating-point numbers.
    F64(Vec<f64>),
}

impl Value {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The value as an integer, if it is one.
    pub(crate) fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(value) => value.into(),
            Self::I8(value) => value.into(),
            Self::U16(value) => value.into(),
            Self::I16(value) => value.into(),
            Self::U32(value) => value.into(),
            Self::I32(value) => value.into(),
            Self::U64(value) => value.into(),
            Self::I64(value) => value.into(),
            _ => return None,
        })
    }

    /// The value for messages: its type and, if it is short, the value itself.
    pub(crate) fn describe(&self) -> String {
        let name = self.value_type().name();
        match self {
            Self::Array(array) => format!("an array of {} {} values", array.len(), array.element_type().name()),
            Self::String(_) => "a string".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::F32(value) => format!("{value} ({name})"),
            Self::F64(value) => format!("{value} ({name})"),
            _ => format!("{} ({name})", self.integer().unwrap_or_default()),
        }
    }

    /// Appends the value in GGUF's encoding.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(value) => out.push(*value),
            Self::I8(value) => out.extend(value.to_le_bytes()),
            Self::U16(value) => out.extend(value.to_le_bytes()),
            Self::I16(value) => out.extend(value.to_le_bytes()),
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::I32(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::String(value) => encode_string(value, out),
            Self::Array(value) => value.encode(out),
            Self::U64(value) => out.extend(value.to_le_bytes()),
            Self::I64(value) => out.extend(value.to_le_bytes()),
            Self::F64(value) => out.extend(value.to_le_bytes()),
        }
    }
}

/// Applies an expression to the vector inside an array.
macro_rules! each {
    ($array:expr, $values:ident => $result:expr) => {
        match $array {
            Array::U8($values) => $result,
            Array::I8($values) => $result,
            Array::U16($values) => $result,
            Array::I16($values) => $result,
            Array::U32($values) => $result,
            Array::I32($values) => $result,
            Array::F32($values) => $result,
            Array::Bool($values) => $result,
            Array::String($values) => $result,
            Array::Array($values) => $result,
            Array::U64($values) => $result,
            Array::I64($values) => $result,
            Array::F64($values) => $result,
        }
    };
}

impl Array {
    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How deep arrays are nested: 1 for an array of anything else.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array(arrays) => 1 + arrays.iter().map(Self::depth).max().unwrap_or(1),
            _ => 1,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.element_type().code().to_le_bytes());
        out.extend((self.len() as u64).to_le_bytes());
        match self {
            Self::U8(values) => out.extend(values),
            Self::Bool(values) => out.extend(values.iter().map(|&value| u8::from(value))),
            Self::String(values) => values.iter().for_each(|value| encode_string(value, out)),
            Self::Array(values) => values.iter().for_each(|value| value.encode(out)),
            Self::I8(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::U16(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::I16(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::U32(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::I32(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F32(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::U64(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::I64(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F64(values) => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }
}

/// Appends a string in GGUF's encoding: its length in bytes, then the bytes.
pub(crate) fn encode_string(value: &str, out: &mut Vec<u8>) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

macro_rules! from {
    ($($of:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$of> for Value {
            fn from(value: $of) -> Self {
                Self::$variant(value)
            }
        }

        impl From<Vec<$of>> for Value {
            fn from(values: Vec<$of>) -> Self {
                Self::Array(Array::$variant(values))
            }
        }
    )+};
}

from! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
    String => String, Array => Array, u64 => U64, i64 => I64, f64 => F64,
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}
