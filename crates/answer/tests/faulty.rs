//! Faulty output: every fault is named, every emitted item is kept.

mod common;
#[path = "../../../fuzz/src/answers.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets need more of it")]
mod fuzz;

use proptest::prelude::*;
use tabpo_answer::{Aligned, FaultItem, FaultKind, Grounding, Tier, align, gold, parse, render};
use tabpo_corpus::{Document, Span, Unit};

fn source() -> Document {
    common::document("d", &["the parser improves the parser-based optical flow"])
}

fn aligned(raw: &str) -> Aligned<'_> {
    let (document, ontology) = (source(), common::ontology());
    align(&parse(raw, &ontology), &Unit { document: &document, sentence: Some(0) }, &ontology)
}

fn kinds(raw: &str) -> Vec<FaultKind> {
    aligned(raw).faults.iter().map(|fault| fault.kind).collect()
}

#[test]
fn faults_are_named() {
    use FaultKind::*;
    let cases: [(&str, &[FaultKind]); 31] = [
        ("", &[EmptyOutput]),
        ("[]", &[WrongType]),
        ("{}", &[MissingKey, MissingKey]),
        (r#"{"entities":[]"#, &[Truncated]),
        ("```json\n{\"entities\":[],\"relations\":[]}\n```", &[CodeFence]),
        (r#"{"entities":[],"relations":[]} I hope this helps."#, &[TrailingText]),
        (r#"{"entities":[],"relations":[NaN]}"#, &[Syntax]),
        (r#"{"entities":{},"relations":[]}"#, &[WrongType]),
        (r#"{"entities":[],"relations":[],"note":""}"#, &[UnknownKey]),
        (r#"{"entities":[],"relations":[],"relations":[]}"#, &[DuplicateKey]),
        (r#"{"entities":["parser"],"relations":[]}"#, &[WrongType]),
        (r#"{"entities":[{"type":"Method"}],"relations":[]}"#, &[MissingKey]),
        (r#"{"entities":[{"text":"parser"}],"relations":[]}"#, &[MissingKey]),
        (r#"{"entities":[{"text":" ","type":"Method"}],"relations":[]}"#, &[BlankText]),
        (r#"{"entities":[{"text":7,"type":"Method"}],"relations":[]}"#, &[BlankText]),
        (r#"{"entities":[{"text":"parser","type":"Tool"}],"relations":[]}"#, &[UnknownEntityLabel]),
        (r#"{"entities":[{"text":"parser","type":["Task"]}],"relations":[]}"#, &[UnknownEntityLabel]),
        (r#"{"entities":[{"text":"parser","type":"Task","subtype":"x"}],"relations":[]}"#, &[UnknownSubtype]),
        (r#"{"entities":[{"text":"parser","type":"Task","score":1}],"relations":[]}"#, &[UnknownKey]),
        (
            r#"{"entities":[{"text":"parser","type":"Task","occ":0}],"relations":[]}"#,
            &[BadOccurrence, SurplusOccurrence],
        ),
        (r#"{"entities":[{"text":"parser","type":"Task","occ":"1"}],"relations":[]}"#, &[BadOccurrence]),
        (r#"{"entities":[{"text":"parser","type":"Task","occ":2}],"relations":[]}"#, &[SurplusOccurrence]),
        (r#"{"entities":[{"text":"deep learning","type":"Task"}],"relations":[]}"#, &[NotInSource]),
        (r#"{"entities":[{"text":"Optical Flow","type":"Task"}],"relations":[]}"#, &[CaseDiffers]),
        (r#"{"entities":[{"text":"based optical","type":"Task"}],"relations":[]}"#, &[NotTokenAligned]),
        (r#"{"entities":[{"id":"","text":"parser","type":"Task"}],"relations":[]}"#, &[BadId]),
        (
            r#"{"entities":[{"id":"a","text":"parser","type":"Task"},{"text":"flow","type":"Task"}],"relations":[]}"#,
            &[MixedIds],
        ),
        (
            r#"{"entities":[{"id":"a","text":"parser","type":"Task"},{"id":"a","text":"flow","type":"Task"}],"relations":[]}"#,
            &[DuplicateId],
        ),
        (
            r#"{"entities":[{"id":"a","text":"parser","type":"Task"}],"relations":[{"head":"a","type":"Compare","tail":"b"},{"head":"a","type":"Compare","tail":"a"}]}"#,
            &[UnresolvedArgument, SelfRelation],
        ),
        (
            r#"{"entities":[],"relations":[{"head":"","type":"Beats"}]}"#,
            &[BadArgument, MissingKey, UnknownRelationLabel],
        ),
        (r#"{"entities":[],"relations":[null]}"#, &[WrongType]),
    ];
    for (raw, expected) in cases {
        assert_eq!(kinds(raw), expected, "{raw}");
    }
}

#[test]
fn faults_say_where() {
    let raw = r#" {"entities":[{"text":"parser","type":"Tool"}],"relations":[]}"#;
    let fault = aligned(raw).faults[0];
    assert_eq!(&raw[fault.byte..fault.byte + 6], "\"Tool\"");
    assert_eq!(fault.item, FaultItem::Entity(0));
}

#[test]
fn tiers_build_on_each_other() {
    let bad_label = aligned(r#"{"entities":[{"text":"parser","type":"Tool"}],"relations":[]}"#);
    assert!(bad_label.valid_at(Tier::Json));
    assert!(!bad_label.valid_at(Tier::Schema));
    assert!(!bad_label.valid_at(Tier::Grounding));
    let repeated_key = aligned(r#"{"entities":[{"text":"x","text":"parser","type":"Task"}],"relations":[]}"#);
    assert!(repeated_key.valid_at(Tier::Grounding));
    assert_eq!(repeated_key.entities[0].span, Some(Span::new(1, 2)));
}

#[test]
fn every_item_is_kept() {
    let raw = r#"{"entities":[1,{"text":"optical  flow","type":"Nope"},{"text":"optical flow","type":"Task"}],
        "relations":[{},{"head":"optical flow","type":"Compare","tail":"parser"}],"x":0}"#;
    let aligned = aligned(raw);
    assert_eq!(aligned.entities.len(), 3);
    assert_eq!(aligned.relations.len(), 2);
    let grounding: Vec<_> = aligned.entities.iter().map(|entity| entity.grounding).collect();
    assert_eq!(grounding, [None, Some(Grounding::Placed), Some(Grounding::Surplus)]);
    assert_eq!(aligned.entities[1].label, None);
    assert_eq!(aligned.entities[1].span, Some(Span::new(5, 7)));
    assert!(aligned.relations.iter().all(|relation| relation.arguments.is_none()));
    assert_eq!(aligned.relations[0].label, None);
    assert!(aligned.relations[1].label.is_some());
}

#[test]
fn an_id_used_twice_means_its_first_placed_holder() {
    let raw = r#"{"entities":[{"id":"a","text":"nowhere","type":"Task"},{"id":"a","text":"parser","type":"Task"},
        {"id":"a","text":"flow","type":"Task"},{"id":"b","text":"optical","type":"Task"}],
        "relations":[{"head":"a","type":"Compare","tail":"b"}]}"#;
    assert_eq!(aligned(raw).relations[0].arguments, Some((1, 3)));
}

#[test]
fn texts_name_the_nearest_free_pair() {
    let ontology = common::ontology();
    let document = common::document("d", &["a x x x b x a x b"]);
    let unit = Unit { document: &document, sentence: Some(0) };
    let entity = |text: &str| format!(r#"{{"text":"{text}","type":"Task"}}"#);
    let relation = r#"{"head":"a","type":"Compare","tail":"b"}"#;
    let raw = format!(
        r#"{{"entities":[{}],"relations":[{}]}}"#,
        ["a", "b", "a", "b"].map(entity).join(","),
        [relation; 5].join(",")
    );
    let aligned = align(&parse(&raw, &ontology), &unit, &ontology);
    let spans: Vec<_> = aligned
        .relations
        .iter()
        .map(|relation| aligned.argument_spans(relation).map(|(head, tail)| (head.start, tail.start)))
        .collect();
    assert_eq!(spans, [Some((6, 4)), Some((6, 8)), Some((0, 4)), Some((0, 8)), None]);
}

proptest! {
    #[test]
    fn any_text_is_safe(raw in any::<String>()) {
        fuzz::check(&raw, &source(), &common::ontology());
        let aligned = aligned(&raw);
        prop_assert_eq!(aligned.valid_at(Tier::Json), serde_json::from_str::<serde_json::Value>(&raw).is_ok());
    }

    /// Valid answers cut, overwritten and spliced.
    #[test]
    fn mutilated_answers_are_safe(cut in 0_usize..400, insert in "[\\[\\]{}\",:a-e0-9\\\\ ]{0,6}", drop in 0_usize..8) {
        let mut document = source();
        document.mentions = vec![common::mention(1, 2, 1), common::mention(4, 6, 0), common::mention(5, 7, 0)];
        document.relations = vec![tabpo_corpus::Relation { head: 0, tail: 1, label: common::label(0) }];
        let ontology = common::ontology();
        let unit = Unit { document: &document, sentence: Some(0) };
        let text = render(&gold(&unit), &ontology).text;
        let (cut, end) = (cut.min(text.len()), (cut + drop).min(text.len()));
        let raw = format!("{}{insert}{}", &text[..cut], &text[end..]);
        fuzz::check(&raw, &document, &ontology);
        let json_valid = parse(&raw, &ontology).valid_at(Tier::Json);
        prop_assert_eq!(json_valid, serde_json::from_str::<serde_json::Value>(&raw).is_ok());
    }
}
