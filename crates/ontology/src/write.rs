//! Writing an ontology as TOML.

use toml::{Table, Value};

use crate::{Arguments, Constraint, EntityLabelId, Keys, Ontology};

impl Ontology {
    /// The ontology as a TOML file that [`Ontology::parse`] reads back to the same ontology.
    pub fn to_toml(&self) -> String {
        let mut root = Table::new();
        let mut header = Table::new();
        put(&mut header, "name", &self.name);
        put(&mut header, "description", &self.description);
        if self.arguments != Arguments::default() {
            put(&mut header, "arguments", self.arguments.name());
        }
        if !header.is_empty() {
            root.insert("ontology".into(), Value::Table(header));
        }
        let keys = self.renamed_keys();
        if !keys.is_empty() {
            root.insert("keys".into(), Value::Table(keys));
        }
        root.insert("entity".into(), Value::Array(self.entities_as_toml()));
        if !self.relations.is_empty() {
            root.insert("relation".into(), Value::Array(self.relations_as_toml()));
        }
        toml::to_string_pretty(&root).expect("a table of strings, booleans, lists and tables is valid TOML")
    }

    fn renamed_keys(&self) -> Table {
        let as_table = |keys: &Keys| Table::try_from(keys).expect("keys are a table of strings");
        let defaults = as_table(&Keys::default());
        as_table(&self.keys).into_iter().filter(|(key, name)| defaults.get(key) != Some(name)).collect()
    }

    fn entities_as_toml(&self) -> Vec<Value> {
        let mut list = Vec::new();
        for label in &self.entities {
            let mut table = Table::new();
            put(&mut table, "name", &label.name);
            put_list(&mut table, "aliases", label.aliases.iter().map(String::as_str));
            put(&mut table, "description", &label.description);
            if !label.subtypes.is_empty() {
                let subtypes = label.subtypes.iter().map(|subtype| {
                    let mut entry = Table::new();
                    put(&mut entry, "name", &subtype.name);
                    put(&mut entry, "description", &subtype.description);
                    Value::Table(entry)
                });
                table.insert("subtypes".into(), Value::Array(subtypes.collect()));
            }
            list.push(Value::Table(table));
        }
        list
    }

    fn relations_as_toml(&self) -> Vec<Value> {
        let names = |ids: &[EntityLabelId]| ids.iter().map(|&id| self.entity(id).name.clone()).collect::<Vec<_>>();
        let mut list = Vec::new();
        for label in &self.relations {
            let mut table = Table::new();
            put(&mut table, "name", &label.name);
            put_list(&mut table, "aliases", label.aliases.iter().map(String::as_str));
            put(&mut table, "description", &label.description);
            if label.symmetric {
                table.insert("symmetric".into(), Value::Boolean(true));
            }
            put_list(&mut table, "domain", names(&label.domain).iter().map(String::as_str));
            put_list(&mut table, "range", names(&label.range).iter().map(String::as_str));
            if label.constraint == Constraint::Hard {
                put(&mut table, "constraint", "hard");
            }
            list.push(Value::Table(table));
        }
        list
    }
}

/// Inserts a string unless it is empty.
fn put(table: &mut Table, key: &str, value: &str) {
    if !value.is_empty() {
        table.insert(key.into(), Value::String(value.into()));
    }
}

/// Inserts a list of strings unless it is empty.
fn put_list<'a>(table: &mut Table, key: &str, values: impl Iterator<Item = &'a str>) {
    let list: Vec<Value> = values.map(|value| Value::String(value.into())).collect();
    if !list.is_empty() {
        table.insert(key.into(), Value::Array(list));
    }
}
