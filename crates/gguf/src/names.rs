//! Tensor names and row orders of Hugging Face models and of GGUF files.
//!
//! Files of the architectures `llama` and `mistral3` store the rows of query and key projections in a
//! different order: rotary embeddings rotate the adjacent values `2 i` and `2 i + 1` of a head, whereas
//! Hugging Face's code rotates `i` and `i + length / 2`. [`heads_to_reorder`] tells which tensors are
//! affected, and [`RowOrder::reorder`] converts their rows, quantised or not, in either direction.

use crate::architecture::Hyperparameters;

/// Names outside of layers.
const GLOBAL: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// Names inside of layers.
const LAYER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const GGUF_LAYER: &str = "blk.";
const HUGGING_FACE_LAYER: &str = "model.layers.";

/// The tensor with the divisors of rotary frequencies, which a Hugging Face model computes instead.
pub const ROPE_FREQUENCIES: &str = "rope_freqs.weight";

/// The Hugging Face name of a GGUF tensor, or `None` for names that dense Llama-like models don't have.
///
/// ```
/// assert_eq!(tabpo_gguf::names::hugging_face("blk.3.attn_q.bias").unwrap(), "model.layers.3.self_attn.q_proj.bias");
/// ```
pub fn hugging_face(gguf: &str) -> Option<String> {
    let find = |names: &[(&str, &'static str)], name| names.iter().find(|pair| pair.0 == name).map(|pair| pair.1);
    let (module, kind) = split_kind(gguf)?;
    Some(match layer(module, GGUF_LAYER)? {
        (None, module) => format!("{}.{kind}", find(&GLOBAL, module)?),
        (Some(number), module) => format!("{HUGGING_FACE_LAYER}{number}.{}.{kind}", find(&LAYER, module)?),
    })
}

/// The GGUF name of a Hugging Face tensor, or `None` for names that dense Llama-like models don't have.
pub fn gguf(hugging_face: &str) -> Option<String> {
    let find = |names: &[(&'static str, &str)], name| names.iter().find(|pair| pair.1 == name).map(|pair| pair.0);
    let (module, kind) = split_kind(hugging_face)?;
    Some(match layer(module, HUGGING_FACE_LAYER)? {
        (None, module) => format!("{}.{kind}", find(&GLOBAL, module)?),
        (Some(number), module) => format!("{GGUF_LAYER}{number}.{}.{kind}", find(&LAYER, module)?),
    })
}

/// The number of the layer that a GGUF tensor belongs to.
pub(crate) fn layer_of(gguf: &str) -> Option<u32> {
    layer(gguf, GGUF_LAYER)?.0
}

/// The module's name and `weight` or `bias`.
fn split_kind(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('.').filter(|(_, kind)| ["weight", "bias"].contains(kind))
}

/// The number of the layer, if the module is in one, and the rest of the name. `None` if the layer isn't a
/// number.
fn layer<'a>(module: &'a str, prefix: &str) -> Option<(Option<u32>, &'a str)> {
    let Some(rest) = module.strip_prefix(prefix) else { return Some((None, module)) };
    let (digits, module) = rest.split_once('.')?;
    let number: u32 = digits.parse().ok()?;
    // `parse` also accepts "+1" and "01".
    (number.to_string() == digits).then_some((Some(number), module))
}

/// The number of heads within which the rows of a tensor are reordered, or `None` if the order is the same
/// in GGUF and Hugging Face.
pub fn heads_to_reorder(gguf: &str, model: &Hyperparameters) -> Option<u32> {
    if !model.architecture.reorders_heads() {
        return None;
    }
    let (module, _) = split_kind(gguf)?;
    match layer(module, GGUF_LAYER)? {
        (Some(_), "attn_q") => Some(model.head_count),
        (Some(_), "attn_k") => Some(model.head_count_kv),
        _ => None,
    }
}

/// The direction in which rows are reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// From Hugging Face's order to GGUF's, as `LlamaModel.permute` of llama.cpp's converter does it.
    ToGguf,
    /// From GGUF's order to Hugging Face's.
    ToHuggingFace,
}

impl RowOrder {
    /// The row that moves to position `row`, for heads of `head_length` rows, an even number.
    ///
    /// ```
    /// use tabpo_gguf::names::RowOrder;
    ///
    /// let order: Vec<usize> = (0..8).map(|row| RowOrder::ToGguf.source(row, 4)).collect();
    /// assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
    /// ```
    pub fn source(self, row: usize, head_length: usize) -> usize {
        let (head, within) = (row / head_length, row % head_length);
        let half = head_length / 2;
        head * head_length
            + match self {
                Self::ToGguf => within % 2 * half + within / 2,
                Self::ToHuggingFace => within % half * 2 + within / half,
            }
    }

    /// Rows of bytes in the new order. A bias is a matrix with rows of one value.
    ///
    /// `rows`, the number of rows, must be a multiple of `2 * heads` and divide the number of bytes.
    pub fn reorder(self, bytes: &[u8], rows: usize, heads: u32) -> Result<Vec<u8>, ReorderError> {
        let heads = heads as usize;
        if heads == 0 || rows == 0 || !rows.is_multiple_of(2 * heads) || !bytes.len().is_multiple_of(rows) {
            return Err(ReorderError { bytes: bytes.len(), rows, heads });
        }
        let (row_bytes, head_length) = (bytes.len() / rows, rows / heads);
        let mut out = Vec::with_capacity(bytes.len());
        for row in 0..rows {
            out.extend_from_slice(&bytes[self.source(row, head_length) * row_bytes..][..row_bytes]);
        }
        Ok(out)
    }
}

/// Rows that can't be divided evenly among heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes in {rows} rows cannot be reordered for {heads} heads: each head needs an even number of rows")]
pub struct ReorderError {
    /// The number of bytes.
    pub bytes: usize,
    /// The number of rows.
    pub rows: usize,
    /// The number of heads.
    pub heads: usize,
}
