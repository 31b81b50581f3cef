//! The border to the tokenizer library: its panics on files that are wrong are errors here.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is caught and reported, so that nothing is to be printed of it.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, or the message of the error or the panic with which it ends.
///
/// The library asserts what damaged files do not keep to, and panics where they do not.
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
    // What a panic leaves half done is not looked at again: the tokenizer is dropped or unchanged.
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("the tokenizer library gave up: {}", message.unwrap_or_else(|| "no reason given".into())))
        }
    }
}
