//! Whole runs, from documents to a comparison, on the emulated device against the CPU.

#[cfg(emulated)]
mod runs;

#[cfg(not(emulated))]
#[test]
#[ignore = "no C++ 20 compiler was found when the emulator was built"]
fn every_run() {
    panic!("build tabpo-emulate where there is a C++ 20 compiler");
}
