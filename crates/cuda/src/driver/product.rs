//! A matrix product as it is asked for: shapes, types and places, all of them row by row.

use super::{Address, DriverError};

/// The type of a matrix's numbers in the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// The upper half of a single-precision number.
    Bf16,
}

impl Element {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The suffix of the kernels that work on this type.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// A matrix in the device's memory, stored row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The place of its first number.
    pub address: Address,
    /// Numbers from the start of a stored row to the start of the next.
    pub stride: usize,
    /// The type of its numbers.
    pub element: Element,
    /// Whether the matrix of the formula is the transposed of the stored one.
    pub transposed: bool,
}

/// `D = alpha A B + C`, or `D = alpha A B` without a C.
///
/// A is `[rows, inner]`, B `[inner, columns]`, C and D `[rows, columns]`, each as the formula sees it: a transposed A is
/// stored as `[inner, rows]`. A and B have one type, C and D have one type; sums are in single precision, with true
/// single-precision products where A and B are `F32`. C may be D itself (then with the same stride), which adds to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Rows of A, C and D, at least 1.
    pub rows: usize,
    /// Columns of B, C and D, at least 1.
    pub columns: usize,
    /// Columns of A and rows of B, at least 1.
    pub inner: usize,
    /// The factor of the product.
    pub alpha: f32,
    /// A.
    pub a: Operand,
    /// B.
    pub b: Operand,
    /// C; none for beta = 0.
    pub c: Option<Operand>,
    /// D.
    pub d: Operand,
}

impl Product {
    /// Whether shapes, strides and types go together.
    ///
    /// # Errors
    /// [`DriverError::Product`] with the first thing that doesn't.
    pub fn check(&self) -> Result<(), DriverError> {
        let fault = |what: &str| Err(DriverError::Product(what.to_owned()));
        if self.rows == 0 || self.columns == 0 || self.inner == 0 {
            return fault("a dimension is 0");
        }
        let wide_enough = |operand: &Operand, rows: usize, columns: usize| {
            operand.stride >= if operand.transposed { rows } else { columns }
        };
        if !wide_enough(&self.a, self.rows, self.inner) || !wide_enough(&self.b, self.inner, self.columns) {
            return fault("the rows of A or B overlap");
        }
        if self.a.element != self.b.element {
            return fault("A and B have different types");
        }
        if self.a.element == Element::F32 && self.d.element != Element::F32 {
            return fault("a single-precision product has to be stored in single precision");
        }
        for output in self.c.iter().chain([&self.d]) {
            if output.transposed {
                return fault("C or D is transposed");
            }
            if output.stride < self.columns {
                return fault("the rows of C or D overlap");
            }
        }
        if let Some(c) = self.c {
            if c.element != self.d.element {
                return fault("C and D have different types");
            }
            if c.address == self.d.address && c.stride != self.d.stride {
                return fault("C is D with another stride");
            }
        }
        Ok(())
    }
}
