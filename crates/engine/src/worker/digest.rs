//! Digests of weights.

use crate::model::{Model, TensorRef};
use crate::real::Real;
use crate::worker::Policy;

/// Digest of the model, and of the adapter unless it changes nothing.
pub(super) fn of_policy<R: Real>(policy: &Policy<R>) -> [u8; 32] {
    let model = policy.model();
    let mut hasher = blake3::Hasher::new_derive_key("tabpo policy on a CPU 2");
    hasher.update(&model_digest(model));
    if let Some(adapter) = policy.effective_lora() {
        let shapes = adapter.shapes(&model.config);
        hasher.update(format!("{:?}", adapter.config).as_bytes());
        for ((name, shape), values) in shapes.iter().zip(adapter.parameters()) {
            absorb(&mut hasher, name, shape, &[bytemuck::cast_slice(values)]);
        }
    }
    *hasher.finalize().as_bytes()
}

/// Digest of a model's shape and weights, and of the type it computes in.
fn model_digest<R: Real>(model: &Model<R>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{} {:?}", size_of::<R>(), model.config).as_bytes());
    for (name, tensor) in model.tensors() {
        match tensor {
            TensorRef::Vector(values) => absorb(&mut hasher, &name, &[values.len()], &[bytemuck::cast_slice(values)]),
            TensorRef::Matrix(matrix) => {
                let shape = [matrix.rows(), matrix.columns()];
                // Packed weights compute differently: they are rounded, and so are the other operands.
                let name = matrix.format().map_or_else(|| name.clone(), |format| format!("{name} in {format}"));
                absorb(&mut hasher, &name, &shape, &matrix.parts());
            }
        }
    }
    *hasher.finalize().as_bytes()
}

fn absorb(hasher: &mut blake3::Hasher, name: &str, shape: &[usize], parts: &[&[u8]]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    hasher.update(format!("{name} {shape:?} {bytes}\n").as_bytes());
    for part in parts {
        hasher.update(part);
    }
}
