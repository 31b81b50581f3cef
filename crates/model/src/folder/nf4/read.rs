//! Reads matrices in NF4.

use super::{GROUPS, LEVELS, MAP, SCALES, STATE, STATE_FP4};
use crate::folder::FolderError;
use crate::folder::tensor_file::{TensorFile, TensorLocation, check_shape};
use crate::nf4::{self, NestedScales, Nf4Matrix, QuantState, SCALES_PER_GROUP, Scales};

/// A tensor of a folder: its file, its name there, and its place.
#[derive(Clone, Copy)]
pub(in crate::folder) struct Part<'a> {
    pub(in crate::folder) file: &'a TensorFile,
    pub(in crate::folder) name: &'a str,
    pub(in crate::folder) location: &'a TensorLocation,
}

impl Part<'_> {
    fn wrong(&self, problem: impl std::fmt::Display) -> FolderError {
        FolderError::other_content(&self.file.path, format!("tensor `{}` {problem}", self.name))
    }

    /// The numbers of a tensor in single precision.
    fn floats(&self, count: usize) -> Result<Vec<f32>, FolderError> {
        let floats = self.file.floats(self.location).filter(|floats| floats.len() == count);
        floats.ok_or_else(|| self.wrong(format!("is {}; {count} numbers in f32 are expected", self.location)))
    }
}

/// Whether the scales of the matrix of this name are quantised, if it is in NF4; `exists` says whether there is a tensor.
pub(in crate::folder) fn is_nested(exists: impl Fn(&str) -> bool, name: &str) -> Option<bool> {
    exists(&format!("{name}{STATE}")).then(|| exists(&format!("{name}{GROUPS}")))
}

/// The matrix of this name and shape, if it is in NF4, and the names of what belongs to it. `part` finds a tensor.
pub(in crate::folder) fn matrix<'a>(
    name: &str,
    [rows, columns]: [usize; 2],
    part: impl Fn(&str) -> Option<Part<'a>>,
) -> Result<Option<(Nf4Matrix, Vec<String>)>, FolderError> {
    let Some(codes) = part(name) else { return Ok(None) };
    let named = |ending: &str| format!("{name}{ending}");
    let Some(state) = part(&named(STATE)) else {
        return match part(&named(STATE_FP4)) {
            Some(state) => Err(state.wrong(
                "says that the weights are in FP4; of bitsandbytes' 4-bit types only NF4 is supported: give the \
                 original, which `tabpo model quantise` makes NF4",
            )),
            None if codes.location.is_bytes() => Err(codes.wrong(format!(
                "is {} without `{}`: neither plain weights nor NF4",
                codes.location,
                named(STATE)
            ))),
            None => Ok(None),
        };
    };
    let needed = |ending: &str| {
        part(&named(ending)).ok_or_else(|| FolderError::MissingTensor {
            path: codes.file.path.clone(),
            name: named(ending),
            nearest: None,
        })
    };
    let mut used = vec![named(STATE), named(SCALES), named(LEVELS)];

    let read = QuantState::read(state.file.bytes(state.location)).map_err(|problem| state.wrong(problem))?;
    check_shape(&codes.file.path, codes.name, &read.shape, [rows, columns])?;
    let (bytes, blocks) = (Nf4Matrix::code_bytes(rows, columns), Nf4Matrix::blocks(rows, columns));
    let piece = codes.file.piece(codes.location);
    if piece.bytes().len() != bytes {
        let problem = format!("is {}; {bytes} bytes for [{rows}, {columns}] weights are expected", codes.location);
        return Err(codes.wrong(problem));
    }
    let levels = needed(LEVELS)?;
    if levels.floats(nf4::LEVELS.len())? != nf4::LEVELS {
        return Err(levels.wrong("has other values than those of NF4"));
    }
    let scales = needed(SCALES)?;
    let stored = match read.offset {
        None => Scales::Plain(scales.floats(blocks)?.into()),
        Some(offset) => {
            used.extend([named(GROUPS), named(MAP)]);
            let codes = scales.file.piece(scales.location);
            if !scales.location.is_bytes() || codes.bytes().len() != blocks {
                let problem = format!("is {}; {blocks} numbers of 8 bits are expected", scales.location);
                return Err(scales.wrong(problem));
            }
            let largest = needed(GROUPS)?.floats(blocks.div_ceil(SCALES_PER_GROUP))?;
            let map: [f32; 256] = needed(MAP)?.floats(256)?.try_into().expect("256 numbers");
            Scales::Nested(NestedScales::new(codes, &map, largest, offset))
        }
    };
    let matrix = Nf4Matrix::new([rows, columns], piece, stored, read.rounding);
    if let Some(element) = matrix.first_not_finite() {
        return Err(FolderError::NotFinite { path: codes.file.path.clone(), name: codes.name.into(), element });
    }
    Ok(Some((matrix, used)))
}
