//! AdamW over all trained parameters.

use super::{Kernels, Shape, arguments};
use crate::driver::{Address, DriverError};

const THREADS: u32 = 256;
/// Numbers that a block updates.
const NUMBERS_A_BLOCK: u64 = 1024;

/// Where a parameter lies in the arenas, and where products read a copy of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Its first number in the arenas.
    pub start: u64,
    /// Its numbers.
    pub length: u64,
    /// The copy in the kernels' type, row by row, if there is one.
    pub copy: Option<super::Rows>,
    /// Columns of the parameter as a matrix.
    pub columns: u32,
    /// The copy is this times the parameter.
    pub copy_factor: f32,
    /// Whether the parameter decays; norms and biases don't.
    pub decays: bool,
}

/// The table that the kernel reads, 48 bytes a parameter, and the blocks that it is started with.
pub fn parameter_table(parameters: &[Parameter]) -> (Vec<u8>, u32) {
    let (mut table, mut blocks) = (Vec::with_capacity(parameters.len() * 48), 0);
    for parameter in parameters {
        let copy = parameter.copy.map_or(0, |copy| copy.address.0);
        for number in [parameter.start, parameter.length, copy] {
            table.extend(number.to_le_bytes());
        }
        let stride = parameter.copy.map_or(0, |copy| copy.stride);
        let numbers =
            [parameter.columns, stride, parameter.copy_factor.to_bits(), u32::from(parameter.decays), blocks, 0];
        table.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        blocks += parameter.length.div_ceil(NUMBERS_A_BLOCK) as u32;
    }
    (table, blocks)
}

/// The arenas of the trained parameters, all in single precision and in the same order.
#[derive(Clone, Copy, Debug)]
pub struct Arenas {
    /// The parameters.
    pub values: Address,
    /// Their gradient.
    pub gradient: Address,
    /// The first moments.
    pub first: Address,
    /// The second moments.
    pub second: Address,
}

/// One step of AdamW (arXiv 1711.05101).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// The gradient is taken times this: averaging and clipping in one.
    pub factor: f32,
    /// Decay of the first moments.
    pub beta1: f32,
    /// Decay of the second moments.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The learning rate.
    pub rate: f64,
    /// Decay of the parameters a step, times the rate.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

impl AdamW {
    /// Updates everything and writes the copies. `table` and `blocks` are those of [`parameter_table`].
    pub fn step(
        &self,
        kernels: Kernels<'_>,
        (table, count, blocks): (Address, u32, u32),
        arenas: Arenas,
    ) -> Result<(), DriverError> {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(self.step as f64);
        let rate = (self.rate / correction(self.beta1)) as f32;
        let root_correction = (1.0 / correction(self.beta2).sqrt()) as f32;
        let keep = (1.0 - self.rate * self.weight_decay) as f32;
        let arguments = arguments![
            table,
            count,
            arenas.values,
            arenas.gradient,
            arenas.first,
            arenas.second,
            self.factor,
            self.beta1,
            self.beta2,
            self.epsilon,
            rate,
            root_correction,
            keep,
        ];
        kernels.start("adamw", Shape { grid: [blocks, 1, 1], threads: THREADS, shared: 0 }, arguments)
    }
}
