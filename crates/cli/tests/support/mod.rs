//! A directory and a command for each test.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod gguf;

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use tabpo_engine::Model;
use tabpo_model::{ChatTemplate, GenerationTokens, ModelConfig, SaveOptions, StoredType, Tokenizer};
use tempfile::TempDir;

/// A directory of its own for one test, removed afterwards.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder can be made");
        fs::write(&path, content).expect("the file can be written");
        path
    }

    /// The names of everything in the directory, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .expect("the directory can be read")
            .map(|entry| entry.expect("the entry can be read").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Writes a small random model with the tokenizer of the fixtures.
    pub(crate) fn small_model(&self, name: &str) {
        let tokenizer =
            Tokenizer::open(&root().join("crates/model/tests/fixtures/tokenizer")).expect("the tokenizer can be read");
        let model = Model::<f32>::initialise(ModelConfig::small(tokenizer.vocabulary_size(), 32, 1, 2), 3);
        let tokens = GenerationTokens { bos: None, stop: tokenizer.stop_ids().to_vec(), pad: None };
        model.save(&self.path(name), &SaveOptions::new(StoredType::F32), &tokens).expect("the model can be written");
        tokenizer.save(&self.path(name)).expect("the tokenizer can be written");
        self.write(&format!("{name}/chat_template.jinja"), ChatTemplate::PLAIN);
    }

    /// The program, started in this directory.
    pub(crate) fn tabpo(&self) -> Command {
        let mut command = Command::cargo_bin("tabpo").expect("the program is built with its tests");
        command.current_dir(self.0.path());
        command
    }

    /// Runs the program with these arguments, expects `code`, and returns (stdout, stderr) with the
    /// directory's name replaced by `DIR`.
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> (String, String) {
        let (found, stdout, stderr) = self.output(arguments, &[]);
        assert_eq!(found, Some(code), "tabpo {arguments:?}\nstdout: {stdout}\nstderr: {stderr}");
        (stdout, stderr)
    }

    /// A command line with all that it comes to: exit code, standard output and standard error.
    pub(crate) fn transcript(&self, arguments: &[&str]) -> String {
        self.transcript_with(arguments, &[])
    }

    /// The same with variables of the environment set.
    pub(crate) fn transcript_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let (code, stdout, stderr) = self.output(arguments, environment);
        let quoted = arguments.iter().map(|argument| {
            let plain = argument.chars().all(|c| c.is_alphanumeric() || "-_=./,:".contains(c)) && !argument.is_empty();
            if plain {
                format!(" {argument}")
            } else {
                format!(" '{}'", argument.escape_debug().to_string().replace("\\\"", "\""))
            }
        });
        let mut text = format!("$ tabpo{}\nexit code: ", quoted.collect::<String>());
        text += &code.map_or("none".to_owned(), |code| code.to_string());
        for (name, output) in [("stdout", stdout), ("stderr", stderr)] {
            if !output.is_empty() {
                text += &format!("\n--- {name}\n{}", output.trim_end());
            }
        }
        text
    }

    fn output(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let output =
            self.tabpo().args(arguments).envs(environment.iter().copied()).output().expect("the program starts");
        let clean = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.replace(&*self.0.path().to_string_lossy(), "DIR")
        };
        (output.status.code(), clean(&output.stdout), clean(&output.stderr))
    }
}

/// The configuration of a run, `tiny`, with so many steps of fine-tuning and of preference training.
pub(crate) fn tiny_run(sft: usize, preference: usize) -> String {
    format!(
        r#"
run = {{ name = "tiny" }}
data.synthetic = {{ sft = 20, curated = 8, validation = 4, test = 4 }}
model = {{ vocabulary = 300, hidden = 16, layers = 1, heads = 2, kv_heads = 2, intermediate = 32 }}
sft = {{ steps = {sft} }}
preference = {{ objectives = ["dpo"], train = {{ steps = {preference} }} }}
predict.max_new_tokens = 8
evaluate.resamples = 20
"#
    )
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// A file of the repository's examples, as text.
pub(crate) fn example(name: &str) -> String {
    fs::read_to_string(root().join("examples").join(name)).expect("the example is part of the repository")
}

/// Compares transcripts with those that are stored under this name.
#[macro_export]
macro_rules! assert_transcripts {
    ($name:literal, $transcripts:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $transcripts.join("\n\n"));
        });
    };
}
