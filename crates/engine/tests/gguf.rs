//! Models from GGUF files compute what the same models from folders compute.

mod common;

use std::path::Path;

use common::{FAMILIES, all_logits, expected, fixture};
use tabpo_engine::{HostWorker, Model, TensorRef, Worker};
use tabpo_gguf::names::{self, RowOrder};
use tabpo_gguf::{Architecture, Hyperparameters, Metadata, RopeScaling, TensorDeclaration, TensorType, Writer};
use tabpo_model::{Architecture as Family, ModelConfig};

/// The hyperparameters of a fixture, whose rotary embeddings are not scaled.
fn hyperparameters(config: &ModelConfig) -> Hyperparameters {
    let count = |value: usize| u32::try_from(value).expect("a small model");
    Hyperparameters {
        architecture: match config.architecture {
            // Older Mistral models are converted as Llama, which has no window.
            Family::Llama | Family::Mistral => Architecture::Llama,
            Family::Qwen2 => Architecture::Qwen2,
            Family::Qwen3 => Architecture::Qwen3,
        },
        block_count: count(config.layers),
        context_length: count(config.max_positions),
        embedding_length: count(config.hidden),
        feed_forward_length: count(config.intermediate),
        head_count: count(config.heads),
        head_count_kv: count(config.kv_heads),
        head_length: count(config.head_dim),
        vocabulary_size: count(config.vocabulary),
        rms_epsilon: config.rms_epsilon as f32,
        rope_base: config.rope_theta as f32,
        rope_dimension_count: count(config.head_dim),
        rope_scaling: RopeScaling::None,
        sliding_window: None,
        tied_embeddings: config.tied_head,
    }
}

/// Writes the weights of a model as a GGUF file of this type, or in f16 where its blocks do not fit; vectors
/// are in f32.
fn convert(model: &Model<f32>, kind: TensorType, path: &Path) {
    let config = &model.config;
    let hyperparameters = hyperparameters(config);
    let mut metadata = Metadata::new();
    hyperparameters.write(&mut metadata);
    let converted: Vec<_> = model
        .tensors()
        .into_iter()
        .zip(config.tensors())
        .map(|((name, tensor), (_, shape))| {
            let values = match tensor {
                TensorRef::Vector(values) => values.to_vec(),
                TensorRef::Matrix(matrix) => matrix.clone().make_owned().to_vec(),
            };
            let name = names::gguf(&name).expect("a name in GGUF");
            let values = match names::heads_to_reorder(&name, &hyperparameters) {
                None => values,
                Some(heads) => {
                    let width = values.len() / shape[0];
                    let head_length = shape[0] / heads as usize;
                    let row = |row| RowOrder::ToGguf.source(row, head_length);
                    (0..shape[0]).flat_map(|to| values[row(to) * width..][..width].to_vec()).collect()
                }
            };
            let kind = match shape[..] {
                [_] => TensorType::F32,
                [_, columns] if columns % kind.block_len() == 0 => kind,
                _ => TensorType::F16,
            };
            (TensorDeclaration::new(name, &shape, kind), values)
        })
        .collect();
    let declared = converted.iter().map(|(declaration, _)| declaration.clone()).collect();
    let mut writer = Writer::create(path, &metadata, declared).expect("a file");
    for (declaration, values) in &converted {
        writer.write_values(&declaration.name, values).expect("values");
    }
    writer.finish().expect("a whole file");
}

/// The shape without what the files leave out: a window, and rotary scaling.
fn plain(config: &ModelConfig) -> ModelConfig {
    ModelConfig { sliding_window: Vec::new(), rope_scaling: tabpo_model::RopeScaling::None, ..config.clone() }
}

#[test]
fn a_model_in_f32_gives_the_same_logits_to_the_bit() {
    let place = tempfile::tempdir().expect("a folder");
    for family in FAMILIES {
        let folder = fixture(family);
        let mut model = Model::<f32>::open(&folder).expect("a model");
        let path = place.path().join(format!("{family}.gguf"));
        convert(&model, TensorType::F32, &path);
        let from_file = Model::<f32>::open(&path).expect("a GGUF file");
        model.config = plain(&model.config);
        let record = expected(&folder);
        assert_eq!(
            all_logits(&from_file, None, &record.input_ids),
            all_logits(&model, None, &record.input_ids),
            "{family}"
        );
        assert_eq!(from_file.config.rope_theta, model.config.rope_theta);
        assert_eq!(from_file.config.rms_epsilon, model.config.rms_epsilon);
        assert_eq!(from_file.config.tied_head, model.config.tied_head);
    }
}

#[test]
fn quantised_weights_stay_quantised_and_compute_as_their_values() {
    let place = tempfile::tempdir().expect("a folder");
    for family in FAMILIES {
        let folder = fixture(family);
        let path = place.path().join(format!("{family}.gguf"));
        convert(&Model::open(&folder).expect("a model"), TensorType::Q8_0, &path);
        let quantised = Model::<f32>::open(&path).expect("a GGUF file");
        let mut widened = quantised.clone();
        widened.make_trainable();
        assert!(quantised.bytes() * 3 < widened.bytes() * 2, "{} and {} bytes", quantised.bytes(), widened.bytes());
        let record = expected(&folder);
        assert_eq!(
            all_logits(&quantised, None, &record.input_ids),
            all_logits(&widened, None, &record.input_ids),
            "{family}"
        );
        // Their identity covers the format.
        let identity = |model: &Model<f32>| HostWorker::frozen(model.clone(), None).identity();
        assert_ne!(identity(&quantised), identity(&widened));
        assert_eq!(identity(&quantised), identity(&Model::open(&path).expect("the same file")));
    }
}
