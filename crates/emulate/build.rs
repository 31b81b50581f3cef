//! Compiles the kernels and the emulator with the C++ compiler, if there is one.

use std::env;
use std::path::{Path, PathBuf};

/// The sources of the emulator itself.
const MACHINE: [&str; 5] = ["fiber", "block", "tensor", "memory", "launch"];

/// A call before every access to memory, and accesses as the source has them.
const CHECKED: [&str; 8] = [
    "-fsanitize=kernel-address",
    "-fno-strict-aliasing",
    "-fno-tree-vectorize",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    "-Wall",
    "-Wextra",
    "-Wno-sign-compare",
];
/// The same for GCC, which spells its parameters in two words.
const CHECKED_GCC: [&str; 4] = [
    "--param=asan-instrumentation-with-call-threshold=0",
    "--param=asan-stack=0",
    "--param=asan-globals=0",
    "-fno-store-merging",
];
/// The same for Clang.
const CHECKED_CLANG: [&str; 6] =
    ["-mllvm", "-asan-instrumentation-with-call-threshold=0", "-mllvm", "-asan-stack=0", "-mllvm", "-asan-globals=0"];

fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").opt_level(2).debug(false).include("machine").define("EMULATE", None);
    build.cargo_warnings(true);
    build
}

/// Whether a C++ 20 program can be compiled.
fn compiles_cpp(folder: &Path) -> bool {
    let probe = folder.join("probe.cpp");
    std::fs::write(&probe, "#include <vector>\nint probe() { return (int)std::vector<int>(3).size(); }\n").is_ok()
        && compiler().cargo_metadata(false).cargo_warnings(false).file(probe).try_compile("probe").is_ok()
}

/// The files with an extension, in order of their names.
fn sources(folder: &str, extension: &str) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={folder}");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the repository");
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    files
}

fn main() {
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=machine");
    let kernels = sources("../cuda/kernels", "cu");
    sources("../cuda/kernels", "cuh");
    let broken = sources("broken", "cu");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    let unix = env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.split(',').any(|one| one == "unix"));
    if !unix || !compiles_cpp(&folder) {
        println!("cargo::warning=no C++ 20 compiler was found: the tests of the CUDA kernels are ignored");
        return;
    }
    println!("cargo::rustc-cfg=emulated");
    let mut checked = compiler();
    let clang = checked.get_compiler().is_like_clang();
    checked.include("../cuda/kernels").cargo_metadata(false).flags(CHECKED);
    if clang {
        checked.flags(CHECKED_CLANG);
    } else {
        checked.flags(CHECKED_GCC);
    }
    // `.cu` would make some compilers look for CUDA.
    checked.flag("-xc++").files(kernels).files(broken);
    let objects = checked.compile_intermediates();
    let mut machine = compiler();
    for name in MACHINE {
        machine.file(format!("machine/{name}.cpp"));
    }
    // Kernels register themselves before `main`: all of the archive is wanted.
    machine.objects(objects).link_lib_modifier("+whole-archive").compile("tabpo_emulate");
}
