//! The reference of the configuration, as Markdown, written from the schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema;

/// Explains every key: its type, its default, its range and what it is for.
pub fn reference() -> String {
    let root = schema();
    let mut text = "# Configuration\n\n\
        A run is described by one TOML file. Every key can be overridden on the command line: `--set sft.epochs=2`. Paths \
        in the file are relative to its folder. `tabpo init` writes a file to start from, `tabpo check` looks at what \
        it leads to, and `tabpo config schema` gives the same facts to an editor.\n"
        .to_owned();
    let mut places = BTreeMap::new();
    find_places(&root, &root, "", &mut places);
    section(&root, &root, "", &mut text, &places);
    text
}

/// Finds for each type of section the place where its keys are explained: of several, the one with the shortest path.
fn find_places<'s>(root: &'s Value, schema: &'s Value, path: &str, places: &mut BTreeMap<&'s str, String>) {
    let (name, schema) = resolved(root, schema);
    if let Some(name) = name {
        let place = places.entry(name).or_insert_with(|| path.to_owned());
        if path.matches('.').count() < place.matches('.').count() {
            path.clone_into(place);
        }
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let (path, inner) = place_of(root, path, key, inner);
        find_places(root, inner, &path, places);
    }
}

/// The path of a key below another one, and the schema of what it holds. Where names are the user's, it ends in `NAME`.
fn place_of<'s>(root: &'s Value, above: &str, key: &str, schema: &'s Value) -> (String, &'s Value) {
    let path = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
    let named = &resolved(root, schema).1["additionalProperties"];
    if named.is_object() { (format!("{path}.NAME"), named) } else { (path, schema) }
}

/// Writes the keys of a section, and then the sections in it.
fn section(root: &Value, schema: &Value, path: &str, text: &mut String, places: &BTreeMap<&str, String>) {
    let (name, schema) = resolved(root, schema);
    if let Some(place) = name.and_then(|name| places.get(name)).filter(|place| *place != path) {
        *text += &format!("\nThe keys are those of `[{place}]`.\n");
        return;
    }
    let empty = Map::new();
    let keys = schema["properties"].as_object().unwrap_or(&empty);
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (sections, plain): (Vec<_>, Vec<_>) = keys.iter().partition(|(_, schema)| is_section(root, schema));
    if !plain.is_empty() {
        *text += "\n| Key | Type | Default | |\n| --- | --- | --- | --- |\n";
        for (key, schema) in plain {
            let default = if required.contains(&key.as_str()) { "required".to_owned() } else { default(schema) };
            let cells = [format!("`{key}`"), kind(root, schema), default, description(root, schema)];
            *text += &format!("| {} |\n", cells.join(" | "));
        }
    }
    if schema["additionalProperties"] == Value::Bool(true) {
        *text += "\nFurther keys are hyper-parameters of the objective; `tabpo objective --list` shows them.\n";
    }
    for (key, inner) in sections {
        let (path, of_type) = place_of(root, path, key, inner);
        let needed = if required.contains(&key.as_str()) { " (required)" } else { "" };
        *text += &format!("\n## [{path}]{needed}\n\n{}\n", description(root, inner));
        section(root, of_type, &path, text, places);
    }
}

/// The name and the schema that a reference leads to.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> (Option<&'s str>, &'s Value) {
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => (Some(name), &root["$defs"][name]),
        None => (None, schema),
    }
}

/// Whether a key holds keys with explanations of their own.
fn is_section(root: &Value, schema: &Value) -> bool {
    let (_, schema) = resolved(root, schema);
    schema["properties"].is_object() || resolved(root, &schema["additionalProperties"]).1["properties"].is_object()
}

fn description(root: &Value, schema: &Value) -> String {
    let own = schema["description"].as_str();
    let text = own.or_else(|| resolved(root, schema).1["description"].as_str()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A value as it is written in TOML.
fn written(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "`{}`".to_owned(),
        Value::Number(number) if number.is_f64() => format!("`{:?}`", number.as_f64().unwrap_or_default()),
        value => format!("`{value}`"),
    }
}

fn default(schema: &Value) -> String {
    schema.get("default").map_or_else(|| "none".to_owned(), written)
}

/// The type and the range of a value.
fn kind(root: &Value, schema: &Value) -> String {
    let (_, schema) = resolved(root, schema);
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        return choices.iter().map(|choice| kind(root, choice)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(value) = schema.get("const") {
        return written(value);
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.iter().map(written).collect::<Vec<_>>().join(", ");
    }
    let kind = match schema["type"].as_str().unwrap_or_default() {
        "integer" => "whole number".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!("list of: {}", self::kind(root, &schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("table of: {}", self::kind(root, &schema["additionalProperties"]))
        }
        "object" => "table".to_owned(),
        other => other.to_owned(),
    };
    let bound = |name: &str| schema.get(name).map(|value| written(value).trim_matches('`').to_owned());
    let range = [
        bound("minimum").map(|least| format!("at least {least}")),
        bound("exclusiveMinimum").map(|least| format!("above {least}")),
        bound("maximum").map(|most| format!("at most {most}")),
        bound("exclusiveMaximum").map(|most| format!("below {most}")),
    ];
    let range: Vec<String> = range.into_iter().flatten().collect();
    if range.is_empty() { kind } else { format!("{kind}, {}", range.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_a_line_for_every_key_of_the_schema() {
        let text = reference();
        let root = schema();
        let mut count = 0;
        for (name, definition) in root["$defs"].as_object().expect("sections") {
            for key in definition["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
                let row = format!("\n| `{key}` |");
                let heading =
                    [format!(".{key}]"), format!("[{key}]"), format!("[{key}.NAME]"), format!(".{key}.NAME]")];
                assert!(text.contains(&row) || heading.iter().any(|end| text.contains(end)), "{name}: {key}");
                count += 1;
            }
        }
        assert!(count > 60, "{count}");
        for line in [
            "| `epochs` | number, above 0.0, at most 1000000.0 | `3.0` | Passes over the examples; ignored where `steps` is given. |",
            "| `schedule` | `\"constant\"`, `\"linear\"`, `\"cosine\"` | `\"cosine\"` |",
            "| `name` | text | required | The name that the report shows. |",
            "## [preference.system.NAME]",
            "The keys are those of `[sft]`.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        // Words of the programming language help nobody.
        for word in ["null", "usize", "uint", "PathBuf", "Option"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
