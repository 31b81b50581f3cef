//! Every kernel compiles to machine code for every architecture, within its registers and without spills.
//!
//! Needs NVRTC (`pip install nvidia-cuda-nvrtc`), but no card: `cargo test -p tabpo-cuda -- --ignored`.

use std::sync::OnceLock;

use tabpo_cuda::compiler::{Architecture, Compiler, Usage, Version};
use tabpo_cuda::kernels::SOURCES;
use tabpo_cuda::library::Search;
use tabpo_cuda::module::{self, Store, compile, modules};

/// What machines with cards have: A100; A10 and RTX 30; L4 and RTX 40; H100 and H200; B200; RTX 50.
const ARCHITECTURES: [(u32, u32); 6] = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

/// The most registers of a thread, by the start of a kernel's name. 255 is the most that there are; with 128 threads a
/// block, 168 let three blocks run on a multiprocessor at a time and 255 let two.
const MOST_REGISTERS: &[(&str, u32)] = &[
    ("adamw", 40),
    ("attention_combine", 48),
    ("attention_decode", 128),
    ("attention_delta", 40),
    ("attention_forward_128", 255),
    ("attention_forward_64", 176),
    ("attention_forward_96", 216),
    ("attention_key_gradient_128", 255),
    ("attention_key_gradient_64", 176),
    ("attention_key_gradient_96", 240),
    ("attention_plain", 72),
    ("attention_query_gradient_128", 255),
    ("attention_query_gradient_64", 240),
    ("attention_query_gradient_96", 248),
    ("bias_gradient", 40),
    ("cache_store", 24),
    ("choose", 48),
    ("convert", 16),
    ("dropout", 32),
    ("embed", 40),
    ("gather_rows", 40),
    ("head", 48),
    ("nf4_dequantise", 40),
    ("norm", 48),
    ("rope_backward", 64),
    ("rope_forward", 48),
    ("rope_scale_gradient", 48),
    ("scale", 16),
    ("scatter_rows", 40),
    ("sum", 40),
    ("swiglu", 48),
    ("transpose", 32),
];

fn compiler() -> &'static Compiler {
    static COMPILER: OnceLock<Compiler> = OnceLock::new();
    COMPILER.get_or_init(|| Compiler::open(&Search::of_this_machine(), None).expect("NVRTC is installed"))
}

#[test]
#[ignore = "needs NVRTC"]
fn every_kernel_compiles_for_every_architecture_within_its_registers() {
    let known = compiler().architectures().expect("NVRTC says what it knows");
    let (mut faults, mut unused) = (Vec::new(), MOST_REGISTERS.to_vec());
    for (major, minor) in ARCHITECTURES {
        let architecture = Architecture::new(major, minor);
        // NVRTC 12.4 ends with Hopper.
        if !known.contains(&architecture) && compiler().version() < (Version { major: 13, minor: 0 }) {
            continue;
        }
        for (module, usage) in compile(compiler(), SOURCES, architecture).expect("the kernels compile") {
            let reported: Vec<&String> = usage.iter().map(|usage| &usage.kernel).collect();
            assert!(!reported.is_empty() && module.kernels.iter().eq(reported), "every kernel of {}", module.name);
            for Usage { kernel, registers, spilled } in &usage {
                if *spilled > 0 {
                    faults.push(format!("{kernel} on {architecture} spills {spilled} bytes"));
                }
                unused.retain(|(start, _)| !kernel.starts_with(start));
                match MOST_REGISTERS.iter().find(|(start, _)| kernel.starts_with(start)) {
                    Some((_, most)) if registers > most => {
                        faults.push(format!("{kernel} on {architecture} takes {registers} registers, not {most}"));
                    }
                    Some(_) => {}
                    None => faults.push(format!("{kernel} has no line in the table ({registers} on {architecture})")),
                }
            }
        }
    }
    faults.extend(unused.iter().map(|(start, _)| format!("no kernel's name starts with {start}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
#[ignore = "needs NVRTC"]
fn compiled_code_is_kept_and_damaged_files_are_made_again() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let store = Store::Cache(folder.path().join("kernels"));
    let card = Architecture::new(9, 0);
    let load = || modules(&store, card, &|| Ok(compiler())).expect("the kernels compile");
    let first = load();
    assert!(first.iter().all(|module| module.compiled));
    let second = load();
    assert!(second.iter().all(|module| !module.compiled), "everything is kept");
    assert!(first.iter().zip(&second).all(|(a, b)| a.code == b.code && a.kernels == b.kernels && a.name == b.name));

    // One byte of one file is changed, another file is cut.
    let path = |index: usize| folder.path().join("kernels").join(module::file_name(SOURCES[index], card));
    let mut bytes = std::fs::read(path(0)).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path(0), &bytes).expect("it can be written");
    let bytes = std::fs::read(path(1)).expect("it was written");
    std::fs::write(path(1), &bytes[..bytes.len() - 1]).expect("it can be written");
    let third = load();
    assert!(third[0].compiled && third[1].compiled && third[2..].iter().all(|module| !module.compiled));
    assert!(load().iter().all(|module| !module.compiled), "what was damaged was written again");

    // The same folder serves a machine without a compiler, and a card that is newer within the generation.
    let given = Store::Given(folder.path().join("kernels"));
    let none = || -> Result<&Compiler, _> { panic!("no compiler is asked for") };
    let loaded = modules(&given, card, &none).expect("the code is there");
    assert!(loaded.iter().zip(&first).all(|(a, b)| a.code == b.code));
    let error = modules(&given, Architecture::new(10, 0), &none).expect_err("Hopper's code doesn't run on Blackwell");
    assert!(error.to_string().contains("sm_100"), "{error}");
}

#[test]
#[ignore = "needs NVRTC"]
fn an_architecture_that_the_compiler_does_not_know_is_an_error_that_lists_those_it_knows() {
    let unknown = Architecture::new(99, 0);
    let error = compiler().compile(SOURCES[0], unknown).expect_err("there is no such card").to_string();
    assert!(error.contains("sm_990") && error.contains("sm_90"), "{error}");
}

#[test]
#[ignore = "needs NVRTC"]
fn a_fault_in_a_source_is_told_with_file_and_line() {
    let source =
        tabpo_cuda::kernels::Source { name: "broken", text: "#include \"common.cuh\"\n\nint x = undeclared;\n" };
    let error = compiler().compile(source, Architecture::OLDEST).expect_err("it doesn't compile").to_string();
    assert!(error.contains("broken.cu(3)") && error.contains("undeclared"), "{error}");
}
