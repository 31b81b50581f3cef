//! The page of a run while it goes on: the run reports to it, and a server shows it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Instant, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tabpo_pipeline::{
    observer::{Observer, Progress, StageState},
    run::{PlannedStage, unfinished_page},
};
use tabpo_report::printable;
use tabpo_serve::{Answer, Method, Request, Site};

use crate::output::Context;

/// At most so many messages are kept for the page, the last ones.
const MESSAGES: usize = 200;
/// Files from which the page is made.
const SOURCES: [&str; 3] = ["report.html", "stages.json", "metrics.jsonl"];

/// What the page is told.
#[derive(Default)]
struct Status {
    stages: Vec<Stage>,
    progress: Option<Work>,
    messages: Vec<String>,
    warnings: Vec<String>,
    end: Option<End>,
}

struct Stage {
    name: String,
    state: &'static str,
    seconds: Option<f64>,
}

struct Work {
    label: String,
    done: u64,
    total: u64,
    note: String,
    started: Instant,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is done.
    Done,
    /// The user stopped it.
    Stopped,
    /// It failed.
    Failed,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Stopped => "stopped",
            End::Failed => "failed",
        }
    }
}

/// A run as its page sees it.
pub(crate) struct LiveRun {
    name: String,
    directory: PathBuf,
    /// The version of the report that an earlier run has left. A run to the report writes it again.
    old: String,
    status: Mutex<Status>,
}

impl LiveRun {
    pub(crate) fn new(name: &str, directory: &Path) -> Arc<Self> {
        let (name, directory, status) = (name.to_owned(), directory.to_owned(), Mutex::default());
        let old = version(&directory.join(SOURCES[0]));
        Arc::new(Self { name, directory, old, status })
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run has ended.
    pub(crate) fn ended(&self, end: End, message: Option<String>) {
        let mut status = self.status();
        (status.end, status.progress) = (Some(end), None);
        status.warnings.extend(message);
    }

    /// Whether the report of this run is there; before, its page is made from what there is.
    fn is_finished(&self, status: &Status) -> bool {
        status.end == Some(End::Done) && version(&self.directory.join(SOURCES[0])) != self.old
    }

    fn describe(&self) -> Value {
        let status = self.status();
        let stages = status
            .stages
            .iter()
            .map(|Stage { name, state, seconds }| json!({"name": printable(name), "state": state, "seconds": seconds}));
        let progress = status.progress.as_ref().map(|Work { label, done, total, note, started }| {
            json!({
                "label": printable(label), "done": done, "total": total, "note": printable(note),
                "seconds": started.elapsed().as_secs_f64(),
            })
        });
        let shown = |texts: &[String]| texts.iter().map(|text| printable(text).into_owned()).collect::<Vec<_>>();
        let versions: Vec<String> = SOURCES.iter().map(|name| version(&self.directory.join(name))).collect();
        let page = if self.is_finished(&status) {
            Some(format!("report-{}", versions[0]))
        } else {
            // Before the first step there is nothing to see.
            (versions[1..] != ["", ""]).then(|| format!("{}-{}", versions[1], versions[2]))
        };
        json!({
            "name": printable(&self.name), "state": status.end.map_or("running", End::name),
            "stages": stages.collect::<Vec<_>>(), "progress": progress, "page": page,
            "warnings": shown(&status.warnings), "messages": shown(&status.messages),
            "note": format!("the run directory is {}", printable(&self.directory.display().to_string())),
        })
    }

    fn page(&self) -> Answer {
        let finished = self.is_finished(&self.status());
        let page = if finished {
            fs::read_to_string(self.directory.join(SOURCES[0])).ok()
        } else {
            unfinished_page(&self.directory).ok()
        };
        page.map_or_else(Answer::missing, Answer::framed)
    }
}

/// A version of a file: when it was changed and how long it is; empty if there is none.
fn version(path: &Path) -> String {
    let Ok(metadata) = fs::metadata(path) else { return String::new() };
    let time = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{:x}.{:x}", time.map_or(0, |time| time.as_millis()), metadata.len())
}

impl Site for LiveRun {
    fn answer(&self, request: &Request) -> Answer {
        match (request.method, request.path.as_str()) {
            (Method::Get, "") => Answer::html(include_str!("../assets/live.html")),
            (Method::Get, "live.css") => Answer::css(include_str!("../assets/live.css")),
            (Method::Get, "live.js") => Answer::script(include_str!("../assets/live.js")),
            (Method::Get, "colours.css") => Answer::css(tabpo_report::html::COLOURS),
            (Method::Get, "status") => Answer::json(200, self.describe().to_string()),
            (Method::Get, path) if path.starts_with("page/") => self.page(),
            _ => Answer::missing(),
        }
    }
}

/// Reports to the user and to the page.
pub(crate) struct Both<'c> {
    pub(crate) context: &'c Context,
    pub(crate) live: Arc<LiveRun>,
}

impl Both<'_> {
    fn keep(&self, text: &str) {
        let mut status = self.live.status();
        status.messages.push(text.to_owned());
        let extra = status.messages.len().saturating_sub(MESSAGES);
        status.messages.drain(..extra);
    }
}

impl Observer for Both<'_> {
    fn plan(&self, stages: &[PlannedStage]) {
        Observer::plan(self.context, stages);
        let stage = |planned: &PlannedStage| Stage { name: planned.name.clone(), state: "waiting", seconds: None };
        self.live.status().stages = stages.iter().map(stage).collect();
    }

    fn stage(&self, name: &str, state: StageState) {
        Observer::stage(self.context, name, state);
        let (now, seconds) = match state {
            StageState::Started => ("running", None),
            StageState::UpToDate => ("up to date", None),
            StageState::Finished { seconds } => ("done", Some(seconds)),
        };
        let mut status = self.live.status();
        status.progress = None;
        // A learning rate that is chosen in the run is a star in the plan.
        let is_it = |stage: &&mut Stage| stage.name == name || planned_as(&stage.name, name);
        if let Some(stage) = status.stages.iter_mut().find(is_it) {
            *stage = Stage { name: name.to_owned(), state: now, seconds };
        } else {
            status.stages.push(Stage { name: name.to_owned(), state: now, seconds });
        }
    }

    fn say(&self, text: &str) {
        self.context.say(text);
        self.keep(text);
    }

    fn warn(&self, text: &str) {
        self.context.warn(text);
        self.keep(&format!("warning: {text}"));
    }

    fn progress(&self, label: &str, total: u64) -> Box<dyn Progress> {
        let work = Work { label: label.to_owned(), done: 0, total, note: String::new(), started: Instant::now() };
        self.live.status().progress = Some(work);
        Box::new(Shown { shown: Observer::progress(self.context, label, total), live: Arc::clone(&self.live) })
    }

    fn stop_flag(&self) -> &AtomicBool {
        self.context.stop_flag()
    }

    fn release_memory(&self) {
        self.context.release_memory();
    }
}

/// Whether a planned name with a star stands for a name.
fn planned_as(planned: &str, name: &str) -> bool {
    planned.split_once('*').is_some_and(|(before, after)| {
        name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
    })
}

/// Progress on the terminal and on the page.
struct Shown {
    shown: Box<dyn Progress>,
    live: Arc<LiveRun>,
}

impl Progress for Shown {
    fn update(&mut self, done: u64, note: &str) {
        self.shown.update(done, note);
        if let Some(work) = &mut self.live.status().progress {
            note.clone_into(&mut work.note);
            work.done = done;
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.live.status().progress = None;
    }
}
