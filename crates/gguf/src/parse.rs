//! The head of a file: header, metadata and tensor descriptions.

use std::collections::HashSet;
use std::ops::Range;

use crate::cursor::{Cursor, Item};
use crate::error::{Malformed, Problem};
use crate::layout::{DEEPEST_ARRAY, check_dimension_count, check_key, check_shape, check_tensor_name};
use crate::metadata::Metadata;
use crate::tensor_type::{TensorType, name_of_unsupported};
use crate::value::{Array, Value, ValueType};

pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// The alignment of a file that doesn't state one.
const DEFAULT_ALIGNMENT: u32 = 32;
const LARGEST_ALIGNMENT: u32 = 1 << 20;
const ALIGNMENT_KEY: &str = "general.alignment";

/// What a file says about itself.
pub(crate) struct Head {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
}

/// One tensor of a file.
#[derive(Clone, Debug)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Slowest dimension first.
    pub(crate) shape: Vec<usize>,
    pub(crate) tensor_type: TensorType,
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
}

impl Head {
    /// Reads the head and checks that all tensors lie within the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let version = version(&mut cursor, bytes)?;
        let tensor_count = cursor.u64(Item::Header)?;
        let pair_count = cursor.u64(Item::Header)?;
        let (metadata, alignment) = metadata(&mut cursor, pair_count)?;
        let tensors = tensors(&mut cursor, tensor_count, bytes.len(), u64::from(alignment))?;
        Ok(Self { version, metadata, tensors })
    }
}

fn version(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<u32, Malformed> {
    if !bytes.starts_with(&MAGIC) {
        let found = bytes[..bytes.len().min(MAGIC.len())].to_vec();
        return Err(cursor.problem(Problem::Magic { found }));
    }
    cursor.take(MAGIC.len() as u64, Item::Header)?;
    let before = cursor.position() as u64;
    let problem = match cursor.u32(Item::Header)? {
        version @ 2..=3 => return Ok(version),
        version if (1..=0xffff).contains(&version.swap_bytes()) => Problem::BigEndian,
        version => Problem::Version { version },
    };
    Err(Malformed { offset: before, problem })
}

/// The metadata and the alignment that it states.
fn metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<(Metadata, u32), Malformed> {
    // Length of the key, at least one byte of it, type, at least one byte of the value.
    cursor.expect_room(count, 8 + 1 + 4 + 1, Item::Header)?;
    let mut metadata = Metadata::new();
    let mut alignment = DEFAULT_ALIGNMENT;
    for index in 0..count {
        let start = cursor.position() as u64;
        let key = cursor.string(Item::Key(index))?;
        check_key(index, key).map_err(|problem| Malformed { offset: start, problem })?;
        if metadata.get(key).is_some() {
            return Err(Malformed { offset: start, problem: Problem::DuplicateKey { key: key.to_owned() } });
        }
        let value_type = cursor.value_type(key)?;
        let value = value(cursor, key, value_type)?;
        if key == ALIGNMENT_KEY {
            alignment = checked_alignment(&value).map_err(|problem| Malformed { offset: start, problem })?;
        }
        metadata.insert(key, value);
    }
    Ok((metadata, alignment))
}

fn value(cursor: &mut Cursor<'_>, key: &str, value_type: ValueType) -> Result<Value, Malformed> {
    let item = Item::Value(key);
    Ok(match value_type {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(item)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(item)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(item)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(item)?)),
        ValueType::U32 => Value::U32(cursor.u32(item)?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(item)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(item)?)),
        ValueType::Bool => Value::Bool(cursor.boolean(key)?),
        ValueType::String => Value::String(cursor.string(item)?.to_owned()),
        ValueType::Array => Value::Array(array(cursor, key, 1)?),
        ValueType::U64 => Value::U64(cursor.u64(item)?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(item)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(item)?)),
    })
}

fn array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, Malformed> {
    let item = Item::Value(key);
    if depth > DEEPEST_ARRAY {
        return Err(cursor.problem(Problem::Nesting { key: key.to_owned(), limit: DEEPEST_ARRAY }));
    }
    let element = cursor.value_type(key)?;
    let declared = cursor.u64(item)?;
    let count = cursor.expect_room(declared, element.smallest(), item)?;
    macro_rules! numbers {
        ($number:ty) => {{
            let (numbers, _) = cursor.take((count * size_of::<$number>()) as u64, item)?.as_chunks();
            numbers.iter().map(|&number| <$number>::from_le_bytes(number)).collect()
        }};
    }
    Ok(match element {
        ValueType::U8 => Array::U8(numbers!(u8)),
        ValueType::I8 => Array::I8(numbers!(i8)),
        ValueType::U16 => Array::U16(numbers!(u16)),
        ValueType::I16 => Array::I16(numbers!(i16)),
        ValueType::U32 => Array::U32(numbers!(u32)),
        ValueType::I32 => Array::I32(numbers!(i32)),
        ValueType::F32 => Array::F32(numbers!(f32)),
        ValueType::U64 => Array::U64(numbers!(u64)),
        ValueType::I64 => Array::I64(numbers!(i64)),
        ValueType::F64 => Array::F64(numbers!(f64)),
        ValueType::Bool => Array::Bool((0..count).map(|_| cursor.boolean(key)).collect::<Result<_, _>>()?),
        ValueType::String => {
            Array::String((0..count).map(|_| cursor.string(item).map(str::to_owned)).collect::<Result<_, _>>()?)
        }
        ValueType::Array => Array::Array((0..count).map(|_| array(cursor, key, depth + 1)).collect::<Result<_, _>>()?),
    })
}

/// The alignment that metadata states, or the default.
pub(crate) fn alignment(metadata: &Metadata) -> Result<u32, Problem> {
    metadata.get(ALIGNMENT_KEY).map_or(Ok(DEFAULT_ALIGNMENT), checked_alignment)
}

fn checked_alignment(value: &Value) -> Result<u32, Problem> {
    match *value {
        Value::U32(alignment) if alignment.is_power_of_two() && alignment <= LARGEST_ALIGNMENT => Ok(alignment),
        _ => Err(Problem::Alignment { found: value.describe(), largest: LARGEST_ALIGNMENT }),
    }
}

fn tensors(
    cursor: &mut Cursor<'_>,
    count: u64,
    file_size: usize,
    alignment: u64,
) -> Result<Vec<TensorInfo>, Malformed> {
    // Length of the name, a byte of it, number of dimensions, one dimension, type, offset.
    let count = cursor.expect_room(count, 8 + 1 + 4 + 8 + 4 + 8, Item::Header)?;
    let mut names = HashSet::with_capacity(count);
    let mut described = Vec::with_capacity(count);
    for index in 0..count {
        let start = cursor.position() as u64;
        let tensor = describe(cursor, index as u64, alignment)?;
        if !names.insert(tensor.name) {
            let problem = Problem::DuplicateTensor { name: tensor.name.to_owned() };
            return Err(Malformed { offset: start, problem });
        }
        described.push(tensor);
    }
    let data = (cursor.position() as u64).next_multiple_of(alignment);
    let tensors = described.iter().map(|tensor| tensor.place(data, file_size)).collect::<Result<Vec<_>, _>>()?;
    check_overlaps(&tensors, &described)?;
    Ok(tensors)
}

/// A tensor as its file describes it.
struct Description<'a> {
    name: &'a str,
    shape: Vec<usize>,
    tensor_type: TensorType,
    /// Length of its data in bytes.
    length: usize,
    /// Offset from the start of the tensor data.
    start: u64,
    /// Where in the file that offset is written.
    written_at: u64,
}

fn describe<'a>(cursor: &mut Cursor<'a>, index: u64, alignment: u64) -> Result<Description<'a>, Malformed> {
    let malformed = |offset: u64| move |problem| Malformed { offset, problem };
    let name_at = cursor.position() as u64;
    let name = cursor.string(Item::TensorName(index))?;
    check_tensor_name(index, name).map_err(malformed(name_at))?;
    let item = Item::Description(name);

    let shape_at = cursor.position() as u64;
    let count = cursor.u32(item)?;
    check_dimension_count(name, count).map_err(malformed(shape_at))?;
    // The file has the fastest dimension first.
    let mut dimensions = (0..count).map(|_| cursor.u64(item)).collect::<Result<Vec<_>, _>>()?;
    dimensions.reverse();

    let type_at = cursor.position() as u64;
    let code = cursor.u32(item)?;
    let tensor_type = TensorType::from_code(code).ok_or_else(|| {
        let name = name.to_owned();
        malformed(type_at)(match name_of_unsupported(code) {
            Some(tensor_type) => Problem::UnsupportedTensorType { name, tensor_type },
            None => Problem::UnknownTensorType { name, code },
        })
    })?;
    let (shape, length) = check_shape(name, &dimensions, tensor_type).map_err(malformed(shape_at))?;

    let written_at = cursor.position() as u64;
    let start = cursor.u64(item)?;
    if !start.is_multiple_of(alignment) {
        let problem = Problem::Unaligned { name: name.to_owned(), start, alignment };
        return Err(Malformed { offset: written_at, problem });
    }
    Ok(Description { name, shape, tensor_type, length, start, written_at })
}

impl Description<'_> {
    /// The tensor's place in a file whose tensor data start at `data`.
    fn place(&self, data: u64, file_size: usize) -> Result<TensorInfo, Malformed> {
        let start = data.saturating_add(self.start);
        let end = start.checked_add(self.length as u64).filter(|&end| end <= file_size as u64);
        let Some(end) = end else {
            let problem = Problem::OutsideFile {
                name: self.name.to_owned(),
                start,
                length: self.length as u64,
                size: file_size as u64,
            };
            return Err(Malformed { offset: self.written_at, problem });
        };
        Ok(TensorInfo {
            name: self.name.to_owned(),
            shape: self.shape.clone(),
            tensor_type: self.tensor_type,
            // Both are at most the file's size, which is a `usize`.
            bytes: start as usize..end as usize,
        })
    }
}

fn check_overlaps(tensors: &[TensorInfo], described: &[Description<'_>]) -> Result<(), Malformed> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| tensors[index].bytes.start);
    for (&first, &second) in order.iter().zip(&order[1.min(order.len())..]) {
        if tensors[second].bytes.start < tensors[first].bytes.end {
            let problem = Problem::Overlap { first: tensors[first].name.clone(), second: tensors[second].name.clone() };
            return Err(Malformed { offset: described[second].written_at, problem });
        }
    }
    Ok(())
}
