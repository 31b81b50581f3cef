//! What is made from an ontology (JSON Schema, the prompt section), and ontologies made from brat's
//! configuration.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use tabpo_ontology::{AnswerGrammar, AnswerLimits, Arguments, BratProject, Constraint, Ontology};

fn example(name: &str) -> Ontology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("ontology.toml");
    Ontology::read(&path).unwrap()
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::draft202012::options().build(schema).expect("the schema is valid")
}

#[test]
fn the_schema_accepts_answers_and_refuses_every_fault() {
    let validator = validator(&example("scierc").json_schema());
    let entity = json!({"id": "e1", "text": "optical flow", "type": "Task"});
    let other = json!({"id": "e2", "text": "stereo", "type": "Method", "occ": 2});
    let relation = json!({"head": "e1", "type": "Used-for", "tail": "e2"});
    let unnamed = json!({"text": "a", "type": "Task"});
    let numbered = json!({"head": "a", "head_number": 1, "type": "Used-for", "tail": "a", "tail_number": 2});
    let valid = [
        json!({"entities": [], "relations": []}),
        json!({"entities": [entity, other], "relations": [relation]}),
        json!({"entities": [{"text": "a", "type": "Generic"}], "relations": []}),
        json!({"entities": [unnamed, unnamed], "relations": [numbered]}),
    ];
    for answer in valid {
        assert!(validator.is_valid(&answer), "{answer}");
    }
    let with_entity = |entity: Value| json!({"entities": [entity], "relations": []});
    let with_relation = |relation: Value| json!({"entities": [], "relations": [relation]});
    let invalid = [
        json!([]),
        json!({"entities": []}),
        json!({"entities": [], "relations": [], "notes": ""}),
        with_entity(json!({"text": "a", "type": "Taks"})),
        with_entity(json!({"text": " ", "type": "Task"})),
        with_entity(json!({"text": "a"})),
        with_entity(json!({"text": "a", "type": "Task", "subtype": "x"})),
        with_entity(json!({"text": "a", "type": "Task", "occ": 0})),
        with_entity(json!({"text": "a", "type": "Task", "occ": "1"})),
        with_entity(json!({"id": "", "text": "a", "type": "Task"})),
        json!({"entities": [entity, {"text": "a", "type": "Task"}], "relations": []}),
        with_relation(json!({"head": "e1", "type": "USED-FOR", "tail": "e2"})),
        with_relation(json!({"head": "e1", "type": "Used-for"})),
        with_relation(json!({"head": "a", "head_number": 0, "type": "Used-for", "tail": "b"})),
        json!({"entities": [entity], "relations": [numbered]}),
        with_relation(json!({"head": "", "type": "Used-for", "tail": "e2"})),
        with_relation(json!({"head": "e1", "type": "Used-for", "tail": "e2", "x": 1})),
    ];
    for answer in invalid {
        assert!(!validator.is_valid(&answer), "{answer}");
    }
}

#[test]
fn sub_labels_depend_on_the_label_and_keys_are_renamed() {
    let ontology = example("clinical");
    let validator = validator(&ontology.json_schema());
    let answer = |entity: Value| json!({"entities": [entity]});
    assert!(validator.is_valid(&answer(json!({"Span": "Best, Ana", "Code": "Partnership", "Sub-code": "signoff"}))));
    assert!(validator.is_valid(&answer(json!({"Span": "chest pain", "Code": "Urgent"}))));
    assert!(!validator.is_valid(&answer(json!({"Span": "a", "Code": "Urgent", "Sub-code": "signoff"}))));
    assert!(!validator.is_valid(&answer(json!({"Span": "a", "Code": "Symptom", "Sub-code": "signoff"}))));
    assert!(!validator.is_valid(&answer(json!({"Span": "a", "Code": "Symptom"}))));
    assert!(!validator.is_valid(&answer(json!({"text": "a", "Code": "Urgent"}))));
    assert!(!validator.is_valid(&json!({"entities": [], "relations": []})));
}

/// Calls `visit` on every object schema inside.
fn each_object(schema: &Value, visit: &mut impl FnMut(&Value)) {
    match schema {
        Value::Object(map) => {
            if map.get("type") == Some(&json!("object")) {
                visit(schema);
            }
            map.values().for_each(|inner| each_object(inner, visit));
        }
        Value::Array(list) => list.iter().for_each(|inner| each_object(inner, visit)),
        _ => {}
    }
}

#[test]
fn the_hosted_schema_requires_everything_and_limits_nothing() {
    for (name, arguments) in [("scierc", Arguments::Ids), ("scierc", Arguments::Texts), ("clinical", Arguments::Ids)] {
        let schema = Ontology { arguments, ..example(name) }.json_schema_strict();
        let mut objects = 0;
        each_object(&schema, &mut |object| {
            objects += 1;
            let properties: Vec<&String> = object["properties"].as_object().unwrap().keys().collect();
            let required: Vec<&str> = object["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(properties, required);
            assert_eq!(object["additionalProperties"], json!(false));
        });
        assert!(objects >= 2);
        let text = schema.to_string();
        for keyword in ["minLength", "pattern", "minimum", "oneOf", "const", "$ref"] {
            assert!(!text.contains(&format!("\"{keyword}\"")), "{name}: {keyword}");
        }
        let valid = match (name, arguments) {
            ("scierc", Arguments::Ids) => {
                json!({"entities": [{"id": "e1", "text": "a", "type": "Task", "occ": null}], "relations": []})
            }
            ("scierc", Arguments::Texts) => json!({
                "entities": [{"text": "a", "type": "Task", "occ": null}],
                "relations": [{"head": "a", "head_number": 1, "type": "Used-for", "tail": "a", "tail_number": null}],
            }),
            _ => json!({"entities": [{"Span": "a", "Code": "Urgent", "Sub-code": null, "occ": null}]}),
        };
        assert!(validator(&schema).is_valid(&valid), "{name}");
    }
}

#[test]
fn the_prompt_names_every_label_and_its_example_is_schema_valid() {
    for (name, arguments) in [("scierc", Arguments::Ids), ("scierc", Arguments::Texts), ("clinical", Arguments::Ids)] {
        let ontology = Ontology { arguments, ..example(name) };
        let prompt = ontology.prompt();
        assert_eq!(prompt.contains("numbered e1, e2"), ontology.writes_ids(), "{name}");
        assert_eq!(prompt.contains("`tail_number`"), arguments == Arguments::Texts, "{name}");
        for label in &ontology.entities {
            assert!(prompt.contains(&format!("- {}: {}", label.name, label.description)), "{}", label.name);
            for subtype in &label.subtypes {
                assert!(prompt.contains(&format!("{}: {}", subtype.name, subtype.description)), "{}", subtype.name);
            }
        }
        for label in &ontology.relations {
            assert!(prompt.contains(&format!("- {}", label.name)), "{}", label.name);
            assert_eq!(label.symmetric, prompt.contains(&format!("- {} (symmetric)", label.name)));
        }
        let example = prompt.lines().find(|line| line.starts_with("{\"entities\"")).expect("an example line");
        let example: Value = serde_json::from_str(example).unwrap();
        assert!(validator(&ontology.json_schema()).is_valid(&example), "{example}");
        assert_eq!(prompt, prompt.trim());
    }
}

/// Texts that differ only in blanks are the same text, so a number tells them apart, as in the answers that are written.
#[test]
fn constrained_arguments_have_numbers_where_their_texts_count_as_the_same() {
    let ontology = Ontology { arguments: Arguments::Texts, ..example("scierc") };
    let source = "a  b and a b";
    let words = [0..1, 3..4, 5..8, 9..10, 11..12];
    let limits = AnswerLimits { entities: 4, relations: 4 };
    let grammar = AnswerGrammar::new(Arc::new(ontology), source, &words, limits);
    let relations = |texts: [&str; 2]| {
        let entities = texts.map(|text| format!(r#"{{"text":"{text}","type":"Task"}}"#)).join(",");
        grammar.next(&format!(r#"{{"entities":[{entities}]"#), 0).expect("a later stage").1
    };
    for number in [1, 2] {
        let named = format!(r#"\"head_number\":{number}"#);
        assert!(relations(["a  b", "a b"]).contains(&named));
        assert!(!relations(["a  b", "and"]).contains(&named));
    }
}

const BRAT: &str = "# people and places
[entities]
Person
!Place
\tBuilding
\tCity
\t\tCapital
Organization
\tCompany
<POG>=Person|Organization

[relations]
Lives-in\tArg1:Person, Arg2:<PLACES>
Lives-in\tArg1:Company, Arg2:Building
Spouse  Arg1:Person, Arg2:Person, <REL-TYPE>:symmetric-transitive
Related\tArg1:<ENTITY>, Arg2:<POG>
<OVERLAP>\tArg1:Person, Arg2:Person, <OVL-TYPE>:<ANY>
<PLACES>=Building|City

[events]
Meet\tWho:Person
[attributes]
Negated\tArg:<EVENT>
";

#[test]
fn brat_types_become_labels_with_sub_labels_and_signatures() {
    let import = Ontology::from_brat(BRAT, "annotation.conf").unwrap();
    let ontology = &import.ontology;
    let shape: Vec<(&str, Vec<&str>)> = ontology
        .entities
        .iter()
        .map(|label| (label.name.as_str(), label.subtypes.iter().map(|subtype| subtype.name.as_str()).collect()))
        .collect();
    assert_eq!(
        shape,
        [
            ("Person", vec![]),
            ("Place", vec!["Building", "City", "Capital"]),
            ("Organization", vec!["Organization", "Company"]),
        ]
    );
    let names = |ids: &[tabpo_ontology::EntityLabelId]| -> Vec<String> {
        ids.iter().map(|&id| ontology.entity(id).name.clone()).collect()
    };
    let signatures: Vec<_> = ontology
        .relations
        .iter()
        .map(|label| (label.name.as_str(), names(&label.domain), names(&label.range), label.symmetric))
        .collect();
    let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        signatures,
        [
            ("Lives-in", strings(&["Person", "Organization"]), strings(&["Place"]), false),
            ("Spouse", strings(&["Person"]), strings(&["Person"]), true),
            ("Related", vec![], strings(&["Person", "Organization"]), false),
        ]
    );
    assert!(ontology.relations.iter().all(|label| label.constraint == Constraint::Hard));
    assert_eq!(import.notes.len(), 3);
    assert_eq!(Ontology::parse(&ontology.to_toml(), "written").unwrap(), *ontology);
}

#[test]
fn what_is_written_for_brat_is_read_back() {
    let imported = Ontology::from_brat(BRAT, "annotation.conf").unwrap().ontology;
    let written = Ontology::from_brat(&imported.to_brat(), "written").unwrap();
    assert_eq!(written.ontology, imported);
    // Data files use aliases for relations, and brat has no soft constraints.
    let scierc = Ontology::read("../../examples/scierc/ontology.toml".as_ref()).unwrap();
    let brat = scierc.to_brat();
    assert!(brat.contains("\nUSED-FOR\tArg1:<ENTITY>, Arg2:<ENTITY>\n"), "{brat}");
    assert!(brat.contains("\nCOMPARE\tArg1:<ENTITY>, Arg2:<ENTITY>, <REL-TYPE>:symmetric\n"), "{brat}");
    let clinical = Ontology::read("../../examples/clinical/ontology.toml".as_ref()).unwrap();
    let again = Ontology::from_brat(&clinical.to_brat(), "clinical").unwrap().ontology;
    let shape = |ontology: &Ontology| -> Vec<(String, usize)> {
        ontology.entities.iter().map(|label| (label.name.clone(), label.subtypes.len())).collect()
    };
    assert_eq!(shape(&again), shape(&clinical));
}

#[test]
fn brat_errors_name_the_line() {
    let error = |text: &str| Ontology::from_brat(text, "annotation.conf").unwrap_err().to_string();
    assert_eq!(
        error("[entities]\nPerson\n[relations]\nKnows Arg1:Person, Person"),
        "annotation.conf:4: `Person` is not `Arg1:type`, `Arg2:type` or `<REL-TYPE>:symmetric`"
    );
    assert!(error("[entities]\nA\nA").starts_with("annotation.conf:3: entity label `A` is already used on line 2"));
    assert!(error("[entities]\n\tA").starts_with("annotation.conf:2: `A` is indented"));
    assert!(error("Person").starts_with("annotation.conf:1: `Person` comes before the first section"));
    assert!(
        error("[entities]\nA\n<X>=<X>\n[relations]\nR Arg1:<X>, Arg2:A").contains("the macro <X> expands to itself")
    );
}

#[test]
fn roles_have_the_names_that_the_configuration_gives_them() {
    let text = "\u{feff}[entities]\nPerson\nCity\n[relations]\nborn-in\tWho:Person, Where:City\n\
        left\tArg2:City, Arg1:Person\nknows\tWho:Person|Animal, Whom:Person, Since:Year\n\
        feeds\tWho:Person, What:Animal\n[events]\nMove\tWho:Person\n!Travel\n";
    let import = Ontology::from_brat(text, "annotation.conf").unwrap();
    let sides = |ids: &[tabpo_ontology::EntityLabelId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let relations = import.ontology.relations.iter();
    let relations: Vec<_> =
        relations.map(|label| (label.name.as_str(), sides(&label.domain), sides(&label.range))).collect();
    // `feeds` has no tail that is an entity, and neither do its instances in the corpus.
    let expected = [("born-in", vec![0], vec![1]), ("left", vec![0], vec![1]), ("knows", vec![0], vec![0])];
    assert_eq!(relations, expected);
    let notes = import.notes.join("\n");
    for part in
        ["`Animal`, in `Who` of `knows`, is not an entity type", "the relation `feeds` is not imported", "[events]"]
    {
        assert!(notes.contains(part), "{notes}");
    }

    let project = BratProject::parse(text);
    assert_eq!(project.roles("born-in"), [["Who".to_owned(), "Where".to_owned()]]);
    assert_eq!(project.roles("left"), [["Arg1".to_owned(), "Arg2".to_owned()]]);
    assert!(project.roles("unknown").is_empty());
    assert_eq!(["Move", "Travel", "Person"].map(|name| project.is_event(name)), [true, true, false]);
}
