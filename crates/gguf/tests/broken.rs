//! Damaged files are refused with what is wrong and where, or read; nothing panics.

use std::path::Path;

use tabpo_gguf::{
    Gguf, Hyperparameters, Metadata, ReadError, Tensor, TensorDeclaration, TensorType, TokenizerMetadata, Writer,
};

/// A file with a tokenizer, hyperparameters and a tensor of every type.
fn valid(folder: &Path) -> Vec<u8> {
    let path = folder.join("valid.gguf");
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "llama");
    for key in ["block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"] {
        metadata.insert(format!("llama.{key}"), 2_u32);
    }
    metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5_f32);
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.tokens", vec!["a".to_owned(), "b".to_owned(), "ab".to_owned()]);
    metadata.insert("tokenizer.ggml.merges", vec!["a b".to_owned()]);
    metadata.insert("tokenizer.ggml.token_type", vec![1, 1, 1]);
    metadata.insert("tokenizer.ggml.eos_token_id", 2_u32);
    metadata.insert("tokenizer.ggml.add_bos_token", false);
    let declared = TensorType::ALL.map(|kind| TensorDeclaration::new(kind.name(), &[kind.block_len()], kind));
    let mut writer = Writer::create(&path, &metadata, declared.to_vec()).expect("the folder can be written");
    for kind in TensorType::ALL {
        writer.write(kind.name(), &vec![0x11; kind.block_bytes()]).expect("the next tensor");
    }
    writer.finish().expect("all data were given");
    std::fs::read(path).expect("the file exists")
}

/// Everything that can be asked of a file. Whether it can be read.
fn use_all(bytes: Vec<u8>) -> bool {
    let Ok(model) = Gguf::from_bytes(bytes) else { return false };
    for tensor in model.tensors() {
        assert_eq!(tensor.dequantise().len(), tensor.rows() * tensor.columns());
    }
    let _ = Hyperparameters::read(&model);
    let _ = TokenizerMetadata::read(model.metadata());
    true
}

#[test]
fn every_prefix_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = valid(folder.path());
    // Padding at the end may be missing.
    let needed = Gguf::from_bytes(bytes.clone()).expect("valid").tensors().last().expect("there are").file_range().end;
    for length in 0..=bytes.len() {
        assert_eq!(use_all(bytes[..length].to_vec()), length >= needed, "{length}");
    }
}

#[test]
fn every_changed_byte_is_read_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = valid(folder.path());
    let head = Gguf::from_bytes(bytes.clone()).expect("valid").tensors()[0].file_range().start;
    let mut refused = 0;
    for position in 0..head {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut bytes = bytes.clone();
            bytes[position] ^= change;
            refused += usize::from(!use_all(bytes));
        }
    }
    // Most bytes of text and many numbers can be others; counts, lengths and offsets cannot.
    assert!(refused > head, "{refused} of {}", 9 * head);
}

/// A file built from its parts.
#[derive(Default)]
struct Raw {
    pairs: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: usize,
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn pair(key: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key), &kind.to_le_bytes()[..], value].concat()
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name.as_bytes());
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    bytes.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

impl Raw {
    fn pair(key: &[u8], kind: u32, value: &[u8]) -> Self {
        Self { pairs: vec![pair(key, kind, value)], ..Self::default() }
    }

    fn tensors(tensors: Vec<Vec<u8>>) -> Self {
        Self { tensors, data: 64, ..Self::default() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [b"GGUF", &3_u32.to_le_bytes()[..]].concat();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.pairs.len() as u64).to_le_bytes());
        bytes.extend(self.pairs.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }

    fn message(&self) -> String {
        Gguf::from_bytes(self.bytes()).expect_err("broken").to_string()
    }
}

#[test]
fn errors_name_the_place_the_problem_and_what_would_be_right() {
    let header = |bytes: &[u8]| Gguf::from_bytes(bytes.to_vec()).expect_err("broken").to_string();
    assert_eq!(header(b""), "at byte 0: not a GGUF file: it starts with \"\" instead of \"GGUF\"");
    assert_eq!(
        header(b"version https://git-lfs"),
        "at byte 0: not a GGUF file: it starts with \"vers\" instead of \"GGUF\""
    );
    assert_eq!(
        header(b"GGUF\x03\0\0"),
        "at byte 4: the file ends within the header: 4 more bytes are needed, but only 3 are left"
    );
    assert_eq!(header(b"GGUF\x01\0\0\0"), "at byte 4: GGUF version 1 is not supported; versions 2 and 3 are");
    assert_eq!(header(b"GGUF\0\0\0\x03"), "at byte 4: the file is big-endian; only little-endian files are supported");
    let counts = |tensors: u64, pairs: u64| {
        header(&[b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &pairs.to_le_bytes()[..], &[0; 64]].concat())
    };
    assert_eq!(
        counts(0, u64::MAX),
        "at byte 24: the header declares 18446744073709551615 entries, but the rest of the file can hold at most 4"
    );
    assert_eq!(counts(3, 0), "at byte 24: the header declares 3 entries, but the rest of the file can hold at most 1");

    for (raw, message) in [
        (Raw::pair(b"", 0, &[1]), "at byte 24: metadata key 0 has 0 bytes; allowed are 1 to 65535"),
        (Raw::pair(b"a\xff", 0, &[1]), "at byte 33: metadata key 0 is not valid UTF-8"),
        (Raw::pair(b"a", 13, &[1]), "at byte 33: metadata key \"a\" has a value of type 13; known are 0 to 12"),
        (Raw::pair(b"a", 7, &[2]), "at byte 37: metadata key \"a\" has a Boolean stored as 2; only 0 and 1 are valid"),
        (
            Raw::pair(b"a", 8, &[255; 8]),
            "at byte 45: the file ends within the value of metadata key \"a\": 18446744073709551615 more bytes \
             are needed, but only 19 are left",
        ),
        (
            Raw::pair(b"a", 9, &[[5, 0, 0, 0].as_slice(), &(1_u64 << 62).to_le_bytes()].concat()),
            "at byte 49: the value of metadata key \"a\" declares 4611686018427387904 entries, but the rest of the \
             file can hold at most 3",
        ),
        (
            Raw::pair(b"a", 9, &[[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]; 5].concat()),
            "at byte 85: metadata key \"a\" nests arrays more than 4 deep",
        ),
        (
            Raw { pairs: vec![pair(b"a", 0, &[1]), pair(b"a", 1, &[2])], ..Raw::default() },
            "at byte 38: metadata key \"a\" occurs twice",
        ),
        (
            Raw::pair(b"general.alignment", 4, &[12, 0, 0, 0]),
            "at byte 24: general.alignment is 12 (u32); it must be a power of two of type u32, at most 1048576",
        ),
        (
            Raw::tensors(vec![tensor(&"n".repeat(64), &[1], 0, 0)]),
            "at byte 24: the name of tensor 0 has 64 bytes; allowed are 1 to 63",
        ),
        (
            Raw::tensors(vec![tensor("a", &[1], 0, 0), tensor("a", &[1], 0, 32)]),
            "at byte 57: tensor \"a\" occurs twice",
        ),
        (
            Raw::tensors(vec![tensor("a", &[1, 1, 1, 1, 1], 0, 0)]),
            "at byte 33: tensor \"a\" has 5 dimensions; allowed are 1 to 4",
        ),
        (
            Raw::tensors(vec![tensor("a", &[1 << 32, 1 << 32], 0, 0)]),
            "at byte 33: tensor \"a\" has the shape [4294967296, 4294967296]; each dimension and their product must \
             be from 1 to 2^63 - 1",
        ),
        (
            Raw::tensors(vec![tensor("a", &[1, 0], 0, 0)]),
            "at byte 33: tensor \"a\" has the shape [0, 1]; each dimension and their product must be from 1 to \
             2^63 - 1",
        ),
        (Raw::tensors(vec![tensor("a", &[1], 5, 0)]), "at byte 45: tensor \"a\" has type 5, which ggml doesn't define"),
        (
            Raw::tensors(vec![tensor("a", &[256], 23, 0)]),
            "at byte 45: tensor \"a\" has type IQ4_XS, which is not supported",
        ),
        (
            Raw::tensors(vec![tensor("a", &[100], 12, 0)]),
            "at byte 33: tensor \"a\" has rows of 100 values; a row of Q4_K needs a multiple of 256",
        ),
        (
            Raw::tensors(vec![tensor("a", &[1], 0, 8)]),
            "at byte 49: tensor \"a\" has the data offset 8, which is not a multiple of the alignment 32",
        ),
        (
            Raw::tensors(vec![tensor("a", &[4], 0, 64)]),
            "at byte 49: tensor \"a\" occupies 16 bytes from byte 128 on, but the file has only 128 bytes",
        ),
        (
            Raw::tensors(vec![tensor("a", &[4], 0, u64::MAX - 31)]),
            "at byte 49: tensor \"a\" occupies 16 bytes from byte 18446744073709551615 on, but the file has only 128 bytes",
        ),
        (
            Raw::tensors(vec![tensor("a", &[16], 0, 0), tensor("b", &[2], 0, 32)]),
            "at byte 82: tensors \"a\" and \"b\" overlap",
        ),
    ] {
        assert_eq!(raw.message(), message);
    }
}

#[test]
fn metadata_larger_than_any_model_s_is_refused_unread() {
    let length = 130_u64 << 20;
    let mut bytes = Raw::pair(b"a", 8, &length.to_le_bytes()).bytes();
    bytes.resize(bytes.len() + length as usize, b' ');
    let problem = Gguf::from_bytes(bytes).expect_err("too large").to_string();
    assert_eq!(problem, "at byte 45: metadata and tensor descriptions take more than 134217728 bytes");
}

#[test]
fn files_that_cannot_be_opened_say_which() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("missing.gguf");
    let error = Gguf::open(&path).expect_err("missing");
    assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
    assert!(error.hint().is_some());
    std::fs::write(&path, b"").expect("the folder can be written");
    let error = Gguf::open(&path).expect_err("empty");
    assert!(error.to_string().starts_with(&format!("{}: at byte 0: not a GGUF file", path.display())), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("download")));
}

/// Writes three parts with two tensors each.
fn write_parts(folder: &Path, name: impl Fn(usize) -> String, change: impl Fn(usize, &mut Metadata)) {
    for part in 0..3 {
        let mut metadata = Metadata::new();
        metadata.insert("split.no", part as u16);
        metadata.insert("split.count", 3_u16);
        metadata.insert("split.tensors.count", 6_i32);
        metadata.insert("part", part as u32);
        change(part, &mut metadata);
        let names = [format!("a.{part}"), format!("b.{part}")];
        let declared = names.each_ref().map(|name| TensorDeclaration::new(name, &[2], TensorType::F32));
        let mut writer = Writer::create(&folder.join(name(part)), &metadata, declared.to_vec()).expect("valid");
        for name in names {
            writer.write_values(&name, &[part as f32, 0.5]).expect("the next tensor");
        }
        writer.finish().expect("complete");
    }
}

fn part_name(part: usize) -> String {
    format!("model-{:05}-of-00003.gguf", part + 1)
}

#[test]
fn split_models_are_opened_by_any_part() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_parts(folder.path(), part_name, |_, _| {});
    for part in 0..3 {
        let model = Gguf::open(&folder.path().join(part_name(part))).expect("all parts are there");
        let names: Vec<&str> = model.tensors().iter().map(Tensor::name).collect();
        assert_eq!(names, ["a.0", "b.0", "a.1", "b.1", "a.2", "b.2"]);
        assert_eq!(model.tensor("a.2").map(Tensor::dequantise), Some(vec![2.0, 0.5]));
        assert_eq!(model.metadata().required::<u32>("part"), Ok(0));
        assert_eq!(model.files(), [0, 1, 2].map(|part| folder.path().join(part_name(part))));
    }
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let open = |name: &dyn Fn(usize) -> String, change: &dyn Fn(usize, &mut Metadata)| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_parts(folder.path(), name, change);
        let error = Gguf::open(&folder.path().join(name(0))).expect_err("broken");
        let hint = error.hint();
        (error.to_string().replace(&format!("{}/", folder.path().display()), ""), hint)
    };
    let renamed = |part: usize| format!("part{part}.gguf");
    let (message, hint) = open(&renamed, &|_, _| {});
    assert_eq!(
        message,
        "part0.gguf: the file is one of 3 parts of a model, but its name does not end in \"-NNNNN-of-00003.gguf\""
    );
    assert!(hint.is_some());
    let change = |part: usize, metadata: &mut Metadata| {
        if part == 2 {
            metadata.insert("split.no", 1_u16);
        }
    };
    let (message, _) = open(&part_name, &change);
    assert_eq!(message, "model-00003-of-00003.gguf: split.no is 1, expected 2");
    let (message, _) = open(&part_name, &|_, metadata| metadata.insert("split.tensors.count", 7_i32));
    assert_eq!(message, "model-00001-of-00003.gguf: split.tensors.count is 7, expected 6");

    let folder = tempfile::tempdir().expect("a temporary folder");
    write_parts(folder.path(), part_name, |_, _| {});
    std::fs::copy(folder.path().join(part_name(1)), folder.path().join(part_name(2)))
        .expect("the folder can be written");
    assert!(matches!(Gguf::open(&folder.path().join(part_name(0))), Err(ReadError::Split { .. })));
    std::fs::remove_file(folder.path().join(part_name(1))).expect("the part exists");
    let error = Gguf::open(&folder.path().join(part_name(0))).expect_err("a part is missing");
    assert!(error.to_string().ends_with(&part_name(1)), "{error}");
}
