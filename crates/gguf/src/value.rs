//! Values of metadata.

/// Defines the types of values from a table, in the order of their codes: name, Rust type, name in
/// messages, bytes of the smallest value in a file, and descriptions of one value and of several.
macro_rules! value_types {
    ($($variant:ident($rust:ty), $name:literal, $smallest:literal, $one:literal, $several:literal;)+) => {
        /// The type of a metadata value, as a file stores it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ValueType {
            $(#[doc = $one] $variant,)+
        }

        impl ValueType {
            /// All types, each at the index of its code.
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name of the type in messages.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The number of bytes of the smallest value of this type in a file.
            pub(crate) fn smallest(self) -> usize {
                match self {
                    $(Self::$variant => $smallest,)+
                }
            }
        }

        /// A metadata value.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $(#[doc = $one] $variant($rust),)+
        }

        impl Value {
            /// The type of the value.
            pub fn value_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)+
                }
            }
        }

        impl Encode for Value {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => value.encode(out),)+
                }
            }
        }

        /// An array of metadata values of one type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array {
            $(#[doc = $several] $variant(Vec<$rust>),)+
        }

        impl Array {
            /// The type of the elements.
            pub fn element_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)+
                }
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$variant(values) => values.len(),)+
                }
            }
        }

        impl Encode for Array {
            fn encode(&self, out: &mut Vec<u8>) {
                self.element_type().code().encode(out);
                (self.len() as u64).encode(out);
                match self {
                    $(Self::$variant(values) => values.iter().for_each(|value| value.encode(out)),)+
                }
            }
        }

        $(
            impl From<$rust> for Value {
                fn from(value: $rust) -> Self {
                    Self::$variant(value)
                }
            }

            impl From<Vec<$rust>> for Value {
                fn from(values: Vec<$rust>) -> Self {
                    Self::Array(Array::$variant(values))
                }
            }
        )+
    };
}

value_types! {
    U8(u8), "u8", 1, "An unsigned 8-bit integer.", "Unsigned 8-bit integers.";
    I8(i8), "i8", 1, "A signed 8-bit integer.", "Signed 8-bit integers.";
    U16(u16), "u16", 2, "An unsigned 16-bit integer.", "Unsigned 16-bit integers.";
    I16(i16), "i16", 2, "A signed 16-bit integer.", "Signed 16-bit integers.";
    U32(u32), "u32", 4, "An unsigned 32-bit integer.", "Unsigned 32-bit integers.";
    I32(i32), "i32", 4, "A signed 32-bit integer.", "Signed 32-bit integers.";
    F32(f32), "f32", 4, "A 32-bit floating-point number.", "32-bit floating-point numbers.";
    Bool(bool), "bool", 1, "A Boolean, stored as a byte that is 0 or 1.", "Booleans.";
    String(String), "string", 8, "A UTF-8 string, stored after its length.", "Strings.";
    Array(Array), "array", 12, "An array, stored after the type and the number of its elements.",
        "Arrays, which may differ in type and length.";
    U64(u64), "u64", 8, "An unsigned 64-bit integer.", "Unsigned 64-bit integers.";
    I64(i64), "i64", 8, "A signed 64-bit integer.", "Signed 64-bit integers.";
    F64(f64), "f64", 8, "A 64-bit floating-point number.", "64-bit floating-point numbers.";
}

impl ValueType {
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    pub(crate) fn code(self) -> u32 {
        self as u32
    }
}

impl Value {
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
}

impl Array {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of levels of arrays: 1 for an array of anything else.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array(arrays) => 1 + arrays.iter().map(Self::depth).max().unwrap_or(0),
            _ => 1,
        }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

/// GGUF's encoding, without the type.
pub(crate) trait Encode {
    /// Appends the encoded value.
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! encode_numbers {
    ($($number:ty)+) => {$(
        impl Encode for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )+};
}

encode_numbers! { u8 i8 u16 i16 u32 i32 f32 u64 i64 f64 }

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Encode for str {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u64).encode(out);
        out.extend(self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
}
