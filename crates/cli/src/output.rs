//! Output: results on stdout, messages and progress on stderr. What is meant for people never contains control characters
//! from files or servers.
#![expect(clippy::print_stderr, reason = "this is the module that prints")]

use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tabpo_files::Target;
use tabpo_report::{printable, printable_json};

use tabpo_pipeline::{
    observer::{Observer, StageState},
    run::PlannedStage,
};

use crate::{
    allocator,
    error::{CliError, ErrorKind},
    range,
    remaining::{Remaining, duration},
};

/// The options of all commands.
#[derive(clap::Args)]
pub(crate) struct GlobalArgs {
    /// Print only results, warnings and errors
    #[arg(long, global = true, display_order = 900)]
    quiet: bool,
    /// Number of threads; by default, one for each core
    #[arg(long, global = true, value_name = "N", display_order = 901, value_parser = range::Whole::new(1, 4096).parser::<usize>(), allow_negative_numbers = true)]
    threads: Option<usize>,
}

/// How a command talks to the user, and whether the user has interrupted it.
pub(crate) struct Context {
    quiet: bool,
    bars: bool,
    /// The number of threads that the user asks for.
    threads: Option<usize>,
    interrupt: Arc<AtomicBool>,
    /// Whether the command waits for nothing but its end, so that it ends at once.
    waiting: Arc<AtomicBool>,
    /// Whether another process says what there is to say, and stops this one.
    following: Arc<AtomicBool>,
    /// The stages of the run.
    stages: Mutex<Stages>,
}

/// The stages of a run: how many there are, the names of those that have begun, and how long the others take.
#[derive(Default)]
struct Stages {
    planned: usize,
    begun: Vec<String>,
    remaining: Remaining,
}

impl Stages {
    /// The place of a stage in the plan, as `[7/38] `; empty where there is no plan.
    fn place(&mut self, name: &str) -> String {
        if self.planned == 0 {
            return String::new();
        }
        let place = self.begun.iter().position(|begun| begun == name).unwrap_or_else(|| {
            self.begun.push(name.to_owned());
            self.begun.len() - 1
        });
        format!("[{}/{}] ", place + 1, self.planned)
    }
}

impl Context {
    /// Sets up threads and the Ctrl-C handler. The first Ctrl-C asks the command to stop, the second one ends the
    /// program at once.
    pub(crate) fn new(arguments: &GlobalArgs) -> Result<Self, CliError> {
        if let Some(threads) = arguments.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .map_err(|error| CliError::input(format!("--threads {threads}: {error}")))?;
        }
        let interrupt = Arc::new(AtomicBool::new(false));
        let waiting = Arc::new(AtomicBool::new(false));
        let following = Arc::new(AtomicBool::new(false));
        let (flag, at_once, silent) = (Arc::clone(&interrupt), Arc::clone(&waiting), Arc::clone(&following));
        ctrlc::set_handler(move || {
            if silent.load(Ordering::SeqCst) {
                return;
            }
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            if at_once.load(Ordering::SeqCst) {
                // Below the ^C that a terminal shows.
                eprintln!();
                return;
            }
            eprintln!("stopping after the current step (press Ctrl-C again to stop at once)");
        })
        .map_err(|error| CliError::input(format!("cannot listen for Ctrl-C: {error}")))?;
        let bars = std::io::stderr().is_terminal() && !arguments.quiet;
        let (quiet, threads) = (arguments.quiet, arguments.threads);
        Ok(Self { quiet, bars, threads, interrupt, waiting, following, stages: Mutex::default() })
    }

    /// Waits until the user asks to stop, while other threads do the work.
    pub(crate) fn wait_for_interrupt(&self) {
        self.waiting.store(true, Ordering::SeqCst);
        while !self.interrupted() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes this process's part of the processors that several share, unless the user says how many threads to use. Has to
    /// be called before anything is computed.
    pub(crate) fn share_processors(&self, sharing: usize) {
        let here = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if sharing > 1 && self.threads.is_none() {
            // If something was computed already, it stays at all of them, which is slower but not wrong.
            let _ = rayon::ThreadPoolBuilder::new().num_threads((here / sharing).max(1)).build_global();
        }
    }

    /// Leaves messages and interrupts to another process, with which this one ends.
    pub(crate) fn follow(&self) {
        self.following.store(true, Ordering::SeqCst);
    }

    /// Whether the user has asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::SeqCst)
    }

    /// Writes a message to stderr, unless `--quiet` is given.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", indented(line.as_ref()));
        }
    }

    /// Writes a warning to stderr, even with `--quiet`.
    #[expect(clippy::unused_self, reason = "for symmetry with `say`")]
    pub(crate) fn warn(&self, line: impl AsRef<str>) {
        eprintln!("{} {}", Lead::Warning.text(), indented(line.as_ref()));
    }

    /// The place in the plan of the stage that began last, and how many seconds the stages after it take.
    fn place_now(&self) -> (String, Option<f64>) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let last = stages.begun.last().cloned();
        let place = last.map_or_else(String::new, |name| stages.place(&name));
        // Where nothing else is to come, the time that is left of the stage says it all.
        (place, stages.remaining.seconds().filter(|seconds| *seconds >= 1.0))
    }

    /// Starts progress over `total` items: a bar on a terminal, otherwise a line every ten seconds, and nothing with
    /// `--quiet`.
    pub(crate) fn progress(&self, label: &str, total: u64) -> Progress {
        let (place, after) = self.place_now();
        let label = indented(&format!("{place}{label}"));
        let bar = self.bars.then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:20} {pos}/{len} {eta:>5} left  {wide_msg}")
                .expect("the template is a constant and valid");
            ProgressBar::new(total).with_style(style).with_prefix(label.clone())
        });
        let lines = !self.quiet && !self.bars;
        Progress { label, total, after, bar, lines, started: Instant::now(), said: Instant::now() }
    }
}

impl Observer for Context {
    fn plan(&self, stages: &[PlannedStage]) {
        *self.stages.lock().unwrap_or_else(PoisonError::into_inner) =
            Stages { planned: stages.len(), begun: Vec::new(), remaining: Remaining::new(stages) };
    }

    fn stage(&self, name: &str, state: StageState) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let place = stages.place(name);
        stages.remaining.stage(name, state);
        let left = stages.remaining.seconds().filter(|seconds| *seconds >= 1.0);
        let left = left.map_or_else(String::new, |seconds| format!("; about {} left of the run", duration(seconds)));
        drop(stages);
        match state {
            StageState::Started => {}
            StageState::UpToDate => self.say(format!("{place}{name}: up to date")),
            StageState::Finished { seconds } => self.say(format!("{place}{name}: {seconds:.1} s{left}")),
        }
    }

    fn say(&self, text: &str) {
        Context::say(self, text);
    }

    fn warn(&self, text: &str) {
        Context::warn(self, text);
    }

    fn progress(&self, label: &str, total: u64) -> Box<dyn tabpo_pipeline::observer::Progress> {
        Box::new(Context::progress(self, label, total))
    }

    fn stop_flag(&self) -> &AtomicBool {
        &self.interrupt
    }

    fn release_memory(&self) {
        allocator::give_back_freed();
    }
}

/// The progress of some work.
pub(crate) struct Progress {
    label: String,
    total: u64,
    /// Seconds that the stages take which come after this.
    after: Option<f64>,
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// `done` items are finished; `note` is a short status.
    pub(crate) fn update(&mut self, done: u64, note: &str) {
        if self.bar.is_none() && !(self.lines && self.said.elapsed() >= Duration::from_secs(10)) {
            return;
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        let left = elapsed / (done.max(1) as f64) * (self.total.saturating_sub(done) as f64);
        // Before the first item, nothing is known about the time.
        let left = (done > 0).then_some(left);
        let whole = left.zip(self.after).map(|(left, after)| format!("{} for the run", duration(left + after)));
        if let Some(bar) = &self.bar {
            let parts: Vec<&str> = whole.as_deref().into_iter().chain([note]).filter(|part| !part.is_empty()).collect();
            bar.set_message(indented(&parts.join(", ")));
            bar.set_position(done);
        } else {
            self.said = Instant::now();
            eprintln!(
                "{}: {done}/{}{}{}{}{}",
                self.label,
                self.total,
                left.map_or_else(String::new, |left| format!(", {} left", duration(left))),
                whole.map_or_else(String::new, |whole| format!(" ({whole})")),
                if note.is_empty() { "" } else { ", " },
                indented(note)
            );
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl tabpo_pipeline::observer::Progress for Progress {
    fn update(&mut self, done: u64, note: &str) {
        Progress::update(self, done, note);
    }
}

/// Writes a result for people to stdout.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    to_stdout(&printable(text))
}

/// Writes a result for people to stdout with a line end.
pub(crate) fn print_line(text: impl AsRef<str>) -> Result<(), CliError> {
    print(&format!("{}\n", text.as_ref()))
}

/// Writes to stdout what another program may read: unchanged, except on a terminal.
pub(crate) fn print_exact(text: &str) -> Result<(), CliError> {
    if std::io::stdout().is_terminal() { print(text) } else { to_stdout(text) }
}

/// Writes a result to stdout as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    to_stdout(&json(value))
}

/// Writes a result to stdout as a line of JSON.
pub(crate) fn print_json_line(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).expect("results are plain data with string keys");
    to_stdout(&format!("{}\n", printable_json(&text)))
}

/// Writes a result that accompanies a written file: to stdout, or to stderr if the file itself goes to stdout.
pub(crate) fn print_beside(file: &Path, text: &str) -> Result<(), CliError> {
    if Target::is_output(file) {
        eprint!("{}", printable(text));
        return Ok(());
    }
    print(text)
}

/// The same as [`print_beside`] in JSON.
pub(crate) fn print_json_beside(file: &Path, value: &impl Serialize) -> Result<(), CliError> {
    if Target::is_output(file) {
        eprint!("{}", json(value));
        return Ok(());
    }
    print_json(value)
}

fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("results are plain data with string keys");
    format!("{}\n", printable_json(&text))
}

fn to_stdout(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| CliError::stdout(&error))
}

/// Writes to stderr what is wrong with a command line, with hints and the command's usage.
pub(crate) fn render_usage_error(message: &str, hints: &[String], usage: &str) {
    eprintln!("{} {}", Lead::Error.text(), indented(message));
    for hint in hints {
        eprintln!("{} {}", Lead::Hint.text(), indented(hint));
    }
    if !usage.is_empty() {
        eprintln!("\n{usage}");
    }
}

/// Writes an error to stderr: the message, its causes, and a hint.
pub(crate) fn render_error(error: &CliError) {
    if error.kind() == ErrorKind::ClosedPipe {
        return;
    }
    for (depth, message) in error.messages().iter().enumerate() {
        let lead = if depth == 0 { Lead::Error } else { Lead::Because };
        eprintln!("{} {}", lead.text(), indented(message));
    }
    if let Some(hint) = error.hint() {
        eprintln!("{} {}", Lead::Hint.text(), indented(hint));
    }
}

/// A message without control characters, and indented so that none of its lines can pass for a message of its own.
fn indented(message: &str) -> String {
    printable(message).replace('\n', "\n    ")
}

/// The word that starts a message on stderr.
#[derive(Clone, Copy)]
enum Lead {
    Error,
    Because,
    Warning,
    Hint,
}

impl Lead {
    /// The word, in colour on a terminal that supports it (<https://no-color.org>).
    fn text(self) -> String {
        let (word, colour) = match self {
            Lead::Error => ("error:", "1;31"),
            Lead::Because => return "  because:".to_owned(),
            Lead::Warning => ("warning:", "1;33"),
            Lead::Hint => ("hint:", "1;36"),
        };
        if !has_colours(&std::io::stderr()) {
            return word.to_owned();
        }
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    }
}

/// Whether a stream is a terminal that shows colours, and the user wants them (<https://no-color.org>).
fn has_colours(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|kind| kind != "dumb")
}

/// Whether results may be in colour.
pub(crate) fn is_coloured() -> bool {
    has_colours(&std::io::stdout())
}

/// The width of the terminal that results go to; `None` where they go elsewhere.
pub(crate) fn width() -> Option<usize> {
    let terminal = console::Term::stdout();
    let (_, columns) = terminal.is_term().then(|| terminal.size_checked()).flatten()?;
    Some(columns.into())
}

/// A text in a colour, given by its number in SGR sequences such as `1;31`. Control characters in the text are shown.
pub(crate) fn coloured(text: &str, colour: &str) -> String {
    format!("\u{1b}[{colour}m{}\u{1b}[0m", printable(text))
}

/// Writes a result that has colours of its own, and no other control characters, to stdout.
pub(crate) fn print_coloured(text: &str) -> Result<(), CliError> {
    to_stdout(text)
}
