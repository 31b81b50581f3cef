//! What a run tells the program that runs it, and how that program stops it.

use std::sync::atomic::{AtomicBool, Ordering};

/// Hears what happens in a run. Every method does nothing unless it is implemented, so `&()` is an observer that
/// ignores everything.
///
/// Texts may hold control characters of the files and servers that they are about.
pub trait Observer {
    /// A stage begins, ends, or has nothing to do.
    fn stage(&self, name: &str, state: StageState) {
        let _ = (name, state);
    }

    /// Something worth knowing.
    fn say(&self, text: &str) {
        let _ = text;
    }

    /// Something that may be wrong.
    fn warn(&self, text: &str) {
        let _ = text;
    }

    /// Work over `total` pieces begins; `label` names it.
    fn progress(&self, label: &str, total: u64) -> Box<dyn Progress> {
        let _ = (label, total);
        Box::new(())
    }

    /// The flag that asks the run to stop in an orderly way once it is set: what is done is saved, and the run
    /// ends with an error of the kind [`crate::ErrorKind::Interrupted`].
    fn stop_flag(&self) -> &AtomicBool {
        static NEVER: AtomicBool = AtomicBool::new(false);
        &NEVER
    }

    /// Called before the memory of the process is measured. A program whose allocator keeps freed memory can
    /// give it back to the system here.
    fn release_memory(&self) {}
}

impl dyn Observer + '_ {
    /// Whether the run was asked to stop.
    pub fn interrupted(&self) -> bool {
        self.stop_flag().load(Ordering::SeqCst)
    }
}

impl Observer for () {}

/// What happens to a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StageState {
    /// It begins.
    Started,
    /// Its inputs and outputs are unchanged: nothing is done.
    UpToDate,
    /// It is done.
    Finished {
        /// How long it took, in seconds.
        seconds: f64,
    },
}

/// The progress of one piece of work; it has ended when this is dropped.
pub trait Progress {
    /// `done` pieces are ready; `note` says how it goes.
    fn update(&mut self, done: u64, note: &str);
}

impl Progress for () {
    fn update(&mut self, _done: u64, _note: &str) {}
}
