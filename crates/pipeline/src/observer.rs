//! How a run reports to the program that called it, and how that program can stop it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::run::PlannedStage;

/// Receives the events of a run. Every method does nothing by default, so `&()` is an observer that ignores everything.
///
/// Texts may contain control characters that come from files and servers: clear them before a terminal shows them.
pub trait Observer {
    /// The stages of the run in their order, before the first one starts.
    fn plan(&self, stages: &[PlannedStage]) {
        let _ = stages;
    }

    /// A stage starts, finishes, or turns out to be up to date.
    fn stage(&self, name: &str, state: StageState) {
        let _ = (name, state);
    }

    /// Information.
    fn say(&self, text: &str) {
        let _ = text;
    }

    /// A warning.
    fn warn(&self, text: &str) {
        let _ = text;
    }

    /// Work on `total` items starts; `label` names it.
    fn progress(&self, label: &str, total: u64) -> Box<dyn Progress> {
        let _ = (label, total);
        Box::new(())
    }

    /// A flag that asks the run to stop once it is set. What is done by then is saved, and the run returns an error of
    /// the kind [`crate::ErrorKind::Interrupted`].
    fn stop_flag(&self) -> &AtomicBool {
        static NEVER: AtomicBool = AtomicBool::new(false);
        &NEVER
    }

    /// Called before the memory of the process is measured. A program whose allocator holds on to freed memory can
    /// return it to the operating system here.
    fn release_memory(&self) {}
}

impl dyn Observer + '_ {
    /// Whether the run has been asked to stop.
    pub fn interrupted(&self) -> bool {
        self.stop_flag().load(Ordering::SeqCst)
    }
}

impl Observer for () {}

/// The state of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StageState {
    /// It starts.
    Started,
    /// Its inputs and outputs have not changed, so it is skipped.
    UpToDate,
    /// It has finished.
    Finished {
        /// How long it took, in seconds.
        seconds: f64,
    },
}

/// The progress of some work, which ends when this is dropped.
pub trait Progress {
    /// `done` items are finished; `note` is a short status.
    fn update(&mut self, done: u64, note: &str);
}

impl Progress for () {
    fn update(&mut self, _done: u64, _note: &str) {}
}
