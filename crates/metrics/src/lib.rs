//! Extraction metrics, significance tests and typed error modes.

pub mod modes;
