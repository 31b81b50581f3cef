//! `tabpo gpu` on machines without CUDA.
#![cfg(feature = "cuda")]

mod support;

use support::Place;

/// What a command comes to where the libraries are looked for in an empty folder of the test, or not at all.
fn without_cuda(arguments: &[&str], libraries: &str) -> String {
    let place = Place::new();
    place.write("libraries/README", "no libraries here\n");
    let folder = if libraries == "none" { libraries.to_owned() } else { place.path(libraries).display().to_string() };
    place.transcript_with(arguments, &[("TABPO_CUDA_LIBRARIES", &folder), ("XDG_CACHE_HOME", "/cache")])
}

#[test]
fn what_is_missing_is_named_with_what_brings_it() {
    // With `none`, the driver isn't looked for either, so that a machine with a card says the same.
    let commands: [(&[&str], &str); 8] = [
        (&["gpu", "info"], "none"),
        (&["gpu", "info", "--json"], "none"),
        (&["gpu", "check"], "none"),
        (&["gpu", "check", "--json"], "none"),
        (&["gpu", "compile", "--arch", "sm_90"], "libraries"),
        (&["gpu", "compile", "--arch", "sm_90", "--out", "code"], "libraries"),
        (&["gpu", "compile", "--arch", "sm_75"], "libraries"),
        (&["gpu", "compile", "--arch", "hopper"], "libraries"),
    ];
    let transcripts = commands.map(|(arguments, libraries)| without_cuda(arguments, libraries));
    assert_transcripts!("gpu_without_cuda", transcripts);
}

/// Small enough that nothing but the device is in the way.
const RUN: &str = r#"
[run]
name = "x"
[data]
synthetic = { sft = 8, curated = 8, validation = 4, test = 4 }
[model]
[sft]
steps = 1
[preference]
objectives = ["dpo"]
"#;

#[test]
fn a_card_that_is_asked_for_and_not_there_stops_a_run_before_it_begins() {
    let commands: [&[&str]; 4] = [
        &["run", "run.toml", "--device", "cuda"],
        &["run", "run.toml", "--set", "model.device=cuda:1"],
        &["run", "run.toml", "--device", "gpu"],
        &["run", "run.toml", "--set", "model.device=gpu"],
    ];
    let transcripts = commands.map(|arguments| {
        let place = Place::new();
        place.write("run.toml", RUN);
        let transcript = place.transcript_with(arguments, &[("TABPO_CUDA_LIBRARIES", "none")]);
        assert!(!place.path("runs").exists(), "nothing was written");
        transcript
    });
    assert_transcripts!("device_without_cuda", transcripts);
}
