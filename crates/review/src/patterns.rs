//! Ambiguity patterns that corrections propose, in the form that `pairs.patterns` reads.
//!
//! A pattern is proposed where the same correction was made at least [`LEAST`] times. Where the words repeat too, it
//! applies to those words alone.

use std::collections::BTreeMap;

use tabpo_corpus::{Span, Unit};

use crate::corrections::Correction;

/// Corrections of one kind that make a pattern.
pub(crate) const LEAST: usize = 2;
/// At most so many examples are named in a rationale.
const EXAMPLES: usize = 3;
/// Words that join two phrases, at which a span that is too long or too short may be cut.
const JOINTS: [&str; 9] = ["of", "for", "in", "on", "with", "from", "and", "or", "to"];

/// A pattern in the making: what it says apart from its words and examples.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    kind: &'static str,
    from: Option<String>,
    to: Option<String>,
    /// Further keys.
    more: Vec<(&'static str, String)>,
}

/// The corrections of one form.
#[derive(Default)]
struct Group {
    count: usize,
    /// The words that a condition or a change may name, with how often each occurred.
    words: BTreeMap<String, usize>,
    examples: Vec<String>,
}

/// Collects corrections and proposes patterns.
#[derive(Default)]
pub(crate) struct Proposals {
    groups: BTreeMap<Form, Group>,
    corrections: usize,
}

impl Proposals {
    /// Adds the corrections of one text.
    pub(crate) fn add(&mut self, unit: &Unit<'_>, corrections: &[Correction]) {
        for correction in corrections {
            self.corrections += 1;
            let Some((form, word, example)) = form(unit, correction) else { continue };
            let group = self.groups.entry(form).or_default();
            group.count += 1;
            if let Some(word) = word {
                *group.words.entry(word).or_default() += 1;
            }
            if group.examples.len() < EXAMPLES && !group.examples.contains(&example) {
                group.examples.push(example);
            }
        }
    }

    /// The number of corrections.
    pub(crate) fn corrections(&self) -> usize {
        self.corrections
    }

    fn proposed(&self) -> impl Iterator<Item = (&Form, &Group)> {
        self.groups.iter().filter(|(_, group)| group.count >= LEAST)
    }

    /// The number of patterns.
    pub(crate) fn len(&self) -> usize {
        self.proposed().count()
    }

    /// The patterns as a file.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = format!(
            "# Ambiguity patterns proposed by `tabpo review` from {}. Read them before you use them: delete what is\n\
             # chance, and add what you know. A run takes them with `pairs.patterns`.\n",
            counted(self.corrections, "correction")
        );
        for (number, (form, group)) in (1..).zip(self.proposed()) {
            text += &format!("\n[[pattern]]\nid = \"review-{number}\"\nkind = {}\n", quoted(form.kind));
            for (key, name) in [("from", &form.from), ("to", &form.to)] {
                if let Some(name) = name {
                    text += &format!("{key} = [{}]\n", quoted(name));
                }
            }
            for (key, value) in &form.more {
                text += &format!("{key} = {value}\n");
            }
            let words = list(group.words.keys());
            if form.kind == "boundary" {
                if !group.words.is_empty() {
                    text += &format!("words = {words}\n");
                }
            } else if !group.words.is_empty() && 2 * group.words.len() <= group.count {
                text += &format!("when = {{ head_word = {words} }}\n");
            }
            let rationale = format!("{} in review: {}", counted(group.count, "correction"), group.examples.join("; "));
            text += &format!("weight = {:.1}\nrationale = {}\n", group.count as f64, quoted(&rationale));
        }
        if self.len() == 0 {
            text += &format!("# None yet: no correction was made {LEAST} times.\n");
        }
        text
    }
}

/// What a correction has in common with others, a word of it, and what to show of it.
fn form(unit: &Unit<'_>, correction: &Correction) -> Option<(Form, Option<String>, String)> {
    let first = unit.span().start;
    let word = |token: u32| unit.document.token((first + token) as usize).to_lowercase();
    let text = |span: Span| {
        let words = unit.document.span_text(Span::new(first + span.start, first + span.end));
        format!("“{}”", words.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let last = |span: Span| Some(word(span.end - 1)).filter(|word| word.chars().any(char::is_alphanumeric));
    let simple = |kind, from: Option<&String>, to: Option<&String>| Form {
        kind,
        from: from.cloned(),
        to: to.cloned(),
        more: Vec::new(),
    };
    Some(match correction {
        Correction::Label { right, wrong, span } => {
            let example = format!("{} is {right}, not {wrong}", text(*span));
            (simple("label", Some(right), Some(wrong)), last(*span), example)
        }
        Correction::Subtype { right, wrong, span } => {
            let example = format!("{} is {right}, not {wrong}", text(*span));
            (simple("subtype", Some(right), Some(wrong)), last(*span), example)
        }
        Correction::Boundary { label, right, wrong } => {
            let (change, words) = change(*right, *wrong, &word)?;
            let more = vec![("change", quoted(change))];
            let example = format!("{}, not {}", text(*right), text(*wrong));
            (Form { more, ..simple("boundary", Some(label), None) }, words, example)
        }
        Correction::Missing { label, span } => {
            (simple("drop-entity", Some(label), None), last(*span), format!("{} is {label}", text(*span)))
        }
        Correction::Spurious { label, span } => {
            (simple("add-entity", None, Some(label)), last(*span), format!("{} is not {label}", text(*span)))
        }
        Correction::RelationLabel { right, wrong } => {
            (simple("relation-label", Some(right), Some(wrong)), None, format!("{right}, not {wrong}"))
        }
        Correction::Direction { label } => {
            (simple("direction", Some(label), None), None, format!("{label} the other way round"))
        }
        Correction::Argument { label, head, wrong } => {
            let side = if *head { "head" } else { "tail" };
            let more = vec![("argument", quoted(side))];
            let example = format!("another {side} of {label} than a {wrong}");
            (Form { more, ..simple("argument", Some(label), Some(wrong)) }, None, example)
        }
        Correction::MissingRelation { label } => {
            (simple("drop-relation", Some(label), None), None, format!("a missing {label}"))
        }
        Correction::SpuriousRelation { label } => {
            (simple("add-relation", None, Some(label)), None, format!("no {label}"))
        }
    })
}

/// The change of a `boundary` pattern that leads from the right span to the wrong one, and the word that it names; none
/// for a difference that no change describes.
fn change(right: Span, wrong: Span, word: &impl Fn(u32) -> String) -> Option<(&'static str, Option<String>)> {
    let (outer, inner) = if right.contains(wrong) { (right, wrong) } else { (wrong, right) };
    if !outer.contains(inner) {
        return None;
    }
    let (before, after) = (inner.start - outer.start, outer.end - inner.end);
    match (before, after) {
        (1, 0) => Some(("edge-word", Some(word(outer.start)))),
        (0, 3) if word(inner.end) == "(" && word(outer.end - 1) == ")" => Some(("acronym", None)),
        (0, 2..) if JOINTS.contains(&word(inner.end).as_str()) => Some(("phrase", Some(word(inner.end)))),
        (2.., 0) if JOINTS.contains(&word(inner.start - 1).as_str()) => Some(("phrase", Some(word(inner.start - 1)))),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<'w>(words: impl Iterator<Item = &'w String>) -> String {
    format!("[{}]", words.map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
