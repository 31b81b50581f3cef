//! Products with matrices of weights.

use super::{Kernels, Rows};
use crate::driver::{DriverError, Element, Operand, Product};

/// A matrix of weights in the kernels' type, `[outputs, inputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The numbers.
    pub weight: Rows,
    /// Rows of the matrix.
    pub outputs: u32,
    /// Columns that are used.
    pub inputs: u32,
}

impl Rows {
    /// The matrix as an operand of products.
    fn operand(self, element: Element, transposed: bool) -> Operand {
        Operand { address: self.address, stride: self.stride as usize, element, transposed }
    }

    /// The matrix from one of its columns on; its numbers have this type.
    #[must_use]
    pub fn from_column(self, element: Element, column: usize) -> Self {
        Self { address: self.address.offset((column * element.bytes()) as u64), ..self }
    }
}

impl Linear {
    /// The matrix without its first columns.
    #[must_use]
    pub fn from_input(self, kernels: Kernels<'_>, first: u32) -> Self {
        let weight = self.weight.from_column(kernels.element, first as usize);
        Self { weight, inputs: self.inputs - first, ..self }
    }

    /// `y = x W^T`, plus `residual` if there is one, for `rows` rows of x, `[rows, inputs]`.
    pub fn forward(
        &self,
        kernels: Kernels<'_>,
        x: Rows,
        rows: u32,
        residual: Option<Rows>,
        y: Rows,
    ) -> Result<(), DriverError> {
        self.forward_to(kernels, x, rows, residual, (y, kernels.element))
    }

    /// `y = x W^T` in single precision.
    pub fn logits(&self, kernels: Kernels<'_>, x: Rows, rows: u32, y: Rows) -> Result<(), DriverError> {
        self.forward_to(kernels, x, rows, None, (y, Element::F32))
    }

    fn forward_to(
        &self,
        kernels: Kernels<'_>,
        x: Rows,
        rows: u32,
        residual: Option<Rows>,
        (y, element): (Rows, Element),
    ) -> Result<(), DriverError> {
        if rows == 0 {
            return Ok(());
        }
        kernels.driver.product(&Product {
            rows: rows as usize,
            columns: self.outputs as usize,
            inner: self.inputs as usize,
            alpha: 1.0,
            a: x.operand(kernels.element, false),
            b: self.weight.operand(kernels.element, true),
            c: residual.map(|residual| residual.operand(element, false)),
            d: y.operand(element, false),
        })
    }

    /// `dx = dy W`, or adds it, for `rows` rows of dy, `[rows, outputs]`.
    pub fn input_gradient(
        &self,
        kernels: Kernels<'_>,
        dy: Rows,
        rows: u32,
        add: bool,
        dx: Rows,
    ) -> Result<(), DriverError> {
        if rows == 0 {
            return Ok(());
        }
        let dx = dx.operand(kernels.element, false);
        kernels.driver.product(&Product {
            rows: rows as usize,
            columns: self.inputs as usize,
            inner: self.outputs as usize,
            alpha: 1.0,
            a: dy.operand(kernels.element, false),
            b: self.weight.operand(kernels.element, false),
            c: add.then_some(dx),
            d: dx,
        })
    }
}

/// Adds `factor dy^T x` to the gradient of a matrix `[outputs, inputs]`, in single precision.
pub fn weight_gradient(
    kernels: Kernels<'_>,
    (dy, outputs): (Rows, u32),
    (x, inputs): (Rows, u32),
    rows: u32,
    factor: f32,
    gradient: Rows,
) -> Result<(), DriverError> {
    if rows == 0 {
        return Ok(());
    }
    let gradient = gradient.operand(Element::F32, false);
    kernels.driver.product(&Product {
        rows: outputs as usize,
        columns: inputs as usize,
        inner: rows as usize,
        alpha: factor,
        a: dy.operand(kernels.element, true),
        b: x.operand(kernels.element, false),
        c: Some(gradient),
        d: gradient,
    })
}
