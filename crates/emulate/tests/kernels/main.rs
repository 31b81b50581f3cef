//! Every kernel against its formula in double precision, on the emulator.

#[cfg(emulated)]
mod attention;
#[cfg(emulated)]
mod checks;
#[cfg(emulated)]
mod common;
#[cfg(emulated)]
mod decode;
#[cfg(emulated)]
mod elementwise;
#[cfg(emulated)]
mod embedding;
#[cfg(emulated)]
mod forest;
#[cfg(emulated)]
mod head;
#[cfg(emulated)]
mod mistakes;
#[cfg(emulated)]
mod nf4;
#[cfg(emulated)]
mod norm;
#[cfg(emulated)]
mod optimiser;
#[cfg(emulated)]
mod reduce;
#[cfg(emulated)]
mod sample;

#[cfg(not(emulated))]
#[test]
#[ignore = "no C++ 20 compiler was found when the emulator was built"]
fn every_kernel() {
    panic!("build tabpo-emulate where there is a C++ 20 compiler");
}
