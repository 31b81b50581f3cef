//! Reading ontologies: what is accepted, what is refused, and the messages.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tabpo_ontology::{Arguments, Constraint, EntityLabel, Keys, Ontology, OntologyError, RelationLabel, Subtype};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("ontology.toml")
}

fn error(text: &str) -> String {
    Ontology::parse(text, "o.toml").expect_err("the ontology is wrong").to_string()
}

#[test]
fn names_are_equal_in_any_composition() {
    let text = "[[entity]]\nname = \"Ger\u{e4}t\"\nsubtypes = [\"gro\u{df} f\u{fc}r\"]\n[[relation]]\nname = \"n\u{e4}chst\"\ndomain = [\"Gera\u{308}t\"]";
    let ontology = Ontology::parse(text, "o.toml").unwrap();
    let label = ontology.entity_named("Gera\u{308}t").unwrap();
    assert_eq!(ontology.mention_in_data("Gera\u{308}t/gro\u{df} fu\u{308}r").unwrap().0, label);
    assert!(ontology.subtype_named(label, "gro\u{df} fu\u{308}r").is_some());
    assert_eq!(ontology.relation_in_data("na\u{308}chst"), ontology.relation_named("n\u{e4}chst"));
    assert_eq!(ontology.relations[0].domain, [label]);
    let twins = "[[entity]]\nname = \"Ger\u{e4}t\"\n[[entity]]\nname = \"Gera\u{308}t\"";
    assert!(error(twins).contains("line 2"), "{}", error(twins));
}

#[test]
fn scierc_has_its_labels_aliases_and_symmetric_types() {
    let ontology = Ontology::read(&example("scierc")).unwrap();
    let names: Vec<&str> = ontology.entities.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["Task", "Method", "Metric", "Material", "OtherScientificTerm", "Generic"]);
    let names: Vec<&str> = ontology.relations.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["Used-for", "Feature-of", "Hyponym-of", "Part-of", "Evaluate-for", "Compare", "Conjunction"]);
    for label in &ontology.relations {
        assert_eq!(label.aliases, [label.name.to_uppercase()]);
        assert_eq!(label.symmetric, ["Compare", "Conjunction"].contains(&label.name.as_str()));
        assert_eq!(label.constraint, Constraint::Soft);
    }
    assert_eq!(ontology.relation_in_data("USED-FOR"), ontology.relation_named("Used-for"));
    assert_eq!(ontology.relation_named("USED-FOR"), None);
}

#[test]
fn clinical_renames_keys_and_has_a_hierarchy_without_relations() {
    let ontology = Ontology::read(&example("clinical")).unwrap();
    assert_eq!(ontology.keys.entity_type, "Code");
    assert_eq!(ontology.keys.subtype, "Sub-code");
    assert_eq!(ontology.keys.text, "Span");
    assert!(ontology.relations.is_empty());
    let partnership = ontology.entity_named("Partnership").unwrap();
    assert!(ontology.subtype_named(partnership, "signoff").is_some());
    assert_eq!(ontology.mention_in_data("signoff"), ontology.mention_in_data("Partnership/signoff"));
}

#[test]
fn every_error_names_line_problem_and_remedy() {
    let cases = [
        ("[[entity]]\nname = ", "o.toml:2: "),
        ("[[entity]]\nnmae = \"A\"", "o.toml:2: unknown key `nmae` in [[entity]]; did you mean `name`?"),
        ("x = 1", "o.toml:1: unknown key `x` in the file; valid: ontology, keys, entity, relation"),
        ("[[entity]]\ndescription = \"a\"", "o.toml:1: [[entity]] has no `name`"),
        ("[[entity]]\nname = 3", "o.toml:2: `name` in [[entity]] must be a string, found integer"),
        ("\n\n[ontology]\nname = \"x\"", "o.toml:1: the ontology has no entity label: add `[[entity]]` with a `name`"),
        (
            "[[entity]]\nname = \"A\"\n[[entity]]\nname = \"B\"\naliases = [\n\"A\"]",
            "o.toml:6: entity label `A` is already used on line 2",
        ),
        (
            "[[entity]]\nname = \"A\"\nsubtypes = [\"x\", { name = \"x\" }]",
            "o.toml:3: subtype `x` is already used on line 3",
        ),
        (
            "[[entity]]\nname = \"Task\"\n[[relation]]\nname = \"R\"\ndomain = [\"Taks\"]",
            "o.toml:5: unknown entity label `Taks` in `domain`; did you mean `Task`?",
        ),
        (
            "[[entity]]\nname = \"Task\"\n[[relation]]\nname = \"R\"\nconstraint = \"hrad\"",
            "o.toml:5: `constraint` is `hrad`; did you mean `hard`?",
        ),
        (
            "[ontology]\narguments = \"text\"\n[[entity]]\nname = \"Task\"",
            "o.toml:2: `arguments` is `text`; did you mean `texts`?",
        ),
        ("[[entity]]\nname = \"a\\\"b\"", "o.toml:2: `a\\\"b` is not a valid entity label: "),
        ("[[entity]]\nname = \" a\"", "o.toml:2: ` a` is not a valid entity label: "),
        ("[[entity]]\nname = \"\"", "o.toml:2: `` is not a valid entity label: "),
        (
            "[[entity]]\nname = \"A\"\n[keys]\ntype = \"text\"",
            "o.toml:4: the keys `text` and `type` are both named `text`, but belong to the same object of an answer",
        ),
    ];
    for (text, expected) in cases {
        let found = error(text);
        assert!(found.starts_with(expected), "for {text:?}\n found: {found}\n wanted: {expected}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Ontology::read(Path::new("no/such/ontology.toml")).unwrap_err();
    assert!(matches!(&error, OntologyError::Io { path, .. } if path.ends_with("ontology.toml")));
}

#[test]
fn the_same_name_may_be_a_key_of_different_objects() {
    let ontology = Ontology::parse("[[entity]]\nname = \"A\"\n[keys]\nhead = \"text\"", "o").unwrap();
    assert_eq!(ontology.keys.head, "text");
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-zäß0-9][A-Za-z 'é#=\\]-]{0,8}[a-z]"
}

/// Ontologies with names that are distinct by construction.
fn ontology() -> impl Strategy<Value = Ontology> {
    let entity = (name(), proptest::option::of(name()), "[a-z .]{0,12}", proptest::collection::vec(name(), 0..3));
    let relation = (name(), any::<bool>(), any::<bool>(), proptest::collection::vec(0u16..3, 0..3), any::<bool>());
    let lists = (proptest::collection::vec(entity, 3..5), proptest::collection::vec(relation, 0..4));
    (lists, proptest::option::of(name()), any::<bool>()).prop_map(|((entities, relations), key, by_text)| {
        let mut keys = Keys::default();
        if let Some(key) = key {
            keys.entity_type = format!("{key}*");
        }
        let entities =
            entities.into_iter().enumerate().map(|(index, (name, alias, description, subtypes))| EntityLabel {
                name: format!("{index}{name}"),
                aliases: alias.map(|alias| format!("a{index}{alias}")).into_iter().collect(),
                description: description.trim().to_owned(),
                subtypes: (0..)
                    .zip(subtypes)
                    .map(|(index, name)| Subtype { name: format!("s{index}{name}"), description: String::new() })
                    .collect(),
            });
        let relations = relations.into_iter().enumerate().map(|(index, (name, symmetric, hard, mut labels, sides))| {
            labels.sort_unstable();
            labels.dedup();
            let labels: Vec<_> = labels.into_iter().map(tabpo_ontology::EntityLabelId).collect();
            RelationLabel {
                name: format!("{index}{name}"),
                aliases: Vec::new(),
                description: String::new(),
                symmetric,
                domain: if sides { labels.clone() } else { Vec::new() },
                range: labels,
                constraint: if hard { Constraint::Hard } else { Constraint::Soft },
            }
        });
        Ontology {
            name: "test".into(),
            description: "two\nlines".into(),
            arguments: if by_text { Arguments::Texts } else { Arguments::Ids },
            keys,
            entities: entities.collect(),
            relations: relations.collect(),
        }
    })
}

proptest! {
    #[test]
    fn toml_round_trip_is_the_identity(ontology in ontology()) {
        let text = ontology.to_toml();
        let read = Ontology::parse(&text, "round trip");
        prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(ontology), "{}", text);
    }

    #[test]
    fn data_names_are_unambiguous(ontology in ontology()) {
        for label in ontology.entity_ids() {
            for subtype in ontology.subtype_ids(label) {
                let name = ontology.mention_data_name(label, Some(subtype));
                prop_assert_eq!(ontology.mention_in_data(&name), Some((label, Some(subtype))));
            }
        }
    }

    #[test]
    fn parsing_never_panics(text in "(\\[\\[?(entity|relation|keys|ontology)\\]\\]?\n|name ?= ?|\"|[a-z]|\\[|\\]|\n|domain=){0,30}") {
        let _ = Ontology::parse(&text, "fuzz");
        let _ = Ontology::from_brat(&text, "fuzz");
    }
}
