//! Turns panics of the tokenizer library into errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
/// Whether a panic of this thread is caught and reported, and should not be printed.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The result of `work`, or the message of its error or panic. The library panics on some damaged files.
pub(crate) fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // Nothing that a panic leaves half done is used again: the tokenizer is dropped or unchanged.
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("the tokenizer library failed: {}", message.unwrap_or_else(|| "no reason given".into())))
        }
    }
}
