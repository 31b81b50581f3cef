//! What brat's `annotation.conf` says about a project's annotation files besides its labels.

use std::collections::{BTreeSet, HashMap};

use tabpo_files::without_mark;

/// The roles of relations and the types of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BratProject {
    roles: HashMap<String, Vec<[String; 2]>>,
    events: BTreeSet<String>,
}

impl BratProject {
    /// Reads brat's `annotation.conf`; only relations and events matter here.
    pub fn parse(text: &str) -> Self {
        let mut project = Self::default();
        for line in lines(text) {
            let name = line.content.split_whitespace().next().unwrap_or_default().trim_start_matches('!');
            if line.section == "events" {
                project.events.insert(name.to_owned());
            } else if line.section == "relations" {
                let roles = arguments(line.content).map(|argument| argument.role);
                let mut roles = roles.filter(|role| !role.is_empty() && !role.starts_with('<'));
                if let (Some(head), Some(tail)) = (roles.next(), roles.next()) {
                    let pair = if head == "Arg2" { [tail, head] } else { [head, tail] };
                    project.roles.entry(name.to_owned()).or_default().push(pair.map(str::to_owned));
                }
            }
        }
        project
    }

    /// The role names of a relation type, head and tail; several pairs where it is listed several times.
    pub fn roles(&self, relation: &str) -> &[[String; 2]] {
        self.roles.get(relation).map_or(&[], Vec::as_slice)
    }

    /// Whether a type is an event type.
    pub fn is_event(&self, name: &str) -> bool {
        self.events.contains(name)
    }
}

/// A line with content.
pub(crate) struct ConfigLine<'a> {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The section in lower case; empty before the first one.
    pub(crate) section: String,
    /// The line with its indentation.
    pub(crate) raw: &'a str,
    /// The line, trimmed.
    pub(crate) content: &'a str,
}

/// The lines of a configuration except section headers, comments and separators.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = ConfigLine<'_>> {
    let mut section = String::new();
    (1..).zip(without_mark(text).lines()).filter_map(move |(number, raw)| {
        let content = raw.trim();
        if content.is_empty() || content.starts_with('#') || content.chars().all(|c| c == '-') {
            return None;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_lowercase();
            return None;
        }
        Some(ConfigLine { number, section: section.clone(), raw, content })
    })
}

/// A part of a relation's line: `Arg1:A|B`, or `<REL-TYPE>:symmetric`.
pub(crate) struct Argument<'a> {
    /// Empty for a part without a role.
    pub(crate) role: &'a str,
    /// The rest, or the whole of a part without a role.
    pub(crate) types: &'a str,
}

/// The parts of a relation's line after its type.
pub(crate) fn arguments(content: &str) -> impl Iterator<Item = Argument<'_>> {
    let rest = content.split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
    rest.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| match part.split_once(':') {
        Some((role, types)) => Argument { role: role.trim(), types: types.trim() },
        None => Argument { role: "", types: part },
    })
}
