//! Weights in NF4.

use tabpo_model::{NF4_LEVELS, Nf4Matrix, Scales, StoredType};

use super::{Kernels, Rows, Shape, arguments};
use crate::driver::{Address, DriverError};

const THREADS: u32 = 128;
/// Weights that a thread widens.
const AT_ONCE: u32 = 8;

/// A matrix in NF4, `[rows, inputs]` with a multiple of 8 inputs.
#[derive(Clone, Copy, Debug)]
pub struct Nf4 {
    /// The codes: two weights a byte.
    pub codes: Address,
    /// The codes of the scales, a byte each, if the scales are quantised.
    pub scale_codes: Option<Address>,
    /// The scales in single precision, or the largest value of every 256 quantised ones.
    pub scales: Address,
    /// What the 16 codes of weights stand for, and then the 256 codes of scales if there are any, in single precision.
    pub tables: Address,
    /// What is added to quantised scales.
    pub offset: f32,
    /// The type that weights are rounded to before they get the kernels' type.
    pub rounding: StoredType,
    /// Number of rows.
    pub rows: u32,
    /// Number of columns.
    pub inputs: u32,
}

impl Nf4 {
    /// A matrix whose parts `put` copies to the device: codes, the codes of quantised scales, scales, tables.
    ///
    /// # Errors
    /// The first error of `put`.
    pub fn new(
        matrix: &Nf4Matrix,
        mut put: impl FnMut(&[u8]) -> Result<Address, DriverError>,
    ) -> Result<Self, DriverError> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let codes = put(matrix.codes())?;
        let (mut tables, mut offset) = (NF4_LEVELS.to_vec(), 0.0);
        let (scale_codes, scales) = match matrix.scales() {
            Scales::Plain(scales) => (None, put(&bytes(scales))?),
            Scales::Nested(nested) => {
                tables.extend(nested.map());
                offset = nested.offset();
                (Some(put(nested.codes())?), put(&bytes(nested.largest()))?)
            }
        };
        Ok(Self {
            codes,
            scale_codes,
            scales,
            tables: put(&bytes(&tables))?,
            offset,
            rounding: matrix.rounding(),
            rows: matrix.rows() as u32,
            inputs: matrix.columns() as u32,
        })
    }

    /// Widens the matrix to the first columns of `to`, `[rows, inputs + room]` without gaps, and copies `beside`,
    /// `[rows, room]` without gaps, to the others; the room is a multiple of 8.
    pub fn dequantise(
        &self,
        kernels: Kernels<'_>,
        (beside, room): (Address, u32),
        to: Address,
    ) -> Result<Rows, DriverError> {
        let stride = self.inputs + room;
        let columns = stride.div_ceil(THREADS * AT_ONCE);
        let shape = Shape { grid: [self.rows, columns, 1], threads: THREADS, shared: 0 };
        let rounding = match self.rounding {
            StoredType::F32 => 0_u32,
            StoredType::F16 => 1,
            StoredType::Bf16 => 2,
        };
        let arguments = arguments![
            self.codes,
            self.scale_codes,
            self.scales,
            self.tables,
            self.offset,
            rounding,
            self.inputs,
            beside,
            room,
            to,
        ];
        kernels.start("nf4_dequantise", shape, arguments)?;
        Ok(Rows { address: to, stride })
    }
}
