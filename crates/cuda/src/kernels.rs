//! The sources of the kernels, as they are part of the program.

/// A source file with its kernels, for both element types.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The file's name without its ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(Source { name: $name, text: include_str!(concat!("../kernels/", $name, ".cu")) }),*]
    };
}

/// All source files. Each is compiled by itself.
pub const SOURCES: &[Source] = sources! {
    "attention",
    "attention_plain",
    "decode",
    "embedding",
    "head",
    "norm",
    "optimiser",
    "reduce",
    "rope",
    "sample",
    "swiglu",
};

/// The header that they include, with its name.
pub const HEADER: (&str, &str) = ("common.cuh", include_str!("../kernels/common.cuh"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let files =
            std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it is read").path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|ending| ending == "cu"))
            .map(|path| path.file_stem().expect("it has a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, SOURCES.iter().map(|source| source.name).collect::<Vec<_>>());
    }
}
