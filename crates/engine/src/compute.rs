//! In which type products with frozen weights are computed.

use serde::{Deserialize, Serialize};
use tabpo_model::StoredType;

use crate::model::Model;
use crate::ops::bf16;
use crate::weights::Matrix;

/// How products with weights that do not change are computed. Parameters that are trained, their gradients
/// and everything that is no product with weights are in single precision in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// In bf16 where the weights are stored in bf16, so that rounding them loses nothing, and the machine
    /// has instructions for it; otherwise in single precision.
    #[default]
    Auto,
    /// In single precision.
    F32,
    /// In bf16, which rounds weights of other types; slowly where the machine has no instructions for it.
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

    /// What this machine has for products in bf16: `amx`, `avx512-bf16` or nothing.
    pub fn bf16_instructions() -> Option<&'static str> {
        bf16::kernel().instructions()
    }
}

impl Model<f32> {
    /// Makes the matrices ready for products in which they do not change, and says how these are computed:
    /// [`Compute::F32`] or [`Compute::Bf16`], the latter with every matrix rounded and packed, two bytes an
    /// element. A model that is packed takes no gradient; see [`Model::make_trainable`].
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
