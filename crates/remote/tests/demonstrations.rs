//! The choice of demonstrations, and prompts with them.

use tabpo_corpus::{Document, Mention, Relation, Span, Unit};
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId};
use tabpo_remote::{ChatRole, Demonstrations, PromptBuilder, Selection, Structure, StructureKind};

const ONTOLOGY: &str = "
[ontology]
name = \"toy\"
[[entity]]
name = \"Task\"
[[entity]]
name = \"Method\"
[[relation]]
name = \"Used-for\"
";

fn ontology() -> Ontology {
    Ontology::parse(ONTOLOGY, "toy.toml").unwrap()
}

/// One sentence; mentions are (first token, label), each one token long.
fn document(key: &str, text: &str, mentions: &[(u32, u16)], relation: bool) -> Document {
    let mut tokens = Vec::new();
    let mut start = 0;
    for word in text.split(' ') {
        tokens.push(start..start + word.len() as u32);
        start += word.len() as u32 + 1;
    }
    let mention =
        |&(at, label): &(u32, u16)| Mention { span: Span::new(at, at + 1), label: EntityLabelId(label), subtype: None };
    Document {
        key: key.into(),
        text: text.into(),
        sentences: vec![Span::new(0, tokens.len() as u32)],
        tokens,
        mentions: mentions.iter().map(mention).collect(),
        relations: relation.then_some(Relation { head: 0, tail: 1, label: RelationLabelId(0) }).into_iter().collect(),
        repeated_relations: Vec::new(),
        clusters: Vec::new(),
    }
}

fn corpus() -> Vec<Document> {
    vec![
        document("a", "nothing of interest here", &[], false),
        document("b", "parsing is hard", &[(0, 0)], false),
        document("c", "transformers solve parsing", &[(0, 1), (2, 0)], true),
        document("d", "lattices solve tagging", &[(0, 1), (2, 0)], true),
        document("e", "tagging of tagging corpora", &[(0, 0)], false),
    ]
}

fn units(documents: &[Document]) -> Vec<Unit<'_>> {
    documents.iter().map(|document| Unit { document, sentence: Some(0) }).collect()
}

fn chosen(selection: Selection, shots: usize, text: &str, seed: u64) -> Vec<String> {
    let documents = corpus();
    let demonstrations = Demonstrations::new(&units(&documents), &ontology(), shots, selection, seed);
    let other = document("test", text, &[], false);
    let unit = Unit { document: &other, sentence: Some(0) };
    demonstrations.choose(&unit).iter().map(|one| one.text.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn fixed_demonstrations_cover_the_labels_first() {
    assert_eq!(chosen(Selection::Fixed, 2, "x", 1), ["transformers", "lattices"]);
    assert_eq!(chosen(Selection::Fixed, 3, "x", 1), chosen(Selection::Fixed, 3, "something else", 9));
}

#[test]
fn random_demonstrations_depend_only_on_the_seed() {
    let first = chosen(Selection::Random, 3, "x", 1);
    assert_eq!(first, chosen(Selection::Random, 3, "another text", 1));
    assert!((2..20).any(|seed| chosen(Selection::Random, 3, "x", seed) != first));
}

#[test]
fn the_nearest_demonstration_comes_last() {
    assert_eq!(chosen(Selection::Nearest, 2, "corpora for tagging", 1), ["lattices", "tagging"]);
    assert_eq!(chosen(Selection::Nearest, 2, "unknown words only", 1), Vec::<String>::new());
}

#[test]
fn a_unit_is_never_its_own_demonstration() {
    let documents = corpus();
    let all = units(&documents);
    for selection in [Selection::Fixed, Selection::Random, Selection::Nearest] {
        let demonstrations = Demonstrations::new(&all, &ontology(), 4, selection, 3);
        for unit in &all {
            let texts: Vec<&str> = demonstrations.choose(unit).iter().map(|one| one.text.as_str()).collect();
            assert!(!texts.contains(&unit.text()), "{selection:?}");
            assert!(selection == Selection::Nearest || texts.len() == 4, "{selection:?}: {texts:?}");
        }
    }
}

#[test]
fn prompts_are_instructions_turns_and_the_text() {
    let (documents, ontology) = (corpus(), ontology());
    let all = units(&documents);
    let demonstrations = Demonstrations::new(&all, &ontology, 1, Selection::Fixed, 1);
    let builder = PromptBuilder::new(&ontology, StructureKind::JsonSchema).with_demonstrations(&demonstrations);
    let prompt = builder.build(&all[0]);
    let roles: Vec<ChatRole> = prompt.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [ChatRole::System, ChatRole::User, ChatRole::Assistant, ChatRole::User]);
    assert_eq!(
        prompt.messages[2].content,
        r#"{"entities":[{"id":"e1","text":"transformers","type":"Method"},{"id":"e2","text":"parsing","type":"Task"}],"relations":[{"head":"e1","type":"Used-for","tail":"e2"}]}"#
    );
    assert_eq!(prompt.messages[3].content, "nothing of interest here");
    assert_eq!(
        (prompt.doc_key.as_str(), prompt.sentence, prompt.structure.kind()),
        ("a", Some(0), StructureKind::JsonSchema)
    );

    let Structure::JsonSchema(schema) = &prompt.structure else { panic!("a schema was requested") };
    strict(schema);
}

/// The common subset of strict schemas: every property required, no others, no limits.
fn strict(schema: &serde_json::Value) {
    if let Some(properties) = schema.get("properties") {
        let names: Vec<&String> = properties.as_object().unwrap().keys().collect();
        let required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(names, required);
        assert_eq!(schema["additionalProperties"], false);
        properties.as_object().unwrap().values().for_each(strict);
    }
    for limit in ["minLength", "maxLength", "pattern", "minimum", "maximum", "minItems", "maxItems"] {
        assert!(schema.get(limit).is_none(), "{limit}");
    }
    if let Some(items) = schema.get("items") {
        strict(items);
    }
}

#[test]
fn without_a_system_role_the_instructions_come_before_the_first_text() {
    let (documents, ontology) = (corpus(), ontology());
    let all = units(&documents);
    let demonstrations = Demonstrations::new(&all, &ontology, 1, Selection::Fixed, 1);
    let with_role = PromptBuilder::new(&ontology, StructureKind::None).with_demonstrations(&demonstrations);
    let (with_role, without) = (with_role.build(&all[0]), with_role.clone().without_system_role().build(&all[0]));
    assert_eq!(without.messages.len(), with_role.messages.len() - 1);
    let roles: Vec<ChatRole> = without.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [ChatRole::User, ChatRole::Assistant, ChatRole::User]);
    let first = format!("{}\n\n{}", with_role.messages[0].content, with_role.messages[1].content);
    assert_eq!(without.messages[0].content, first);
    assert_eq!(without.messages[2], with_role.messages[3]);
    let alone = PromptBuilder::new(&ontology, StructureKind::None).without_system_role().build(&all[1]);
    assert_eq!(alone.messages.len(), 1);
    assert!(alone.messages[0].content.ends_with("\n\nparsing is hard"));
}
