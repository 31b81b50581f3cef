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
    /// Stored of B, C and D, at least 1.
    pub columns: usize,
    /// Stored of A and rows of B, at least 1.
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

/// A stored matrix as a library sees it that reads memory column by column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    /// Rows of the stored matrix: the numbers that lie side by side.
    pub(crate) rows: usize,
    /// Stored of the stored matrix.
    pub(crate) columns: usize,
    /// Numbers from the start of a column to the start of the next.
    pub(crate) stride: usize,
    /// Whether the product takes the transposed matrix.
    pub(crate) transposed: bool,
    /// The type of its numbers.
    pub(crate) element: Element,
}

/// A product of matrices that are stored by columns, `D' = alpha first second + C'`.
///
/// What is stored row by row is the transposed matrix when it is read column by column. So the product is computed as
/// `D^T = B^T A^T`: B comes first, and an operand is transposed there exactly if it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ByColumns {
    pub(crate) first: Stored,
    pub(crate) second: Stored,
    pub(crate) addend: Stored,
    pub(crate) result: Stored,
}

impl Product {
    /// The same product for a library that stores matrices by columns.
    pub(crate) fn by_columns(&self) -> ByColumns {
        let turned = |operand: &Operand, rows: usize, columns: usize| {
            let (rows, columns) = if operand.transposed { (columns, rows) } else { (rows, columns) };
            let Operand { stride, transposed, element, .. } = *operand;
            Stored { rows: columns, columns: rows, stride, transposed, element }
        };
        ByColumns {
            first: turned(&self.b, self.inner, self.columns),
            second: turned(&self.a, self.rows, self.inner),
            addend: turned(&self.c.unwrap_or(self.d), self.rows, self.columns),
            result: turned(&self.d, self.rows, self.columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operand(stride: usize, transposed: bool) -> Operand {
        Operand { address: Address(256), stride, element: Element::F32, transposed }
    }

    fn product(rows: usize, columns: usize, inner: usize, turned: [bool; 2], room: usize) -> Product {
        let stride = |transposed, rows, columns| room + if transposed { rows } else { columns };
        Product {
            rows,
            columns,
            inner,
            alpha: 2.0,
            a: operand(stride(turned[0], rows, inner), turned[0]),
            b: operand(stride(turned[1], inner, columns), turned[1]),
            c: Some(Operand { address: Address(512), ..operand(columns + 1, false) }),
            d: operand(columns + room, false),
        }
    }

    /// A number of a matrix that is stored by rows, as the formula sees it.
    fn by_row(memory: &[f64], operand: &Operand, row: usize, column: usize) -> f64 {
        let (row, column) = if operand.transposed { (column, row) } else { (row, column) };
        memory[row * operand.stride + column]
    }

    /// The same for a matrix stored by columns; panics outside of what is stored.
    fn by_column(memory: &[f64], matrix: &Stored, row: usize, column: usize) -> f64 {
        let (row, column) = if matrix.transposed { (column, row) } else { (row, column) };
        assert!(row < matrix.rows && column < matrix.columns && matrix.rows <= matrix.stride);
        memory[column * matrix.stride + row]
    }

    #[test]
    fn a_product_by_columns_is_the_product_by_rows() {
        let memory = |seed: usize| (0..400).map(|at| ((at * 37 + seed) % 101) as f64).collect::<Vec<f64>>();
        let (a, b, c) = (memory(1), memory(2), memory(3));
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            for (rows, columns, inner, room) in [(5, 7, 3, 0), (1, 9, 4, 2), (6, 1, 8, 3)] {
                let product = product(rows, columns, inner, turned, room);
                product.check().expect("it is valid");
                let library = product.by_columns();
                for row in 0..rows {
                    for column in 0..columns {
                        let sum = |of: &dyn Fn(usize) -> f64| (0..inner).map(of).sum::<f64>();
                        let wanted = sum(&|k| by_row(&a, &product.a, row, k) * by_row(&b, &product.b, k, column))
                            + by_row(&c, &product.c.expect("there is one"), row, column);
                        // The library's result has the place of `[row, column]` at its `[column, row]`.
                        let found =
                            sum(&|k| by_column(&b, &library.first, column, k) * by_column(&a, &library.second, k, row))
                                + by_column(&c, &library.addend, column, row);
                        assert_eq!(found, wanted, "{product:?}");
                        assert_eq!(row * product.d.stride + column, row * library.result.stride + column);
                    }
                }
                assert_eq!((library.result.rows, library.result.columns), (columns, rows));
            }
        }
    }

    #[test]
    fn products_that_do_not_go_together_are_refused() {
        let sound = product(4, 5, 6, [false, true], 0);
        sound.check().expect("it is valid");
        let bf16 = Element::Bf16;
        let faults = [
            Product { inner: 0, ..sound },
            Product { a: operand(5, false), ..sound },
            Product { b: operand(5, true), ..sound },
            Product { b: Operand { element: bf16, ..sound.b }, ..sound },
            Product { d: Operand { element: bf16, ..sound.d }, c: None, ..sound },
            Product { d: operand(4, false), ..sound },
            Product { d: operand(5, true), ..sound },
            Product { c: Some(Operand { element: bf16, ..sound.d }), ..sound },
            Product { c: Some(operand(6, false)), d: operand(7, false), ..sound },
        ];
        for fault in faults {
            assert!(matches!(fault.check(), Err(DriverError::Product(_))), "{fault:?}");
        }
    }
}
