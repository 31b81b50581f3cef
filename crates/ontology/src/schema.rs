//! JSON Schema of an answer.

use serde_json::{Map, Value, json};

use crate::{Arguments, EntityLabel, Ontology};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

impl Ontology {
    /// The JSON Schema (draft 2020-12) that decides whether an answer is schema-valid: exactly the
    /// keys of the ontology, non-blank texts, known labels, numbers that are integers of at least 1, ids on all entities
    /// or on none, and only in the latter case numbers of arguments. Both ways of naming arguments are accepted.
    ///
    /// A schema cannot say that ids are unique, that relations refer to entities of the answer, or that
    /// texts occur in the source; the parser checks that.
    pub fn json_schema(&self) -> Value {
        let keys = &self.keys;
        let mut schema = self.answer_schema(Dialect::Strict);
        let object = schema.as_object_mut().expect("an answer is an object");
        let with_ids = json!({"items": {"required": [keys.id]}});
        let without_ids = json!({"items": {"properties": {(keys.id.clone()): false}}});
        let mut ways = [json!({(keys.entities.clone()): with_ids}), json!({(keys.entities.clone()): without_ids})];
        if !self.relations.is_empty() {
            let without = json!({(keys.head_number.clone()): false, (keys.tail_number.clone()): false});
            ways[0][&keys.relations] = json!({"items": {"properties": without}});
        }
        object.insert("anyOf".into(), ways.map(|properties| json!({"properties": properties})).to_vec().into());
        object.shift_insert(0, "$schema".into(), DRAFT.into());
        if !self.name.is_empty() {
            object.shift_insert(1, "title".into(), self.name.clone().into());
        }
        schema
    }

    /// The JSON Schema for hosted structured output, in the subset that providers have in common: every
    /// property is required, optional ones may be null, no other properties, no limits on lengths or
    /// numbers. Remove nulls before checking an answer against [`Ontology::json_schema`].
    pub fn json_schema_strict(&self) -> Value {
        self.answer_schema(Dialect::Hosted)
    }

    fn answer_schema(&self, dialect: Dialect) -> Value {
        let entities = json!({"type": "array", "items": self.entity_schema(dialect)});
        let mut properties = Map::new();
        properties.insert(self.keys.entities.clone(), entities);
        if !self.relations.is_empty() {
            let relations = json!({"type": "array", "items": self.relation_schema(dialect)});
            properties.insert(self.keys.relations.clone(), relations);
        }
        let required = properties.keys().cloned().collect();
        object_schema(properties, required)
    }

    /// One object where no label has sub-labels; otherwise a choice, because the sub-labels depend
    /// on the label.
    fn entity_schema(&self, dialect: Dialect) -> Value {
        let plain: Vec<&EntityLabel> = self.entities.iter().filter(|label| label.subtypes.is_empty()).collect();
        let mut choices = Vec::new();
        if !plain.is_empty() {
            let names: Vec<&str> = plain.iter().map(|label| label.name.as_str()).collect();
            let with_null = plain.len() < self.entities.len() && dialect == Dialect::Hosted;
            let subtype = with_null.then(|| json!({"type": "null"}));
            choices.push(self.entity_object(&names, subtype, dialect));
        }
        for label in self.entities.iter().filter(|label| !label.subtypes.is_empty()) {
            let subtypes: Vec<&str> = label.subtypes.iter().map(|subtype| subtype.name.as_str()).collect();
            let subtype = json!({"type": "string", "enum": subtypes});
            choices.push(self.entity_object(&[&label.name], Some(subtype), dialect));
        }
        if choices.len() == 1 { choices.remove(0) } else { json!({"anyOf": choices}) }
    }

    fn entity_object(&self, labels: &[&str], subtype: Option<Value>, dialect: Dialect) -> Value {
        let keys = &self.keys;
        let mut properties = Map::new();
        let mut required = vec![keys.text.clone(), keys.entity_type.clone()];
        if dialect == Dialect::Strict || self.writes_ids() {
            properties.insert(keys.id.clone(), dialect.string(json!({"minLength": 1})));
        }
        properties.insert(keys.text.clone(), dialect.string(json!({"pattern": r"\S"})));
        properties.insert(keys.entity_type.clone(), json!({"type": "string", "enum": labels}));
        if let Some(subtype) = subtype {
            properties.insert(keys.subtype.clone(), subtype);
            required.push(keys.subtype.clone());
        }
        properties.insert(keys.occ.clone(), dialect.number());
        if dialect == Dialect::Hosted {
            required = properties.keys().cloned().collect();
        }
        object_schema(properties, required)
    }

    fn relation_schema(&self, dialect: Dialect) -> Value {
        let keys = &self.keys;
        let names: Vec<&str> = self.relations.iter().map(|label| label.name.as_str()).collect();
        let mut properties = Map::new();
        let mut required = Vec::new();
        let numbers = dialect == Dialect::Strict || self.arguments == Arguments::Texts;
        let mut argument = |properties: &mut Map<String, Value>, key: &String, number: &String| {
            properties.insert(key.clone(), dialect.string(json!({"minLength": 1})));
            required.push(key.clone());
            if numbers {
                properties.insert(number.clone(), dialect.number());
            }
        };
        argument(&mut properties, &keys.head, &keys.head_number);
        properties.insert(keys.relation_type.clone(), json!({"type": "string", "enum": names}));
        argument(&mut properties, &keys.tail, &keys.tail_number);
        required.insert(1, keys.relation_type.clone());
        if dialect == Dialect::Hosted {
            required = properties.keys().cloned().collect();
        }
        object_schema(properties, required)
    }
}

/// Which rules a schema states.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// All of them.
    Strict,
    /// Those that hosted structured output can enforce.
    Hosted,
}

impl Dialect {
    /// A number counted from 1.
    fn number(self) -> Value {
        match self {
            Dialect::Strict => json!({"type": "integer", "minimum": 1}),
            Dialect::Hosted => json!({"type": ["integer", "null"]}),
        }
    }

    /// A string, with limits where the dialect knows them.
    fn string(self, limits: Value) -> Value {
        let mut schema = json!({"type": "string"});
        if let (Dialect::Strict, Value::Object(limits)) = (self, limits) {
            schema.as_object_mut().expect("built as an object").extend(limits);
        }
        schema
    }
}

fn object_schema(properties: Map<String, Value>, required: Vec<String>) -> Value {
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("required".into(), required.into());
    schema.insert("additionalProperties".into(), false.into());
    Value::Object(schema)
}
