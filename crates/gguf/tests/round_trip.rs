//! What is written is read back, and quantised values are close to their originals.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use tabpo_gguf::{Array, Gguf, Metadata, TensorDeclaration, TensorType, Value, WriteError, Writer, blocks};

fn arrays() -> impl Strategy<Value = Array> {
    let flat = prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i8>(), 0..9).prop_map(Array::I8),
        vec(any::<u16>(), 0..9).prop_map(Array::U16),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<u32>(), 0..9).prop_map(Array::U32),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(".*", 0..9).prop_map(Array::String),
        vec(any::<u64>(), 0..9).prop_map(Array::U64),
        vec(any::<i64>(), 0..9).prop_map(Array::I64),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
    ];
    flat.prop_recursive(3, 20, 4, |inner| vec(inner, 0..4).prop_map(Array::Array))
}

fn metadata_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        ".*".prop_map(Value::String),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::F64),
        arrays().prop_map(Value::Array),
    ]
}

/// A type, a shape and the bytes of a tensor.
fn tensors() -> impl Strategy<Value = (TensorType, Vec<usize>, Vec<u8>)> {
    (proptest::sample::select(&TensorType::ALL), vec(1_usize..4, 1..=4)).prop_flat_map(|(tensor_type, mut shape)| {
        *shape.last_mut().expect("at least one dimension") *= tensor_type.block_len();
        let bytes = tensor_type.bytes_of(shape.iter().product()).expect("whole blocks");
        (Just(tensor_type), Just(shape), vec(any::<u8>(), bytes))
    })
}

fn write(path: &Path, metadata: &Metadata, tensors: &[(TensorType, Vec<usize>, Vec<u8>)], piece: usize) {
    let name = |index: usize| format!("tensor.{index}");
    let declared = tensors
        .iter()
        .enumerate()
        .map(|(index, (tensor_type, shape, _))| TensorDeclaration::new(name(index), shape, *tensor_type))
        .collect();
    let mut writer = Writer::create(path, metadata, declared).expect("the folder can be written");
    for (index, (.., bytes)) in tensors.iter().enumerate() {
        for piece in bytes.chunks(piece) {
            writer.write(&name(index), piece).expect("the next piece");
        }
    }
    writer.finish().expect("all data were given");
}

proptest! {
    #[test]
    fn files(
        pairs in vec(("[a-z]{1,8}\\.[a-z]{1,8}", metadata_values()), 0..12),
        tensors in vec(tensors(), 0..6),
        piece in 1_usize..300,
        alignment in proptest::option::of(0_u32..9),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            metadata.insert(key, value);
        }
        if let Some(exponent) = alignment {
            metadata.insert("general.alignment", 1_u32 << exponent);
        }
        write(&path, &metadata, &tensors, piece);
        let bytes = std::fs::read(&path).expect("the file exists");

        let model = Gguf::open(&path).expect("what was written can be read");
        prop_assert_eq!(model.version(), 3);
        prop_assert_eq!(model.tensors().len(), tensors.len());
        for (read, (tensor_type, shape, bytes)) in model.tensors().iter().zip(&tensors) {
            prop_assert_eq!((read.tensor_type(), read.shape()), (*tensor_type, &shape[..]));
            prop_assert_eq!(read.bytes(), &bytes[..]);
            prop_assert_eq!(read.file_range().start % (1 << alignment.unwrap_or(5)), 0);
        }
        // Metadata is compared through what is written of it, because NaN is not equal to itself.
        let again = folder.path().join("again.gguf");
        write(&again, model.metadata(), &tensors, usize::MAX);
        prop_assert_eq!(&std::fs::read(&again).expect("the file exists"), &bytes);

        let mut second = bytes.clone();
        second[4] = 2;
        prop_assert_eq!(Gguf::from_bytes(second).expect("version 2 has the same layout").version(), 2);
    }

    #[test]
    fn quantised_values_are_close(values in vec(-8.0_f32..8.0, 512), scale in -12_i32..8) {
        let values: Vec<f32> = values.iter().map(|value| value * 2.0_f32.powi(scale)).collect();
        for tensor_type in TensorType::ALL {
            let bytes = blocks::quantise(tensor_type, &values, 256).expect("finite values");
            prop_assert_eq!(&blocks::quantise(tensor_type, &values, 256).expect("finite values"), &bytes);
            let mut back = vec![0.0; values.len()];
            blocks::dequantise(tensor_type, &bytes, &mut back).expect("whole blocks");
            let group = tensor_type.block_len();
            for (values, back) in values.chunks(group).zip(back.chunks(group)) {
                let magnitude = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                // Steps of the format over the range from -magnitude to magnitude, and the rounding of
                // scales.
                let tolerance = match tensor_type {
                    TensorType::F32 => 0.0,
                    TensorType::F16 => 1.0 / 2048.0,
                    TensorType::BF16 => 1.0 / 256.0,
                    TensorType::Q8_0 => 0.6 / 127.0,
                    TensorType::Q4_0 => 1.02 / 8.0,
                    TensorType::Q4_1 => 1.1 / 15.0,
                    TensorType::Q5_0 => 1.02 / 16.0,
                    TensorType::Q5_1 => 1.1 / 31.0,
                    TensorType::Q4_K => 0.2,
                    TensorType::Q5_K => 0.1,
                    TensorType::Q6_K => 0.07,
                } * magnitude;
                // Half the smallest step of half precision, which scales have, times the largest integers.
                let smallest = 2.0_f32.powi(-25) * match tensor_type {
                    TensorType::Q6_K => 128.0 * 32.0,
                    TensorType::Q4_K | TensorType::Q5_K => 63.0 * 32.0,
                    TensorType::F32 | TensorType::BF16 => 0.0,
                    _ => 128.0,
                };
                for (value, back) in values.iter().zip(back) {
                    prop_assert!((value - back).abs() <= tolerance + smallest, "{}: {} {}", tensor_type, value, back);
                }
            }
        }
    }
}

#[test]
fn large_tensors_don_t_depend_on_their_division_among_threads() {
    let columns = 512;
    let values: Vec<f32> = (0..columns * 300).map(|index| ((index * 7919) % 1009) as f32 / 504.0 - 1.0).collect();
    for tensor_type in TensorType::ALL {
        let whole = blocks::quantise(tensor_type, &values, columns).expect("finite values");
        let rows: Vec<u8> = values
            .chunks(columns)
            .flat_map(|row| blocks::quantise(tensor_type, row, columns).expect("finite values"))
            .collect();
        assert!(whole == rows, "{tensor_type}");
        let mut at_once = vec![0.0; values.len()];
        blocks::dequantise(tensor_type, &whole, &mut at_once).expect("whole blocks");
        let mut by_row = vec![0.0; values.len()];
        let row_bytes = whole.len() / 300;
        for (bytes, out) in whole.chunks(row_bytes).zip(by_row.chunks_mut(columns)) {
            blocks::dequantise(tensor_type, bytes, out).expect("whole blocks");
        }
        assert!(at_once == by_row, "{tensor_type}");
    }
}

#[test]
fn values_that_do_not_fit_are_refused_with_their_position() {
    let mut values = vec![0.5; 1024];
    values[700] = f32::NAN;
    let refused = blocks::quantise(TensorType::Q8_0, &values, 512).expect_err("NaN has no scale");
    assert_eq!(
        refused.to_string(),
        "Q8_0 cannot represent row 1 from column 160 on: a value is not finite or too large"
    );
    // A format without scales keeps it.
    blocks::quantise(TensorType::BF16, &values, 512).expect("BF16 has NaN");
    values[700] = 1e30;
    for tensor_type in [TensorType::F16, TensorType::Q8_0, TensorType::Q4_1, TensorType::Q4_K, TensorType::Q6_K] {
        blocks::quantise(tensor_type, &values, 512).expect_err("beyond half precision");
    }
    let refused = blocks::quantise(TensorType::Q4_K, &values, 128).expect_err("half a block");
    assert_eq!(
        refused.to_string(),
        "1024 values cannot be stored as Q4_K in rows of 128: a row needs a multiple of 256"
    );
    let refused = blocks::dequantise(TensorType::Q8_0, &[0; 33], &mut [0.0; 32]).expect_err("a byte is missing");
    assert_eq!(refused.to_string(), "33 bytes of Q8_0 do not hold 32 values");
}

#[test]
fn the_writer_refuses_what_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let create = |metadata: &Metadata, tensors: Vec<TensorDeclaration>| {
        Writer::create(&path, metadata, tensors).err().map(|error| error.to_string())
    };
    let declare = |name: &str, shape: &[usize]| TensorDeclaration::new(name, shape, TensorType::Q8_0);
    let none = Metadata::new();
    for (tensors, message) in [
        (vec![declare("a", &[32]), declare("a", &[32])], "tensor \"a\" occurs twice"),
        (vec![declare("", &[32])], "the name of tensor 0 has 0 bytes; allowed are 1 to 63"),
        (vec![declare("a", &[33])], "tensor \"a\" has rows of 33 values; a row of Q8_0 needs a multiple of 32"),
        (vec![declare("a", &[])], "tensor \"a\" has 0 dimensions; allowed are 1 to 4"),
        (
            vec![declare("a", &[0, 32])],
            "tensor \"a\" has the shape [0, 32]; each dimension and their product must be from 1 to 2^63 - 1",
        ),
    ] {
        assert_eq!(create(&none, tensors).as_deref(), Some(message));
    }
    let mut metadata = Metadata::new();
    metadata.insert("general.alignment", 48_u32);
    assert_eq!(
        create(&metadata, Vec::new()).as_deref(),
        Some("general.alignment is 48 (u32); it must be a power of two of type u32, at most 1048576")
    );
    let mut metadata = Metadata::new();
    let nested = (0..4).fold(Array::U8(vec![1]), |inner, _| Array::Array(vec![inner]));
    metadata.insert("deep", nested);
    assert_eq!(create(&metadata, Vec::new()).as_deref(), Some("metadata key \"deep\" nests arrays more than 4 deep"));

    let mut writer = Writer::create(&path, &none, vec![declare("a", &[32]), declare("b", &[32])]).expect("valid");
    let message = |result: Result<(), WriteError>| result.expect_err("invalid").to_string();
    assert_eq!(message(writer.write("b", &[0; 34])), "data for tensor \"b\" given, but \"a\" is next");
    assert_eq!(message(writer.write("a", &[0; 35])), "tensor \"a\" needs 34 more bytes, but 35 were given");
    assert_eq!(
        message(writer.write_values("a", &[f32::INFINITY; 32])),
        "tensor \"a\": Q8_0 cannot represent row 0 from column 0 on: a value is not finite or too large"
    );
    writer.write("a", &[0; 34]).expect("the next tensor");
    assert_eq!(message(writer.finish()), "tensor \"b\" is missing 34 bytes");
    assert!(!path.exists());
}
