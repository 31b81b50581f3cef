//! The chat templates of a file: one, and others under names, such as one for conversations with tools.

use std::collections::BTreeMap;

use tabpo_gguf::{Metadata, MetadataError};

const TEMPLATE: &str = "tokenizer.chat_template";
const NAMES: &str = "tokenizer.chat_templates";
const DEFAULT: &str = "default";

fn key(name: &str) -> String {
    format!("{TEMPLATE}.{name}")
}

/// The templates by name; the one without a name is `default`.
pub(super) fn read(metadata: &Metadata) -> Result<BTreeMap<String, String>, MetadataError> {
    let mut templates = BTreeMap::new();
    if let Some(template) = metadata.optional::<&str>(TEMPLATE)? {
        templates.insert(DEFAULT.to_owned(), template.to_owned());
    }
    for name in metadata.optional::<&[String]>(NAMES)?.unwrap_or_default() {
        // In a folder the names are names of files.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            return Err(MetadataError::Unexpected {
                key: NAMES.to_owned(),
                found: format!("{name:?}"),
                expected: "names of letters, digits, `_` and `-`".to_owned(),
            });
        }
        templates.insert(name.clone(), metadata.required::<&str>(&key(name))?.to_owned());
    }
    Ok(templates)
}

/// Adds the keys of templates by name.
pub(super) fn write(templates: &BTreeMap<String, String>, metadata: &mut Metadata) {
    if let Some(template) = templates.get(DEFAULT) {
        metadata.insert(TEMPLATE, template.as_str());
    }
    let others: Vec<String> = templates.keys().filter(|name| *name != DEFAULT).cloned().collect();
    for name in &others {
        metadata.insert(key(name), templates[name].as_str());
    }
    if !others.is_empty() {
        metadata.insert(NAMES, others);
    }
}
