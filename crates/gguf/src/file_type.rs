//! Which number format each tensor of a model gets.

use crate::metadata::Metadata;
use crate::names::layer_of;
use crate::tensor_type::TensorType;
use crate::writer::TensorDeclaration;

const OUTPUT: &str = "output.weight";
const EMBEDDING: &str = "token_embd.weight";
const VALUE: &str = "attn_v.weight";
const DOWN: &str = "ffn_down.weight";
/// The version of ggml's block formats.
const QUANTISATION_VERSION: u32 = 2;

/// The number formats of a whole model, under llama.cpp's names.
///
/// Vectors and normalisations are always [`TensorType::F32`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the names that llama.cpp and all its users know")]
pub enum FileType {
    /// All matrices in [`TensorType::F32`].
    F32,
    /// All matrices in [`TensorType::F16`].
    F16,
    /// All matrices in [`TensorType::BF16`].
    BF16,
    /// All matrices in [`TensorType::Q8_0`].
    Q8_0,
    /// Matrices in [`TensorType::Q4_K`]; the output projection and, in half of the layers, the value and
    /// the down projection in [`TensorType::Q6_K`].
    Q4_K_M,
}

impl FileType {
    /// All file types.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_K_M];

    /// llama.cpp's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K_M => "Q4_K_M",
        }
    }

    /// Adds the keys that state the file type.
    pub fn write(self, metadata: &mut Metadata) {
        let code: u32 = match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4_K_M => 15,
            Self::BF16 => 32,
        };
        metadata.insert("general.file_type", code);
        metadata.insert("general.quantization_version", QUANTISATION_VERSION);
    }

    /// Sets the number format of each tensor of a model as llama.cpp's `llama_tensor_get_type` does for
    /// dense models without an importance matrix. `tensors` must be all tensors of the model, because the
    /// choice depends on the number of layers and on whether there is an output projection.
    pub fn assign(self, tensors: &mut [TensorDeclaration]) {
        let model = Model::of(tensors);
        for tensor in tensors {
            tensor.tensor_type = self.choose(&tensor.name, &tensor.shape, &model);
        }
    }

    fn choose(self, name: &str, shape: &[usize], model: &Model) -> TensorType {
        let &[.., _, columns] = shape else { return TensorType::F32 };
        let keeps = !name.ends_with("weight") || name.ends_with("_norm.weight");
        let wanted = match self {
            _ if keeps => TensorType::F32,
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_K_M => model.q4_k_m(name, columns),
        };
        fallback(wanted, columns)
    }
}

/// The type itself, or another one if rows aren't whole blocks of it.
fn fallback(wanted: TensorType, columns: usize) -> TensorType {
    let fits = |tensor_type: TensorType| columns.is_multiple_of(tensor_type.block_len());
    let smaller_blocks = match wanted {
        TensorType::Q4_K => TensorType::Q5_0,
        TensorType::Q6_K => TensorType::Q8_0,
        other => other,
    };
    [wanted, smaller_blocks].into_iter().find(|&tensor_type| fits(tensor_type)).unwrap_or(TensorType::F16)
}

/// What the rule for mixed formats depends on.
struct Model {
    layers: u32,
    tied: bool,
    /// Whether it is one of the models with 70 billion parameters, in which many query heads share values.
    shares_values_widely: bool,
}

impl Model {
    fn of(tensors: &[TensorDeclaration]) -> Self {
        let rows = |suffix: &str| {
            tensors.iter().find(|tensor| tensor.name.ends_with(suffix)).and_then(|tensor| tensor.shape.first())
        };
        let layers = tensors.iter().filter(|tensor| tensor.name.ends_with(VALUE)).count() as u32;
        Self {
            layers,
            tied: tensors.iter().all(|tensor| tensor.name != OUTPUT),
            shares_values_widely: layers == 80 && rows(VALUE) != rows("attn_q.weight"),
        }
    }

    fn q4_k_m(&self, name: &str, columns: usize) -> TensorType {
        if name == OUTPUT || (self.tied && name == EMBEDDING) {
            let whole_blocks = columns.is_multiple_of(TensorType::Q4_K.block_len());
            return if whole_blocks { TensorType::Q6_K } else { TensorType::Q8_0 };
        }
        let is_value = name.ends_with(VALUE);
        let gets_more = layer_of(name).is_some_and(|layer| self.gets_more_bits(layer));
        if gets_more && (is_value || name.ends_with(DOWN)) {
            TensorType::Q6_K
        } else if is_value && self.shares_values_widely {
            TensorType::Q5_K
        } else {
            TensorType::Q4_K
        }
    }

    /// The first and the last eighth of layers, and every third between them.
    fn gets_more_bits(&self, layer: u32) -> bool {
        let eighth = self.layers / 8;
        layer < eighth || layer >= 7 * self.layers / 8 || (layer - eighth) % 3 == 2
    }
}
