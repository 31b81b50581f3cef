//! Whole models through `CudaWorker` on the emulated device, against the engine in double precision.

#![allow(clippy::single_range_in_vec_init, reason = "a context may well be one range")]

#[cfg(emulated)]
mod decode;
#[cfg(emulated)]
mod equivalence;
#[cfg(emulated)]
mod gradients;
#[cfg(emulated)]
mod nf4;
#[cfg(emulated)]
#[path = "../../../engine/tests/small/random.rs"]
mod random;
#[cfg(emulated)]
mod ranks;
#[cfg(emulated)]
mod runs;
#[cfg(emulated)]
mod small;
#[cfg(emulated)]
mod training;

#[cfg(not(emulated))]
#[test]
#[ignore = "no C++ 20 compiler was found when the emulator was built"]
fn every_model() {
    panic!("build tabpo-emulate where there is a C++ 20 compiler");
}
