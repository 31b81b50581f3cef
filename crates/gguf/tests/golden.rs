//! The same bits as ggml and the Python package `gguf`. `fixtures/generate.py` makes the files.

use std::path::{Path, PathBuf};

use tabpo_gguf::names::RowOrder;
use tabpo_gguf::{Array, FileType, Gguf, Llama3Scaling, TensorDeclaration, TensorType, Value, blocks};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn open(name: &str) -> Gguf {
    Gguf::open(&fixture(name)).expect("the fixture can be read")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn values(model: &Gguf, name: &str) -> Vec<f32> {
    model.tensor(name).expect("the fixture has the tensor").dequantise()
}

#[test]
fn dequantised_values_have_the_bits_of_ggml() {
    let model = open("dequantise.gguf");
    for tensor_type in TensorType::ALL {
        let tensor = model.tensor(tensor_type.name()).expect("the fixture has every type");
        assert_eq!((tensor.tensor_type(), tensor.shape()), (tensor_type, &[2, 256][..]));
        let expected = values(&model, &format!("{tensor_type}.values"));
        assert_eq!(bits(&tensor.dequantise()), bits(&expected), "{tensor_type}");
        let mut row = [0.0; 256];
        tensor.dequantise_rows(1..2, &mut row).expect("there are two rows");
        assert_eq!(bits(&row), bits(&expected[256..]), "{tensor_type}");
    }
}

#[test]
fn quantised_blocks_have_the_bits_of_ggml() {
    let model = open("quantise.gguf");
    let source = values(&model, "values");
    for tensor_type in TensorType::ALL.into_iter().filter(|&tensor_type| tensor_type != TensorType::F32) {
        let expected = model.tensor(tensor_type.name()).expect("the fixture has every type but F32");
        let quantised = blocks::quantise(tensor_type, &source, 256).expect("the values fit");
        let row_bytes = expected.row_bytes();
        for (row, (ours, theirs)) in quantised.chunks(row_bytes).zip(expected.bytes().chunks(row_bytes)).enumerate() {
            assert!(ours == theirs, "{tensor_type}, row {row}");
        }
    }
}

#[test]
fn every_type_of_metadata_is_read() {
    let model = open("dequantise.gguf");
    let expected: [(&str, Value); 17] = [
        ("u8", 200_u8.into()),
        ("i8", (-100_i8).into()),
        ("u16", 60000_u16.into()),
        ("i16", (-30000_i16).into()),
        ("u32", 4000000000_u32.into()),
        ("i32", (-2000000000_i32).into()),
        ("f32", 0.1_f32.into()),
        ("bool", true.into()),
        ("string", "Grüße, 世界".into()),
        ("u64", ((1_u64 << 63) + 1).into()),
        ("i64", (-(1_i64 << 62)).into()),
        ("f64", 0.1_f64.into()),
        ("strings", vec!["a".to_owned(), String::new(), "Ġthe".to_owned()].into()),
        ("integers", vec![1, -2, 3].into()),
        ("floats", vec![0.5_f32, -1.5].into()),
        ("bools", vec![true, false].into()),
        ("bytes", Value::Array(Array::U8(vec![0, 255]))),
    ];
    for (key, value) in expected {
        assert_eq!(model.metadata().get(&format!("test.{key}")), Some(&value), "{key}");
    }
}

#[test]
fn rows_of_heads_are_ordered_as_the_converter_orders_them() {
    let model = open("dequantise.gguf");
    let [hugging_face, gguf] = ["permute.hugging_face", "permute.gguf"]
        .map(|name| model.tensor(name).expect("the fixture has the tensor").bytes().to_vec());
    assert_eq!(RowOrder::ToGguf.reorder(&hugging_face, 24, 3), Ok(gguf.clone()));
    assert_eq!(RowOrder::ToHuggingFace.reorder(&gguf, 24, 3), Ok(hugging_face));
}

#[test]
fn factors_of_llama_3_are_those_of_the_converter() {
    let expected = values(&open("dequantise.gguf"), "llama3_factors");
    let scaling = Llama3Scaling {
        factor: 32.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context_length: 8192,
    };
    let factors = scaling.frequency_factors(500000.0, 64);
    assert_eq!(factors.len(), expected.len());
    for (factor, expected) in factors.iter().zip(expected) {
        assert!((factor - expected).abs() <= 1e-5 * expected, "{factor} {expected}");
    }
}

#[test]
fn q4_k_m_has_the_types_of_a_published_file() {
    let listing = std::fs::read_to_string(fixture("qwen2-0.5b-q4_k_m.tsv")).expect("the fixture can be read");
    let mut expected = Vec::new();
    let mut declared = Vec::new();
    // llama.cpp counted layers in the order of the file then, which is that of their names: 0, 1, 10, 11.
    let mut layers: Vec<&str> = Vec::new();
    for line in listing.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let mut name: Vec<String> = fields[0].split('.').map(str::to_owned).collect();
        if name[0] == "blk" {
            let layer = fields[0].split('.').nth(1).expect("a layer");
            let counted = layers.iter().position(|&known| known == layer).unwrap_or_else(|| {
                layers.push(layer);
                layers.len() - 1
            });
            name[1] = counted.to_string();
        }
        let shape: Vec<usize> = fields[2].split('x').map(|size| size.parse().expect("a number")).collect();
        expected.push(fields[1]);
        declared.push(TensorDeclaration::new(name.join("."), &shape, TensorType::F32));
    }
    FileType::Q4_K_M.assign(&mut declared);
    assert_eq!(declared.len(), 291);
    for (tensor, expected) in declared.iter().zip(expected) {
        assert_eq!(tensor.tensor_type.name(), expected, "{}", tensor.name);
    }
}

#[test]
fn mixed_types_depend_on_layers_and_ties() {
    let declare = |name: &str| TensorDeclaration::new(name, &[512, 256], TensorType::F32);
    let mut tensors = vec![declare("token_embd.weight"), declare("blk.0.attn_norm.weight")];
    for layer in 0..16 {
        tensors.extend(["attn_v", "ffn_down", "ffn_up"].map(|name| declare(&format!("blk.{layer}.{name}.weight"))));
    }
    FileType::Q4_K_M.assign(&mut tensors);
    let chosen = |name: &str| tensors.iter().find(|tensor| tensor.name == name).expect("declared").tensor_type;
    // Tied: the embedding is the output projection, too.
    assert_eq!(chosen("token_embd.weight"), TensorType::Q6_K);
    assert_eq!(chosen("blk.0.attn_norm.weight"), TensorType::F32);
    for layer in 0..16 {
        let more = [0, 1, 4, 7, 10, 13, 14, 15].contains(&layer);
        let expected = if more { TensorType::Q6_K } else { TensorType::Q4_K };
        assert_eq!(chosen(&format!("blk.{layer}.attn_v.weight")), expected, "{layer}");
        assert_eq!(chosen(&format!("blk.{layer}.ffn_down.weight")), expected, "{layer}");
        assert_eq!(chosen(&format!("blk.{layer}.ffn_up.weight")), TensorType::Q4_K);
    }
    tensors.push(declare("output.weight"));
    FileType::Q4_K_M.assign(&mut tensors);
    assert_eq!(tensors[0].tensor_type, TensorType::Q4_K);
    // Rows that no block of 32 divides.
    let mut narrow = vec![TensorDeclaration::new("blk.0.ffn_up.weight", &[8, 40], TensorType::F32)];
    for (file_type, expected) in [
        (FileType::F32, TensorType::F32),
        (FileType::F16, TensorType::F16),
        (FileType::BF16, TensorType::BF16),
        (FileType::Q8_0, TensorType::F16),
        (FileType::Q4_K_M, TensorType::F16),
    ] {
        file_type.assign(&mut narrow);
        assert_eq!(narrow[0].tensor_type, expected, "{}", file_type.name());
    }
}
