//! Lists the metadata and tensors of a GGUF file. With `--checksums`, each tensor is dequantised and gets
//! a checksum of the bits of its values, which `fixtures/compare.py` compares with Python's `gguf`.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use tabpo_gguf::{Array, Gguf, Hyperparameters, TokenizerMetadata, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (checksums, path) = match &arguments[..] {
        [path] => (false, path),
        [option, path] if option == "--checksums" => (true, path),
        _ => return Err("usage: inspect [--checksums] FILE".into()),
    };
    let model = Gguf::open(Path::new(path))?;
    let mut out = io::stdout().lock();
    writeln!(out, "version {}", model.version())?;
    for (key, value) in model.metadata().iter() {
        writeln!(out, "{key}: {}", shown(value))?;
    }
    match Hyperparameters::read(&model) {
        Ok(model) => writeln!(out, "{model:#?}")?,
        Err(error) => writeln!(out, "no architecture: {error}")?,
    }
    match TokenizerMetadata::read(model.metadata()) {
        Ok(tokenizer) => writeln!(out, "{} tokens, {:?}", tokenizer.tokens.len(), tokenizer.special)?,
        Err(error) => writeln!(out, "no tokenizer: {error}")?,
    }
    for tensor in model.tensors() {
        let start = tensor.file_range().start;
        write!(out, "tensor\t{}\t{}\t{:?}\t{start}", tensor.name(), tensor.tensor_type(), tensor.shape())?;
        if checksums {
            write!(out, "\t{:016x}", checksum(&tensor.dequantise()))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The sum of the bits of all values, each times an odd number of its own.
fn checksum(values: &[f32]) -> u64 {
    let weighted = |(index, value): (usize, &f32)| u64::from(value.to_bits()).wrapping_mul(2 * index as u64 + 1);
    values.iter().enumerate().map(weighted).fold(0, u64::wrapping_add)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
        Value::Array(array) => format!("{} {} values", Array::len(array), array.element_type().name()),
        other => format!("{other:?}"),
    }
}
