//! `tabpo pairs`: build preference pairs, choose among them, look at them, export them, and try
//! ambiguity patterns.

mod build;
mod export;
mod patterns;
mod select;
mod stats;

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use tabpo_metrics::ErrorModes;
use tabpo_pairs::PairRecord;

use crate::{
    error::{CliError, ResultExt},
    output::Context,
};

/// Arguments of `tabpo pairs`.
#[derive(clap::Args)]
pub struct PairsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make negatives for annotated documents
    Build(build::BuildArgs),
    /// Keep the pairs that a model finds hardest
    Select(select::SelectArgs),
    /// Count kinds, sources, label changes and edit distances of a pair file
    Stats(stats::StatsArgs),
    /// Write a pair file in the form of another trainer
    Export(export::ExportArgs),
    /// Check ambiguity patterns, or show where they fire
    #[command(subcommand, after_long_help = patterns::FORM)]
    Patterns(patterns::PatternAction),
}

/// Runs the command.
pub fn run(arguments: PairsArgs, context: &Context) -> Result<(), CliError> {
    match arguments.action {
        Action::Build(arguments) => build::run(&arguments, context),
        Action::Select(arguments) => select::run(&arguments, context),
        Action::Stats(arguments) => stats::run(&arguments),
        Action::Export(arguments) => export::run(&arguments),
        Action::Patterns(action) => patterns::run(&action),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, CliError> {
    let file = File::open(path).map_err(|error| CliError::input(format!("cannot read {}: {error}", path.display())))?;
    Ok(BufReader::new(file))
}

fn read_pairs(path: &Path) -> Result<impl Iterator<Item = Result<PairRecord, CliError>>, CliError> {
    Ok(PairRecord::read(open(path)?, path).map(ResultExt::or_input))
}

fn read_errors(path: &Path) -> Result<ErrorModes, CliError> {
    let wrong = |message: String| {
        CliError::input(format!("{}: {message}", path.display())).with_hint("make the file with `tabpo errors`")
    };
    let errors: ErrorModes =
        serde_json::from_reader(open(path)?).map_err(|error| wrong(format!("not a file of error modes: {error}")))?;
    if errors.version != ErrorModes::VERSION {
        return Err(wrong(format!("version {} of the form, expected {}", errors.version, ErrorModes::VERSION)));
    }
    Ok(errors)
}

/// A file that gets its name when it is complete: nothing is left of one that is not.
struct NewFile {
    writer: BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let wrong = |error: std::io::Error| {
            // Errors about temporary files name these, which nobody asked for.
            let text = error.to_string();
            let cause = text.split(" at path \"").next().unwrap_or(&text);
            CliError::input(format!("cannot write {}: {cause}", path.display()))
        };
        if path.is_dir() {
            return Err(wrong(std::io::ErrorKind::IsADirectory.into()));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(wrong)?;
        let mut builder = tempfile::Builder::new();
        // Temporary files are private by default; results get the permissions of any other new file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(directory).map_err(wrong)?;
        Ok(Self { writer: BufWriter::new(file), path: path.to_path_buf() })
    }

    fn finish(self) -> Result<(), CliError> {
        let Self { writer, path } = self;
        let write = || {
            let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok::<(), std::io::Error>(())
        };
        write().or_failed().map_err(|error| error.context(format!("cannot write {}", path.display())))
    }
}
