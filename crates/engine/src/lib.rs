//! A Llama/Qwen decoder with explicit forward and backward passes, LoRA and generation.

mod batch;

pub use batch::{Batch, Segment, Target};
