//! Opening the user's browser.

use std::{
    env,
    ffi::OsString,
    io,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a program that opens browsers may take to say that it found none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens an address in the user's browser: the one that `BROWSER` names, or else the desktop's own. `false` if there is
/// none, as on a machine without a screen.
pub fn open_browser(url: &str) -> bool {
    opener().is_some_and(|mut command| started(command.arg(url)).unwrap_or(false))
}

fn opener() -> Option<Command> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let program = |name: OsString| Some(Command::new(name));
    if let Some(browser) = set("BROWSER") {
        return program(browser);
    }
    if cfg!(target_os = "macos") {
        return program("open".into());
    }
    if cfg!(windows) {
        let mut command = Command::new("rundll32");
        command.arg("url.dll,FileProtocolHandler");
        return Some(command);
    }
    // Without a screen, xdg-open would start a browser in the terminal.
    let screen = set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY"));
    screen.and_then(|_| program("xdg-open".into()))
}

/// Starts a program that talks to nobody. Whether it did not fail at once.
fn started(command: &mut Command) -> io::Result<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(20));
    }
    // A browser that runs is waited for by nobody but this thread, so that it leaves no zombie.
    thread::spawn(move || child.wait());
    Ok(true)
}
