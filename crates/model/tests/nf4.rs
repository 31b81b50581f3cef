//! NF4 has the bits of bitsandbytes, which `fixtures/make_nf4.py` recorded.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tabpo_model::{NF4_LEVELS, NestedScales, Nf4Matrix, NotFiniteAt, Scales, StoredType, WEIGHTS_PER_SCALE};

const NAMES: [&str; 6] = ["trained", "outliers", "uneven", "uneven_nested", "edges", "equal_scales"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nf4.safetensors")
}

/// A matrix before, in and after quantisation by bitsandbytes.
struct Golden {
    shape: [usize; 2],
    stored: StoredType,
    source: Vec<f32>,
    values: Vec<f32>,
    codes: Vec<u8>,
    scales: Vec<u8>,
    /// Offset, largest values and map, if the scales are quantised.
    nested: Option<(f32, Vec<f32>, Vec<f32>)>,
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b));
    match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        other => panic!("{other:?} has no place in the fixture"),
    }
}

fn golden(name: &str) -> Golden {
    let file = std::fs::read(fixture()).expect("the fixture can be read");
    let tensors = SafeTensors::deserialize(&file).expect("the fixture is a safetensors file");
    let find = |part: &str| tensors.tensor(&format!("{name}.{part}")).ok();
    let tensor = |part: &str| find(part).unwrap_or_else(|| panic!("{name}.{part}"));
    let numbers = |part: &str| floats(tensor(part).dtype(), tensor(part).data());
    let stored = match tensor("source").dtype() {
        Dtype::F32 => StoredType::F32,
        Dtype::F16 => StoredType::F16,
        _ => StoredType::Bf16,
    };
    let state: Value = serde_json::from_slice(tensor("quant_state.bitsandbytes__nf4").data()).expect("JSON");
    let offset = state["nested_offset"].as_f64().map(|offset| offset as f32);
    assert_eq!(numbers("quant_map"), NF4_LEVELS, "{name}");
    Golden {
        shape: tensor("source").shape().try_into().expect("a matrix"),
        stored,
        source: numbers("source"),
        values: numbers("values"),
        codes: tensor("codes").data().to_vec(),
        scales: tensor("absmax").data().to_vec(),
        nested: offset.map(|offset| (offset, numbers("nested_absmax"), numbers("nested_quant_map"))),
    }
}

/// Asserts that two lists have the same bits, and names the first difference.
#[track_caller]
fn assert_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
    if let Some(index) = difference {
        panic!("{what}: {:e} and {:e} at {index}", found[index], expected[index]);
    }
}

fn quantised(golden: &Golden, nested: bool) -> Nf4Matrix {
    let columns = golden.shape[1];
    let copy = |row: usize, out: &mut [f32]| out.copy_from_slice(&golden.source[row * columns..][..columns]);
    Nf4Matrix::quantise(golden.shape, golden.stored, nested, copy).expect("finite weights")
}

/// All weights, widened in pieces of so many columns.
fn widened(matrix: &Nf4Matrix, step: usize) -> Vec<f32> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let mut values = vec![f32::NAN; rows * columns];
    for row in 0..rows {
        for start in (0..columns).step_by(step) {
            let end = (start + step).min(columns);
            let out = &mut values[row * columns..][start..end];
            matrix.widen(row, start..end, |first, piece| out[first..first + piece.len()].copy_from_slice(piece));
        }
    }
    values
}

#[test]
fn codes_and_scales_have_the_bits_of_bitsandbytes() {
    for name in NAMES {
        let golden = golden(name);
        // The scales before they are quantised themselves.
        let matrix = quantised(&golden, false);
        assert!(matrix.codes() == golden.codes, "{name}");
        let Scales::Plain(scales) = matrix.scales() else { panic!("{name}: plain scales were asked for") };
        let Some((offset, largest, map)) = &golden.nested else {
            assert_bits(scales, &floats(Dtype::F32, &golden.scales), name);
            continue;
        };
        let nested = NestedScales::quantise_around(scales, *offset);
        assert_bits(nested.map(), map, name);
        assert_bits(nested.largest(), largest, name);
        assert!(nested.codes() == golden.scales, "{name}");
        // The mean is summed in another order there.
        let own = NestedScales::quantise(scales).offset();
        assert!(own.to_bits().abs_diff(offset.to_bits()) <= 1, "{name}: {own} and {offset}");
    }
}

#[test]
fn widened_weights_have_the_bits_of_bitsandbytes() {
    for name in NAMES {
        let golden = golden(name);
        let mut matrix = quantised(&golden, false);
        if let (Scales::Plain(scales), Some((offset, ..))) = (matrix.scales(), &golden.nested) {
            let scales = Scales::Nested(NestedScales::quantise_around(scales, *offset));
            matrix = Nf4Matrix::from_parts(golden.shape, golden.codes.clone(), scales, golden.stored);
        }
        // Pieces that begin and end anywhere, also in the middle of a byte.
        for step in [1, 7, 64, 100, usize::MAX / 2] {
            assert_bits(&widened(&matrix, step.min(golden.shape[1])), &golden.values, &format!("{name}, {step}"));
        }
    }
}

/// No level is further from a weight than half the widest gap between two levels, in units of the scale.
#[test]
fn quantised_weights_are_near() {
    let widest = NF4_LEVELS.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f32::max);
    for name in ["trained", "uneven"] {
        let golden = golden(name);
        let blocks = golden.source.chunks(WEIGHTS_PER_SCALE).zip(golden.values.chunks(WEIGHTS_PER_SCALE));
        for (index, (source, _)) in blocks.enumerate() {
            let values = &widened(&quantised(&golden, false), 64)[index * WEIGHTS_PER_SCALE..][..source.len()];
            let scale = source.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            for (weight, value) in source.iter().zip(values) {
                assert!((weight - value).abs() <= scale * (widest / 2.0 + 0.004), "{name}: {weight} and {value}");
            }
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_found() {
    // In the second portion of a matrix, and in another row than the first.
    let (rows, columns) = (300, 1000);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let copy = |row: usize, out: &mut [f32]| {
            out.fill(0.5);
            if row >= 271 {
                out[17] = bad;
            }
        };
        let refused = Nf4Matrix::quantise([rows, columns], StoredType::Bf16, true, copy).map(|_| ());
        assert_eq!(refused, Err(NotFiniteAt(271 * columns + 17)));
    }
    // Larger than the type.
    let large = Nf4Matrix::quantise([1, 64], StoredType::F16, true, |_, out| out.fill(1e5)).map(|_| ());
    assert_eq!(large, Err(NotFiniteAt(0)));
}
