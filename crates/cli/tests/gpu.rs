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
