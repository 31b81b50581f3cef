//! What bitsandbytes writes beside the tensors of a quantised matrix, as JSON in a tensor of bytes.

use serde_json::{Map, Value, json};

use super::{SCALES_PER_GROUP, WEIGHTS_PER_SCALE};
use crate::stored::StoredType;

/// Bytes that are written: more than any state has, so that the place of what follows is known before it is. What is left
/// is blank, which JSON allows.
pub(crate) const STATE_BYTES: usize = 256;

const TYPES: [(&str, StoredType); 3] =
    [("bfloat16", StoredType::Bf16), ("float16", StoredType::F16), ("float32", StoredType::F32)];

/// The state of one matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct QuantState {
    /// The type of the matrix that was quantised.
    pub(crate) rounding: StoredType,
    /// `[rows, columns]`
    pub(crate) shape: [usize; 2],
    /// What is added to every scale, if the scales are quantised.
    pub(crate) offset: Option<f32>,
}

impl QuantState {
    /// The state that a tensor holds, or what is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let state: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| format!("is not JSON: {error}"))?;
        let found = |key: &str| state.get(key).map_or_else(|| "missing".to_owned(), Value::to_string);
        let must_be = |key: &str, value: Value| {
            let wrong = || format!("`{key}` is {}; {value} is expected", found(key));
            (state.get(key) == Some(&value)).then_some(()).ok_or_else(wrong)
        };
        must_be("quant_type", json!("nf4"))?;
        must_be("blocksize", json!(WEIGHTS_PER_SCALE))?;
        let rounding = TYPES.iter().find(|(name, _)| state.get("dtype") == Some(&json!(name)));
        let (_, rounding) = rounding.ok_or_else(|| {
            format!("`dtype` is {}; \"bfloat16\", \"float16\" and \"float32\" are expected", found("dtype"))
        })?;
        let sizes = state.get("shape").and_then(Value::as_array);
        let sizes: Option<Vec<usize>> =
            sizes.and_then(|sizes| sizes.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect());
        let shape = sizes.and_then(|sizes| <[usize; 2]>::try_from(sizes).ok());
        let shape = shape.ok_or_else(|| format!("`shape` is {}; two sizes are expected", found("shape")))?;
        let offset = if state.contains_key("nested_blocksize") || state.contains_key("nested_offset") {
            must_be("nested_blocksize", json!(SCALES_PER_GROUP))?;
            must_be("nested_dtype", json!("float32"))?;
            let offset = state.get("nested_offset").and_then(Value::as_f64).map(|offset| offset as f32);
            let offset = offset.filter(|offset| offset.is_finite());
            Some(offset.ok_or_else(|| format!("`nested_offset` is {}; a number is expected", found("nested_offset")))?)
        } else {
            None
        };
        Ok(Self { rounding: *rounding, shape, offset })
    }

    /// The tensor's bytes, [`STATE_BYTES`] of them.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let (dtype, _) = TYPES.iter().find(|(_, stored)| *stored == self.rounding).expect("every type has a name");
        let mut state = json!({
            "quant_type": "nf4",
            "blocksize": WEIGHTS_PER_SCALE,
            "dtype": dtype,
            "shape": self.shape,
        });
        if let Some(offset) = self.offset {
            state["nested_blocksize"] = json!(SCALES_PER_GROUP);
            state["nested_dtype"] = json!("float32");
            state["nested_offset"] = json!(f64::from(offset));
        }
        let mut bytes = state.to_string().into_bytes();
        assert!(bytes.len() <= STATE_BYTES, "two sizes and a number are short");
        bytes.resize(STATE_BYTES, b' ');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for rounding in [StoredType::Bf16, StoredType::F16, StoredType::F32] {
            for offset in [None, Some(0.051_916_76), Some(-f32::MIN_POSITIVE), Some(f32::MAX)] {
                let state = QuantState { rounding, shape: [1 << 24, 1 << 24], offset };
                assert_eq!(QuantState::read(&state.to_bytes()), Ok(state));
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_state_is_named() {
        let right = json!({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [2, 64],
                           "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.5});
        assert!(QuantState::read(right.to_string().as_bytes()).is_ok());
        for (key, value) in [
            ("quant_type", json!("fp4")),
            ("blocksize", json!(128)),
            ("dtype", json!("int8")),
            ("shape", json!([128])),
            ("shape", json!([2, -64])),
            ("nested_blocksize", json!(64)),
            ("nested_dtype", json!("float16")),
            ("nested_offset", json!("0.5")),
            ("nested_offset", json!(1e300)),
        ] {
            let mut state = right.clone();
            state[key] = value.clone();
            let problem = QuantState::read(state.to_string().as_bytes()).expect_err("a wrong value");
            assert!(problem.contains(&format!("`{key}` is {value}; ")), "{problem}");
        }
        assert!(QuantState::read(b"{").expect_err("half of a state").contains("not JSON"));
    }
}
