//! The type in which products with frozen weights are computed.

use serde::{Deserialize, Serialize};
use tabpo_model::StoredType;

use crate::model::Model;
use crate::ops::bf16;
use crate::weights::Matrix;

/// The type in which products with frozen weights are computed. Trained parameters, their gradients and all
/// other operations are always in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// bf16 if the weights are stored in bf16, so that nothing is lost by rounding them, and the machine has
    /// instructions for it; otherwise single precision.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// bf16, to which weights of other types are rounded; by a portable kernel on machines without instructions for it.
    Bf16,
}

impl Compute {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Compute::Auto => "auto",
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
        }
    }

    /// This machine's instructions for products in bf16: `amx`, `avx512-bf16` or none.
    pub fn bf16_instructions() -> Option<&'static str> {
        bf16::kernel().instructions()
    }
}

impl Model<f32> {
    /// Prepares the matrices for products as frozen weights, and returns the type of these products: either
    /// [`Compute::F32`], or [`Compute::Bf16`] with every matrix rounded and packed, two bytes per element. A
    /// packed model cannot be trained unless [`Model::make_trainable`] is called.
    pub fn freeze(&mut self, compute: Compute) -> Compute {
        let in_bf16 = |matrix: &Matrix<f32>| matches!(matrix.as_stored(), Some((StoredType::Bf16, _)));
        let wanted = match compute {
            Compute::Auto => {
                Compute::bf16_instructions().is_some() && self.matrices_mut().all(|matrix| in_bf16(matrix))
            }
            Compute::F32 => false,
            Compute::Bf16 => true,
        };
        if !wanted {
            return Compute::F32;
        }
        self.matrices_mut().for_each(Matrix::pack);
        Compute::Bf16
    }
}
