//! Runs of tabpo as a library: a configuration, its stages from documents to a comparison, and what they
//! leave on disk.

pub mod config;
mod copying_heads;
pub mod corpora;
pub mod error;
pub mod memory;
pub mod observer;
pub mod range;
pub mod remote;
pub mod run;
pub mod writing;
