//! The JSON Schema of a configuration, for editors and for the reference. It is generated from the sections themselves:
//! types, defaults and doc comments are theirs, ranges those of [`crate::range`].

use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value};
use tabpo_remote::Settings;

use super::Configuration;

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Configuration>();
    let mut schema = Schema::to_value(schema);
    for (key, least, most) in Settings::ranges() {
        let key = &mut schema["$defs"]["Settings"]["properties"][key];
        // A number, or the number among alternatives.
        let number = if key["anyOf"].is_array() { &mut key["anyOf"][0] } else { key };
        let whole = number["type"] == "integer";
        let limit = |limit: f64| if whole { Value::from(limit as u64) } else { limit.into() };
        number["minimum"] = limit(least);
        number["maximum"] = limit(most);
    }
    // Any seed is valid that TOML can hold.
    schema["$defs"]["Settings"]["properties"]["seed"]["maximum"] = i64::MAX.into();
    plain(&mut schema);
    schema
}

/// Removes what says nothing about a TOML file: null, which TOML doesn't have, and the widths of numbers.
fn plain(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(plain),
        Value::Object(object) => {
            object.remove("format");
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    object.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Value::Object(only)] = choices.as_slice() {
                    let only: Map<String, Value> = only.clone();
                    object.remove("anyOf");
                    // What is said of the key goes before what is said of its type.
                    for (name, inner) in only {
                        object.entry(name).or_insert(inner);
                    }
                }
            }
            object.values_mut().for_each(plain);
        }
        _ => {}
    }
}

/// The schemas of keys whose values are names.
pub(super) mod names {
    use schemars::{Schema, SchemaGenerator, json_schema};
    use tabpo_engine::Compute;
    use tabpo_model::Projection;
    use tabpo_ontology::AnswerForm;
    use tabpo_pairs::Source;
    use tabpo_train::Decay;

    use crate::{
        config::{SourceShare, ThresholdChoice},
        range,
    };

    /// The name that serde gives a value.
    fn name(value: impl serde::Serialize) -> serde_json::Value {
        serde_json::to_value(value).expect("a name")
    }

    fn one_of<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> Schema {
        let names: Vec<serde_json::Value> = values.into_iter().map(name).collect();
        json_schema!({"type": "string", "enum": names})
    }

    pub(in crate::config) fn level(_: &mut SchemaGenerator) -> Schema {
        one_of([tabpo_corpus::Level::Sentence, tabpo_corpus::Level::Document])
    }

    pub(in crate::config) fn form(_: &mut SchemaGenerator) -> Schema {
        one_of(AnswerForm::ALL)
    }

    pub(in crate::config) fn compute(_: &mut SchemaGenerator) -> Schema {
        one_of([Compute::Auto, Compute::F32, Compute::Bf16])
    }

    pub(in crate::config) fn device(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]{1,3})?)$"})
    }

    pub(in crate::config) fn schedule(_: &mut SchemaGenerator) -> Schema {
        one_of([Decay::Constant, Decay::Linear, Decay::Cosine])
    }

    pub(in crate::config) fn threshold(_: &mut SchemaGenerator) -> Schema {
        one_of([ThresholdChoice::None, ThresholdChoice::Tuned])
    }

    pub(in crate::config) fn targets(_: &mut SchemaGenerator) -> Schema {
        let items = one_of(Projection::ALL.map(Projection::module));
        json_schema!({"type": "array", "items": items, "minItems": 1, "uniqueItems": true})
    }

    pub(in crate::config) fn sources(_: &mut SchemaGenerator) -> Schema {
        let names = Source::ALL.map(|source| SourceShare::equal(source).to_string()).join("|");
        let pattern = format!("^({names})(=[0-9.eE+-]+)?$");
        json_schema!({"type": "array", "items": {"type": "string", "pattern": pattern}, "minItems": 1})
    }

    pub(in crate::config) fn mix(_: &mut SchemaGenerator) -> Schema {
        let mut share = json_schema!({"type": "number"});
        range::WEIGHT.stated()(&mut share);
        json_schema!({"type": "object", "additionalProperties": share})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Overrides, range};

    /// A configuration in which every optional section and key stands.
    const FULL: &str = r#"
[run]
name = "full"
directory = "run"
[ontology]
[data]
dir = "d"
[data.synthetic]
[model]
chat_template = "plain"
[adapter]
rank = 8
[warmup]
sentences = 4
copies = 2
[sft]
steps = 3
memory_gb = 4.0
[pairs.mix]
label = 1.0
[preference]
objectives = ["dpo"]
learning_rates = [1e-4]
[preference.system.dpo]
learning_rate = 1e-4
equal_flops = true
[predict]
memory_gb = 1.0
[predict.remote.hosted]
endpoint = "https://host/v1"
model = "m"
requests_per_minute = 60.0
tokens_per_minute = 60.0
"#;

    fn read(set: &[String]) -> Result<Configuration, crate::Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("full.toml");
        std::fs::write(&file, FULL).expect("a file");
        Configuration::read(&file, &Overrides { set: set.to_vec(), ..Overrides::default() })
    }

    /// Follows a reference.
    fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            Some(name) => &root["$defs"][name],
            None => schema,
        }
    }

    /// Calls `see` with every key of the schema: its dotted path (`*` is a name of the user's) and its schema.
    fn walk<'s>(root: &'s Value, schema: &'s Value, path: &str, see: &mut dyn FnMut(&str, &'s Value)) {
        let schema_of = resolved(root, schema);
        for (key, inner) in schema_of["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            see(&path, inner);
            walk(root, inner, &path, see);
        }
        if schema_of["additionalProperties"].is_object() {
            walk(root, &schema_of["additionalProperties"], &format!("{path}.*"), see);
        }
    }

    /// The dotted paths of all keys of a value; `*` is a name of the user's.
    fn keys(value: &Value, path: &str, all: &mut Vec<String>) {
        for (key, inner) in value.as_object().into_iter().flatten() {
            let named = ["preference.system", "predict.remote"].contains(&path);
            let key = if named { "*" } else { key };
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            if !named {
                all.push(path.clone());
            }
            if !["pairs.mix", "predict.remote.*.extra"].contains(&path.as_str()) {
                keys(inner, &path, all);
            }
        }
    }

    #[test]
    fn no_key_is_missing() {
        // What serde writes of a configuration in which everything stands is what it reads.
        let config = read(&[]).expect("valid");
        let written = serde_json::to_value(&config).expect("plain data");
        let root = schema();
        let mut described = std::collections::BTreeSet::new();
        walk(&root, &root, "", &mut |path, schema| {
            assert!(schema["description"].is_string() || resolved(&root, schema)["description"].is_string(), "{path}");
            described.insert(path.to_owned());
        });
        let mut all = Vec::new();
        keys(&written, "", &mut all);
        assert!(all.len() > 90, "the configuration of this test lost its keys: {}", all.len());
        for key in all {
            assert!(described.contains(&key), "{key} is not in the schema");
        }
    }

    #[test]
    fn stated_ranges_are_those_that_are_checked() {
        let root = schema();
        let mut tried = 0;
        walk(&root, &root, "", &mut |path, schema| {
            let inside_list = schema["items"].is_object();
            let schema = if inside_list { &schema["items"] } else { schema };
            let schema = if schema["anyOf"].is_array() { &schema["anyOf"][0] } else { schema };
            let whole = schema["type"] == "integer";
            if !whole && schema["type"] != "number" {
                return;
            }
            let limit = |name: &str, exclusive: &str| {
                let open = schema[exclusive].as_f64();
                let value = open.or(schema[name].as_f64()).unwrap_or_else(|| panic!("{path} has no {name}"));
                (value, open.is_some())
            };
            let (least, above) = limit("minimum", "exclusiveMinimum");
            let (most, below) = limit("maximum", "exclusiveMaximum");
            let key = path.replace("system.*", "system.dpo").replace("remote.*", "remote.hosted");
            let refusal = |value: f64| {
                let value = if whole { format!("{value:.0}") } else { format!("{value:?}") };
                let value = if inside_list { format!("[{value}]") } else { value };
                let error = read(&[format!("{key}={value}")]).err()?;
                Some(error.to_string())
            };
            let step = if whole { 1.0 } else { 1e-3 };
            for (value, inside) in [(least, !above), (most, !below), (least - step, false), (most * 1.1 + step, false)]
            {
                // Seeds end where TOML's integers do, which f64 doesn't hold exactly.
                if value.abs() > 9e15 {
                    continue;
                }
                // Remote settings are checked when the run begins.
                if key.starts_with("predict.remote") {
                    let config = read(&[format!(
                        "{key}={}",
                        if whole { format!("{:.0}", value.max(0.0)) } else { format!("{value:?}") }
                    )]);
                    let Ok(config) = config else { continue };
                    let refused =
                        config.predict.remote["hosted"].check().is_err_and(|error| error.to_string().contains("from"));
                    assert!(inside || refused || value < 0.0, "{key} = {value}");
                    continue;
                }
                let said = refusal(value);
                let refused = said.as_ref().is_some_and(|said| {
                    said.contains("must be") || said.contains("expected a whole number of at least 0")
                });
                assert_eq!(!inside, refused, "{key} = {value}: {said:?}");
            }
            tried += 1;
        });
        assert!(tried > 50, "only {tried} numbers");
        assert!(range::BATCH.check("b", 1).is_ok());
    }

    #[test]
    fn examples_are_valid_under_the_schema() {
        let root = schema();
        let validator = jsonschema::validator_for(&root).expect("a schema");
        let valid = |text: &str| {
            let value: Value = serde_json::to_value(toml::from_str::<toml::Table>(text).expect("TOML")).expect("JSON");
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect::<Vec<_>>()
        };
        assert_eq!(valid(FULL), [""; 0]);
        let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(examples).expect("examples") {
            let path = entry.expect("an entry").path();
            let text = if path.is_file() { std::fs::read_to_string(&path).expect("text") } else { String::new() };
            if text.contains("[preference]") {
                assert_eq!(valid(&text), [""; 0], "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen >= 3, "{seen} examples");
        for (from, to) in [
            ("rank = 8", "rank = 0"),
            ("rank = 8", "rnk = 8"),
            ("[pairs.mix]", "[pairs]\nsources = [\"mods\"]\n[pairs.mix]"),
            ("steps = 3", "steps = \"3\""),
        ] {
            assert_eq!(valid(&FULL.replacen(from, to, 1)).len(), 1, "{to}");
        }
    }
}
