//! Transposes matrices.

use super::simd;
use crate::real::Real;
use crate::view::{View, ViewMut};

/// Rows and columns of a tile, which fits into registers.
const TILE: usize = 16;

/// `target = source^T`. The rows of `source` are contiguous.
///
/// # Panics
/// If the shapes do not agree.
pub(crate) fn transpose<R: Real>(source: View<'_, R>, mut target: ViewMut<'_, R>) {
    assert!(source.height() == target.width() && source.width() == target.height());
    for top in (0..source.height()).step_by(TILE) {
        let rows = TILE.min(source.height() - top);
        for left in (0..source.width()).step_by(TILE) {
            let columns = TILE.min(source.width() - left);
            let mut tile = [[R::ZERO; TILE]; TILE];
            for (offset, tile) in tile.iter_mut().enumerate().take(rows) {
                tile[..columns].copy_from_slice(&source.row(top + offset)[left..left + columns]);
            }
            let transposed = simd(
                #[inline(always)]
                || {
                    let mut transposed = [[R::ZERO; TILE]; TILE];
                    for (row, tile) in tile.iter().enumerate() {
                        for (transposed, &value) in transposed.iter_mut().zip(tile) {
                            transposed[row] = value;
                        }
                    }
                    transposed
                },
            );
            for (offset, column) in transposed.iter().enumerate().take(columns) {
                target.row_mut(left + offset)[top..top + rows].copy_from_slice(&column[..rows]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_found_at_its_mirrored_place() {
        for (rows, columns) in [(1, 1), (16, 16), (17, 5), (33, 40)] {
            let source: Vec<f32> = (0..rows * columns).map(|index| index as f32).collect();
            let mut target = vec![0.0; rows * columns];
            transpose(View::new(&source, rows, columns), ViewMut::new(&mut target, columns, rows));
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(target[column * rows + row], source[row * columns + column]);
                }
            }
        }
    }
}
