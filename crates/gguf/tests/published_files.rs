//! Whole published models, which are too large to keep here.

use std::env;
use std::fs;
use std::path::PathBuf;

use tabpo_gguf::{Gguf, Hyperparameters, TensorDeclaration, TokenizerMetadata, Writer};

#[test]
#[ignore = "needs GGUF files in the folder that TABPO_GGUF_FOLDER names"]
fn published_files_are_written_again_byte_by_byte() {
    let folder = PathBuf::from(env::var_os("TABPO_GGUF_FOLDER").expect("TABPO_GGUF_FOLDER names a folder"));
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_none_or(|extension| extension != "gguf") {
            continue;
        }
        files += 1;
        let model = Gguf::open(&path).expect("the file can be read");
        Hyperparameters::read(&model).expect("the architecture is known");
        TokenizerMetadata::read(model.metadata()).expect("the tokenizer is known");
        let again = tempfile::tempdir().expect("a temporary folder");
        let again = again.path().join("again.gguf");
        let declared = model
            .tensors()
            .iter()
            .map(|tensor| TensorDeclaration::new(tensor.name(), tensor.shape(), tensor.tensor_type()))
            .collect();
        let mut writer = Writer::create(&again, model.metadata(), declared).expect("what was read can be written");
        for tensor in model.tensors() {
            writer.write(tensor.name(), tensor.bytes()).expect("the next tensor");
        }
        writer.finish().expect("all data were given");
        let same = fs::read(&path).expect("the file exists") == fs::read(&again).expect("the file exists");
        assert!(same, "{}", path.display());
    }
    assert!(files > 0, "no file ends in .gguf");
}
