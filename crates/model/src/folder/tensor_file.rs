//! One safetensors file, memory-mapped.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

use super::{FolderError, remedy};
use crate::mapped::Mapped;
use crate::nf4::Piece;
use crate::stored::{SharedBytes, StoredMatrix, StoredType, StoredValues, TensorBytes};

/// Position of a tensor in its file.
#[derive(Clone, Debug)]
pub(crate) struct TensorLocation {
    pub(crate) shape: Vec<usize>,
    dtype: Dtype,
    offset: usize,
    length: usize,
}

impl TensorLocation {
    /// Whether this is a vector, or stored in a type.
    pub(crate) fn is_vector_or(&self, stored: StoredType) -> bool {
        let dtype = match stored {
            StoredType::F32 => Dtype::F32,
            StoredType::F16 => Dtype::F16,
            StoredType::Bf16 => Dtype::BF16,
        };
        self.shape.len() < 2 || self.dtype == dtype
    }

    /// Whether the elements are bytes.
    pub(super) fn is_bytes(&self) -> bool {
        self.dtype == Dtype::U8
    }
}

impl std::fmt::Display for TensorLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.dtype, self.shape)
    }
}

/// A memory-mapped safetensors file.
pub(crate) struct TensorFile {
    pub(crate) path: PathBuf,
    map: Arc<Mapped>,
    pub(crate) tensors: BTreeMap<String, TensorLocation>,
}

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let read = |source| FolderError::Read { path: path.into(), source };
        let file = File::open(path).map_err(read)?;
        if file.metadata().map_err(read)?.len() == 0 {
            return Err(FolderError::other_content(path, "is empty: download it again"));
        }
        let map = Mapped::new(&file).map_err(read)?;
        let (header, metadata) = SafeTensors::read_metadata(map.bytes()).map_err(|source| {
            match remedy::instead_of_weights(map.bytes()) {
                Some(problem) => FolderError::other_content(path, problem),
                None => FolderError::Safetensors { path: path.into(), source },
            }
        })?;
        // Eight bytes of header length come before the header.
        let data = header + 8;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let location = TensorLocation {
                    shape: info.shape.clone(),
                    dtype: info.dtype,
                    offset: data + start,
                    length: end - start,
                };
                (name, location)
            })
            .collect();
        Ok(Self { path: path.into(), map: Arc::new(map), tensors })
    }

    /// A tensor as a matrix; a vector is a matrix of one row.
    pub(crate) fn matrix(
        &self,
        name: &str,
        location: &TensorLocation,
        [rows, columns]: [usize; 2],
    ) -> Result<StoredMatrix, FolderError> {
        check_shape(&self.path, name, &location.shape, [rows, columns])?;
        let stored = match location.dtype {
            Dtype::F32 => StoredType::F32,
            Dtype::F16 => StoredType::F16,
            Dtype::BF16 => StoredType::Bf16,
            other => {
                return Err(FolderError::Dtype {
                    path: self.path.clone(),
                    name: name.into(),
                    found: format!("{other:?}"),
                });
            }
        };
        check_finite(&self.path, name, self.bytes(location), stored)?;
        let bytes: SharedBytes = Arc::clone(&self.map) as SharedBytes;
        let values = StoredValues::Plain { stored, bytes, offset: location.offset };
        Ok(StoredMatrix { rows, columns, values })
    }

    /// The elements of a tensor as they are stored.
    pub(super) fn bytes(&self, location: &TensorLocation) -> &[u8] {
        &self.map.bytes()[location.offset..location.offset + location.length]
    }

    /// The bytes of a tensor, which keep the file mapped.
    pub(super) fn piece(&self, location: &TensorLocation) -> Piece {
        Piece::new(Arc::clone(&self.map) as SharedBytes, location.offset..location.offset + location.length)
    }

    /// The elements of a tensor in single precision; none if they are stored in another type.
    pub(super) fn floats(&self, location: &TensorLocation) -> Option<Vec<f32>> {
        let numbers = self.bytes(location).as_chunks::<4>().0;
        (location.dtype == Dtype::F32).then(|| numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }
}

/// Checks that a tensor of the file at `path` is a matrix of this shape; a matrix of one row may be a vector.
pub(crate) fn check_shape(
    path: &Path,
    name: &str,
    found: &[usize],
    [rows, columns]: [usize; 2],
) -> Result<(), FolderError> {
    if found == [rows, columns] || (rows == 1 && found == [columns]) {
        return Ok(());
    }
    let expected = if rows == 1 && found.len() == 1 { vec![columns] } else { vec![rows, columns] };
    Err(FolderError::Shape { path: path.into(), name: name.into(), found: found.to_vec(), expected })
}

/// Checks that a tensor of the file at `path` has no element that is infinite or not a number.
pub(crate) fn check_finite(path: &Path, name: &str, bytes: &[u8], stored: StoredType) -> Result<(), FolderError> {
    match first_not_finite(bytes, stored) {
        Some(element) => Err(FolderError::NotFinite { path: path.into(), name: name.into(), element }),
        None => Ok(()),
    }
}

/// Bytes that one thread checks at a time.
const PIECE: usize = 1 << 20;

/// The position of the first element that is infinite or not a number.
///
/// A single such weight spoils every logit that depends on it, and answers silently become empty.
fn first_not_finite(bytes: &[u8], stored: StoredType) -> Option<usize> {
    // A float is not finite if all bits of its exponent are set.
    let in_piece = |piece: &[u8]| match stored {
        StoredType::F32 => {
            let bad = |b: &[u8; 4]| u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000;
            piece.as_chunks::<4>().0.iter().position(bad)
        }
        StoredType::F16 => piece.as_chunks::<2>().0.iter().position(|b| u16::from_le_bytes(*b) & 0x7c00 == 0x7c00),
        StoredType::Bf16 => piece.as_chunks::<2>().0.iter().position(|b| u16::from_le_bytes(*b) & 0x7f80 == 0x7f80),
    };
    bytes.par_chunks(PIECE).enumerate().find_map_first(|(index, piece)| {
        let element = in_piece(piece)?;
        Some(index * PIECE / stored.bytes() + element)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_non_finite_element_is_found_in_every_type() {
        let mut bytes = vec![0_u8; 3 * PIECE];
        for (stored, pattern) in [
            (StoredType::F32, &f32::NAN.to_le_bytes()[..]),
            (StoredType::F32, &f32::NEG_INFINITY.to_le_bytes()[..]),
            (StoredType::F16, &half::f16::INFINITY.to_le_bytes()[..]),
            (StoredType::Bf16, &half::bf16::NAN.to_le_bytes()[..]),
        ] {
            assert_eq!(first_not_finite(&bytes, stored), None);
            for element in [0, 7, (2 * PIECE) / stored.bytes() + 1] {
                let start = element * stored.bytes();
                bytes[start..start + pattern.len()].copy_from_slice(pattern);
                assert_eq!(first_not_finite(&bytes, stored), Some(element));
                bytes[start..start + pattern.len()].fill(0);
            }
        }
        // The largest finite number of each type is accepted.
        assert_eq!(first_not_finite(&f32::MAX.to_le_bytes(), StoredType::F32), None);
        assert_eq!(first_not_finite(&half::f16::MAX.to_le_bytes(), StoredType::F16), None);
        assert_eq!(first_not_finite(&half::bf16::MIN.to_le_bytes(), StoredType::Bf16), None);
    }
}
