//! A GGUF file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tabpo_gguf::{FileType, Gguf, Hyperparameters, Metadata, TensorDeclaration, TokenizerMetadata, names};

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Gguf::from_bytes(bytes.to_vec()) else { return };
    let mut declared = Vec::new();
    for tensor in model.tensors() {
        assert_eq!(model.tensor(tensor.name()).map(|found| found.file_range()), Some(tensor.file_range()));
        assert_eq!(tensor.dequantise().len(), tensor.rows() * tensor.columns());
        if let Some(name) = names::hugging_face(tensor.name()) {
            assert_eq!(names::gguf(&name).as_deref(), Some(tensor.name()));
        }
        declared.push(TensorDeclaration::new(tensor.name(), tensor.shape(), tensor.tensor_type()));
    }
    FileType::Q4_K_M.assign(&mut declared);
    if let Ok(parameters) = Hyperparameters::read(&model) {
        let mut metadata = Metadata::new();
        parameters.write(&mut metadata);
        assert_eq!(metadata.required("general.architecture"), Ok(parameters.architecture.name()));
    }
    if let Ok(tokenizer) = TokenizerMetadata::read(model.metadata()) {
        let mut metadata = Metadata::new();
        tokenizer.write(&mut metadata);
        // NaN is not equal to itself.
        if tokenizer.scores.iter().flatten().all(|score| !score.is_nan()) {
            assert_eq!(TokenizerMetadata::read(&metadata), Ok(tokenizer));
        }
    }
});
