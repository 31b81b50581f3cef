//! Quantises models to NF4.

use std::path::Path;

use tabpo_model::{FolderError, ModelFolder, Nf4Matrix, Nf4Options, NotFiniteAt, StoredType, WrittenTensor, save_nf4};

use crate::model::Model;
use crate::real::Real;
use crate::weights::Matrix;

/// A matrix that is read once, so that its pages of a file need not stay in memory.
struct ReadOnce(Matrix<f32>);

impl WrittenTensor for ReadOnce {
    fn copy_row(&self, row: usize, out: &mut [f32]) {
        self.0.copy_row(row, out);
    }
}

impl Drop for ReadOnce {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Quantises the model of a folder or GGUF file matrix by matrix, and writes it as the folder `to`: see [`save_nf4`].
/// `done` is called with the number of tensors that are written, and that of all.
pub fn quantise(
    from: &Path,
    to: &Path,
    options: &Nf4Options,
    mut done: impl FnMut(usize, usize),
) -> Result<(), FolderError> {
    let mut folder = ModelFolder::open(from)?;
    let config = folder.config().clone();
    let (mut taken, all) = (0, config.tensors().len());
    save_nf4(from, to, &config, options, |name, shape| {
        done(taken, all);
        taken += 1;
        folder.take(name, shape).map(|matrix| ReadOnce(Matrix::from_file(matrix)))
    })?;
    folder.finish()?;
    done(all, all);
    Ok(())
}

impl<R: Real> Model<R> {
    /// Quantises the projections of all blocks, as [`quantise`] writes them.
    ///
    /// # Errors
    /// The position of a weight that is infinite or not a number.
    pub fn quantise(&mut self, nested: bool) -> Result<(), NotFiniteAt> {
        for linear in self.layers.iter_mut().flat_map(|layer| &mut layer.projections) {
            let weight = &linear.weight;
            let shape = [weight.rows(), weight.columns()];
            let copy = |row: usize, out: &mut [f32]| {
                let mut values = vec![R::ZERO; out.len()];
                weight.copy_row(row, &mut values);
                for (out, value) in out.iter_mut().zip(values) {
                    *out = value.to_f64() as f32;
                }
            };
            linear.weight = Nf4Matrix::quantise(shape, StoredType::Bf16, nested, copy)?.into();
        }
        Ok(())
    }
}
