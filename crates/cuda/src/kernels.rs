//! The sources of the kernels, as they are part of the program.

/// A source file with its kernels, for both element types.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name without its ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(Source { name: $name, text: include_str!(concat!("../kernels/", $name, ".cu")) }),*]
    };
}

/// All source files. Each is compiled by itself.
pub const SOURCES: &[Source] = sources![
    "attention",
    "attention_plain",
    "decode",
    "dropout",
    "embedding",
    "head",
    "nf4",
    "norm",
    "optimiser",
    "reduce",
    "rope",
    "sample",
    "swiglu",
];

/// The header that they include, with its name.
pub const HEADER: (&str, &str) = ("common.cuh", include_str!("../kernels/common.cuh"));
