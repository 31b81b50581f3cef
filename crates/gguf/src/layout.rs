//! Rules for names, keys and shapes, which hold for reading and writing alike.

use crate::error::Problem;
use crate::tensor_type::TensorType;

/// ggml keeps names in 64 bytes with a zero at the end.
const LONGEST_TENSOR_NAME: usize = 63;
const LONGEST_KEY: usize = 65535;
/// The most levels of arrays inside arrays.
pub(crate) const DEEPEST_ARRAY: usize = 4;

/// Checks the key of the metadata pair at `index`.
pub(crate) fn check_key(index: u64, key: &str) -> Result<(), Problem> {
    if (1..=LONGEST_KEY).contains(&key.len()) {
        return Ok(());
    }
    Err(Problem::KeyLength { index, length: key.len() as u64 })
}

/// Checks the name of the tensor at `index`.
pub(crate) fn check_tensor_name(index: u64, name: &str) -> Result<(), Problem> {
    if (1..=LONGEST_TENSOR_NAME).contains(&name.len()) {
        return Ok(());
    }
    Err(Problem::TensorNameLength { index, length: name.len() as u64, most: LONGEST_TENSOR_NAME })
}

/// Checks the number of a tensor's dimensions.
pub(crate) fn check_dimension_count(name: &str, count: u32) -> Result<(), Problem> {
    if (1..=4).contains(&count) { Ok(()) } else { Err(Problem::Dimensions { name: name.to_owned(), count }) }
}

/// The dimensions of a tensor, slowest first, and its length in bytes.
pub(crate) fn check_shape(
    name: &str,
    dimensions: &[u64],
    tensor_type: TensorType,
) -> Result<(Vec<usize>, usize), Problem> {
    check_dimension_count(name, u32::try_from(dimensions.len()).unwrap_or(u32::MAX))?;
    let impossible = || Problem::Shape { name: name.to_owned(), shape: dimensions.to_vec() };
    let shape: Option<Vec<usize>> = dimensions.iter().map(|&dimension| usize::try_from(dimension).ok()).collect();
    let shape = shape.ok_or_else(impossible)?;
    let values = shape
        .iter()
        .try_fold(1_usize, |product, &dimension| product.checked_mul(dimension))
        .filter(|&values| values > 0 && i64::try_from(values).is_ok())
        .ok_or_else(impossible)?;
    let columns = dimensions[dimensions.len() - 1];
    if !columns.is_multiple_of(tensor_type.block_len() as u64) {
        return Err(Problem::RowLength { name: name.to_owned(), columns, tensor_type });
    }
    let length = tensor_type.bytes_of(values).ok_or_else(impossible)?;
    Ok((shape, length))
}
