//! Names that become names of files and folders in a run directory.

use crate::error::Error;

/// Most bytes of a name: file systems allow 255, and extensions are appended.
const LONGEST: usize = 200;

/// Characters that separate folders, or that an operating system or a shell interprets.
const SPECIAL: [char; 9] = ['/', '\\', ':', '*', '?', '"', '<', '>', '|'];

/// Names that Windows reserves for devices, with any extension.
const DEVICES: [&str; 7] = ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// Refuses a name that is not a plain file name on every operating system; `key` is what the message calls it.
pub(crate) fn check(key: &str, name: &str) -> Result<(), Error> {
    let Some(problem) = problem(name) else { return Ok(()) };
    // The debug form escapes control characters, which must not reach a terminal.
    Err(Error::input(format!("{key} is {name:?}, which {problem}")).with_hint(
        "a name becomes a file or a folder: letters, digits, spaces, `-`, `_`, `.` and the like, such as `dpo-beta-0.5`",
    ))
}

/// Refuses two names that are equal, or equal but for case: some file systems take them for the same file.
pub(crate) fn distinct<'a>(names: impl IntoIterator<Item = (String, &'a str)>) -> Result<(), Error> {
    let mut seen: Vec<(String, &str, String)> = Vec::new();
    for (key, name) in names {
        let folded = name.to_lowercase();
        if let Some((other, earlier, _)) = seen.iter().find(|(_, _, known)| *known == folded) {
            let how = if *earlier == name { "are the same name" } else { "differ only by case" };
            return Err(Error::input(format!("{other} `{earlier}` and {key} `{name}` {how}"))
                .with_hint("every system needs a name and a folder of its own"));
        }
        seen.push((key, name, folded));
    }
    Ok(())
}

fn problem(name: &str) -> Option<String> {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = |device: &str| {
        let number = stem.strip_prefix(device).map(|rest| rest.chars().collect::<Vec<_>>());
        matches!(number.as_deref(), Some(['1'..='9' | '¹' | '²' | '³']))
    };
    if name.is_empty() {
        Some("is empty".to_owned())
    } else if let Some(found) = name.chars().find(|letter| SPECIAL.contains(letter)) {
        Some(format!("has a `{found}`"))
    } else if name.chars().any(|letter| letter.is_control() || invisible(letter)) {
        Some("has a control character".to_owned())
    } else if name.starts_with('.') {
        Some("starts with a dot".to_owned())
    } else if name.ends_with('.') || name.trim() != name {
        Some("ends with a dot, or starts or ends with a space".to_owned())
    } else if name.starts_with('-') {
        Some("starts with a hyphen, as options do".to_owned())
    } else if name.len() > LONGEST {
        Some(format!("is {} bytes long, more than {LONGEST}", name.len()))
    } else if DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt") {
        Some("Windows reserves for a device".to_owned())
    } else {
        None
    }
}

/// Invisible characters that change how the text around them is displayed.
fn invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for name in ["dpo", "tab-po 0.5", "μ-ablation", "gpt-4.1", "a.b_c+d", "console", "com10", "NULL", "日本"] {
            assert!(check("run.name", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let long = "n".repeat(201);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/etc",
            "a\\b",
            "C:x",
            ".hidden",
            "x.",
            " x",
            "x ",
            "a\nb",
            "a\u{1b}[31m",
            "nul",
            "NUL.txt",
            "Com1",
            "lpt9.log",
            "com²",
            "a\u{202e}b",
            "what?",
            "-rf",
            &long,
        ] {
            let error = check("run.name", name).expect_err(name);
            assert!(error.messages[0].starts_with("run.name is ") && error.hint.is_some(), "{name}");
            assert!(!error.messages[0].contains(char::is_control), "{name:?}");
        }
    }

    #[test]
    fn names_that_fall_together_are_refused() {
        let names = |list: &[&'static str]| distinct(list.iter().map(|name| ("system".to_owned(), *name)));
        assert!(names(&["dpo", "tab-po", "ipo"]).is_ok());
        assert!(names(&["dpo", "DPO"]).expect_err("by case").messages[0].contains("differ only by case"));
        assert!(names(&["Ärger", "dpo", "ärger"]).is_err());
        assert!(names(&["dpo", "dpo"]).expect_err("twice").messages[0].contains("same name"));
    }
}
