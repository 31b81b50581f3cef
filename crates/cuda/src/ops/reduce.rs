//! Sums over rows and over everything, changes of type and order.

use super::{Kernels, Rows, Shape, arguments};
use crate::driver::{Address, DriverError, Element};

const THREADS: u32 = 256;
/// Rows of a part, unless there would be too many parts.
const ROWS_PER_PART: u32 = 64;
/// The most parts of a sum.
const MOST_PARTS: u32 = 256;
/// Blocks of the first stage of a sum of squares. A fixed number, so that the order of the sum is fixed.
const SQUARE_BLOCKS: u32 = 1024;

/// How a sum over rows is cut; it depends on the number of rows alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Rows of every part but the last.
    pub rows_per_part: u32,
    /// The number of parts.
    pub count: u32,
}

impl Parts {
    /// The parts of a sum over so many rows.
    pub fn of(rows: u32) -> Self {
        let rows_per_part = ROWS_PER_PART.max(rows.div_ceil(MOST_PARTS));
        Self { rows_per_part, count: rows.div_ceil(rows_per_part) }
    }

    /// Bytes of the parts of a sum of `width` numbers.
    pub fn bytes(self, width: u64) -> u64 {
        u64::from(self.count) * width * 4
    }

    /// The most bytes of the parts of a sum of `width` numbers over up to so many rows.
    pub fn most_bytes(rows: u32, width: u64) -> u64 {
        u64::from(rows.div_ceil(ROWS_PER_PART).min(MOST_PARTS)) * width * 4
    }

    /// Writes the sum of the parts, `[count, width]`, to `target`, or adds it; all in single precision.
    pub fn add_up(
        self,
        kernels: Kernels<'_>,
        parts: Address,
        width: u64,
        add: bool,
        target: Address,
    ) -> Result<(), DriverError> {
        let shape = flat(width);
        kernels.start_exactly("sum_parts", shape, arguments![parts, self.count, width, add, target])
    }
}

/// A thread a number.
fn flat(count: u64) -> Shape {
    Shape { grid: [count.div_ceil(u64::from(THREADS)) as u32, 1, 1], threads: THREADS, shared: 0 }
}

/// Adds the sum of the rows of `dy`, `[rows, width]`, to `gradient`, `[width]` in single precision.
pub fn bias_gradient(
    kernels: Kernels<'_>,
    dy: Rows,
    [rows, width]: [u32; 2],
    parts: Address,
    gradient: Address,
) -> Result<(), DriverError> {
    let of = Parts::of(rows);
    let shape = Shape { grid: [width.div_ceil(THREADS), of.count, 1], threads: THREADS, shared: 0 };
    kernels.start("bias_gradient", shape, arguments![dy.address, dy.stride, rows, width, of.rows_per_part, parts])?;
    of.add_up(kernels, parts, u64::from(width), true, gradient)
}

/// Bytes of the parts of a sum of squares.
pub const fn square_parts_bytes() -> u64 {
    SQUARE_BLOCKS as u64 * 8
}

/// Writes the sum of the squares of `count` numbers in single precision to `sum`, in double precision.
pub fn sum_of_squares(
    kernels: Kernels<'_>,
    x: Address,
    count: u64,
    parts: Address,
    sum: Address,
) -> Result<(), DriverError> {
    let shape = Shape { grid: [SQUARE_BLOCKS, 1, 1], threads: THREADS, shared: THREADS / 32 * 8 };
    kernels.start_exactly("sum_of_squares", shape, arguments![x, count, parts])?;
    kernels.start_exactly("sum_doubles", Shape { grid: [1, 1, 1], ..shape }, arguments![parts, SQUARE_BLOCKS, sum])
}

/// Multiplies `count` numbers in single precision by a factor.
pub fn scale(kernels: Kernels<'_>, x: Address, count: u64, factor: f32) -> Result<(), DriverError> {
    kernels.start_exactly("scale", flat(count), arguments![x, count, factor])
}

/// `to = factor from`, `[rows, columns]`, from one type to the kernels'.
pub fn convert(
    kernels: Kernels<'_>,
    (from, element): (Rows, Element),
    [rows, columns]: [u32; 2],
    factor: f32,
    to: Rows,
) -> Result<(), DriverError> {
    let shape = Shape { grid: [rows, columns.div_ceil(THREADS), 1], threads: THREADS, shared: 0 };
    let arguments = arguments![from.address, from.stride, columns, factor, to.address, to.stride];
    kernels.start(&format!("convert_{}_to", element.suffix()), shape, arguments)
}

/// Writes the transposed of `from`, `[rows, columns]`.
pub fn transpose(kernels: Kernels<'_>, from: Rows, [rows, columns]: [u32; 2], to: Rows) -> Result<(), DriverError> {
    let grid = [columns.div_ceil(32), rows.div_ceil(32), 1];
    let arguments = arguments![from.address, from.stride, rows, columns, to.address, to.stride];
    kernels.start("transpose", Shape { grid, threads: THREADS, shared: 32 * 33 * 4 }, arguments)
}
