#![doc = include_str!("../README.md")]
#![cfg(emulated)]

mod device;
mod machine;
mod product;
pub mod trial;

pub use device::{Emulator, Order};
pub use machine::kernels;
