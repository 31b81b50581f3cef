//! Matrix products as a card computes them: operands are widened, sums are in single precision, the result is rounded
//! once.

use half::bf16;
use tabpo_cuda::driver::{DriverError, Element, Operand, Product};

use crate::machine::Machine;

/// The numbers of a stored matrix, `[rows, columns]` without gaps.
fn read(
    machine: &mut Machine,
    what: &str,
    operand: &Operand,
    rows: usize,
    columns: usize,
) -> Result<Vec<f32>, DriverError> {
    let size = operand.element.bytes();
    let bytes = machine.bytes(what, operand.address.0, ((rows - 1) * operand.stride + columns) * size)?;
    let row = |row: usize| &bytes[row * operand.stride * size..][..columns * size];
    let values = (0..rows).flat_map(|index| row(index).chunks_exact(size));
    Ok(match operand.element {
        Element::F32 => values.map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect(),
        Element::Bf16 => values.map(|x| bf16::from_le_bytes([x[0], x[1]]).to_f32()).collect(),
    })
}

fn write(machine: &mut Machine, operand: &Operand, columns: usize, values: &[f32]) -> Result<(), DriverError> {
    let size = operand.element.bytes();
    for (index, row) in values.chunks_exact(columns).enumerate() {
        let address = operand.address.offset((index * operand.stride * size) as u64);
        let bytes = machine.bytes("writing D of a product", address.0, columns * size)?;
        for (bytes, &value) in bytes.chunks_exact_mut(size).zip(row) {
            match operand.element {
                Element::F32 => bytes.copy_from_slice(&value.to_le_bytes()),
                Element::Bf16 => bytes.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
            }
        }
    }
    Ok(())
}

/// `D = alpha A B + C`
pub(crate) fn compute(machine: &mut Machine, product: &Product) -> Result<(), DriverError> {
    product.check()?;
    let Product { rows, columns, inner, alpha, a, b, c, d } = *product;
    let stored = |operand: &Operand, rows, columns| if operand.transposed { (columns, rows) } else { (rows, columns) };
    let strides = |operand: &Operand, rows: usize, columns: usize| {
        let (down, right) = if operand.transposed { (1, rows) } else { (columns, 1) };
        (down as isize, right as isize)
    };
    let (height, width) = stored(&a, rows, inner);
    let left = read(machine, "reading A of a product", &a, height, width)?;
    let (height, width) = stored(&b, inner, columns);
    let right = read(machine, "reading B of a product", &b, height, width)?;
    let mut sums = vec![0.0_f32; rows * columns];
    let ((a_down, a_right), (b_down, b_right)) = (strides(&a, rows, inner), strides(&b, inner, columns));
    // SAFETY: the three matrices have the shapes that `read` gave them, and `sums` overlaps neither operand.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            sums.as_mut_ptr(),
            1,
            columns as isize,
            false,
            left.as_ptr(),
            a_right,
            a_down,
            right.as_ptr(),
            b_right,
            b_down,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    let addend = match &c {
        Some(c) => read(machine, "reading C of a product", c, rows, columns)?,
        None => vec![0.0; rows * columns],
    };
    for (sum, addend) in sums.iter_mut().zip(addend) {
        *sum = alpha * *sum + addend;
    }
    write(machine, &d, columns, &sums)
}
