//! The marked form: written, read back from any text, and checked against the JSON that follows it.

mod common;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tabpo_answer::{
    Answer, FaultKind, Item, NotMarkable, Tier, align, decisions, gold, parse_as, read_canonical, render, render_as,
};
use tabpo_corpus::{Document, Mention, Relation, Span, Unit};
use tabpo_ontology::{AnswerForm, Ontology, SubtypeId};
use tabpo_roles::{List, Role};

const MARKED: AnswerForm = AnswerForm::Marked;

fn whole(document: &Document) -> Unit<'_> {
    Unit { document, sentence: None }
}

fn relation(head: u32, tail: u32, label: u16) -> Relation {
    Relation { head, tail, label: common::label(label) }
}

/// Nested mentions, a repeated text, and marks in the text.
fn document() -> Document {
    let mut document = common::document("d", &["the [ parser ] of | parser \\ output"]);
    document.mentions = vec![common::mention(2, 7, 1), common::mention(6, 7, 5), common::mention(8, 9, 3)];
    document.relations = vec![relation(0, 1, 0), relation(0, 1, 3), relation(2, 1, 2)];
    document
}

fn text(document: &Document, ontology: &Ontology) -> String {
    let unit = whole(document);
    render_as(&gold(&unit), &unit, ontology, MARKED).expect("no mentions cross").text
}

#[test]
fn the_written_form() {
    let ontology = common::ontology();
    let document = document();
    let unit = whole(&document);
    let rendered = render_as(&gold(&unit), &unit, &ontology, MARKED).expect("no mentions cross");
    let json = render(&gold(&unit), &ontology).text;
    let marks = r"the \[ [parser \] of \| [parser|Generic|2]|Method|1] \\ [output|Material|3]
1 2|Used-for&Part-of|-
1 3|-|-
2 3|-|Hyponym-of
";
    assert_eq!(rendered.text, format!("{marks}{json}"));
    let values: Vec<(Role, Item, &str)> = rendered
        .parts
        .iter()
        .filter(|part| part.role != Role::Scaffold && part.range.start < marks.len())
        .map(|part| (part.role, part.item, &rendered.text[part.range.clone()]))
        .collect();
    assert_eq!(
        values,
        [
            (Role::Span, Item::Entity(0), r"parser \] of \| "),
            (Role::Span, Item::Entity(1), "parser"),
            (Role::EntityLabel, Item::Entity(1), "Generic"),
            (Role::EntityLabel, Item::Entity(0), "Method"),
            (Role::Span, Item::Entity(2), "output"),
            (Role::EntityLabel, Item::Entity(2), "Material"),
            (Role::RelationLabel, Item::Relation(0), "Used-for"),
            (Role::RelationLabel, Item::Relation(1), "Part-of"),
            (Role::RelationLabel, Item::Frame, "-"),
            (Role::RelationLabel, Item::Frame, "-"),
            (Role::RelationLabel, Item::Frame, "-"),
            (Role::RelationLabel, Item::Frame, "-"),
            (Role::RelationLabel, Item::Relation(2), "Hyponym-of"),
        ]
    );
    // The copy has the roles of the list form.
    let copy: Vec<_> =
        rendered.parts.iter().filter(|part| part.range.start > marks.len()).map(|part| part.role).collect();
    let list: Vec<_> = render(&gold(&unit), &ontology).parts.iter().skip(1).map(|part| part.role).collect();
    assert_eq!(copy, list);
}

#[test]
fn a_pair_further_apart_has_a_line_only_where_it_is_related() {
    let ontology = common::ontology();
    let mut document = common::document("d", &["a b c d"]);
    document.mentions = (0..4).map(|token| common::mention(token, token + 1, 0)).collect();
    document.relations = vec![relation(3, 0, 1)];
    let text = text(&document, &ontology);
    let lines: Vec<&str> = text.lines().skip(1).filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines, ["1 2|-|-", "1 3|-|-", "1 4|-|Feature-of", "2 3|-|-", "2 4|-|-", "3 4|-|-"]);
    // Such a pair is a choice, so its numbers link.
    let unit = whole(&document);
    let rendered = render_as(&gold(&unit), &unit, &ontology, MARKED).expect("no mentions cross");
    let marks = text.find("\n{").expect("the JSON is there");
    let links = rendered.parts.iter().filter(|part| part.role == Role::Link && part.range.start < marks);
    assert_eq!(links.map(|part| &text[part.range.clone()]).collect::<Vec<_>>(), ["1", "4"]);
}

#[test]
fn sub_labels_are_marked_and_without_relations_there_are_no_numbers() {
    let mut ontology = common::ontology();
    ontology.relations.clear();
    ontology.entities = vec![common::entity("Part|ner", &["sign-off", "a]b"])];
    let mut document = common::document("d", &["best wishes\nfrom us"]);
    document.mentions = vec![Mention { subtype: Some(SubtypeId(1)), ..common::mention(0, 2, 0) }];
    let text = text(&document, &ontology);
    let (sentence, json) = text.split_once('\n').expect("two lines");
    assert_eq!(sentence, r"[best wishes\nfrom|Part\|ner|a\]b] us");
    assert_eq!(json, render(&gold(&whole(&document)), &ontology).text);
    assert!(parse_as(&text, &ontology, MARKED).faults.is_empty());
}

#[test]
fn what_brackets_cannot_show_is_refused() {
    let ontology = common::ontology();
    let mut document = common::document("d", &["deep neural parser"]);
    document.mentions = vec![common::mention(0, 2, 1), common::mention(1, 3, 0)];
    let unit = whole(&document);
    let refused = render_as(&gold(&unit), &unit, &ontology, MARKED).expect_err("they cross");
    assert_eq!(refused, NotMarkable::Crossing { first: "deep neural".into(), second: "neural parser".into() });
    assert_eq!(refused.to_string(), "the mentions `deep neural` and `neural parser` cross, and brackets cannot");
    let mut invented = gold(&unit);
    invented.entities.truncate(1);
    (invented.entities[0].text, invented.entities[0].span) = ("wide".into(), None);
    let refused = render_as(&invented, &unit, &ontology, MARKED).expect_err("it is not there");
    assert_eq!(refused.to_string(), "the text `wide` is not in the source, where it would be marked");
    assert!(render_as(&invented, &unit, &ontology, AnswerForm::List).is_ok());
}

/// The example in a prompt is an answer to its own sentence.
#[test]
fn the_example_of_the_prompt_is_an_answer() {
    let mut unrelated = difficult();
    unrelated.relations.clear();
    for ontology in [common::ontology(), difficult(), unrelated] {
        let prompt = ontology.prompt_for(MARKED);
        let start = prompt.find("as in this example:\n").expect("it is announced") + "as in this example:\n".len();
        let end = start + prompt[start..].find("\n\n").expect("a blank line follows");
        let example = &prompt[start..end];
        let parsed = parse_as(example, &ontology, MARKED);
        assert_eq!(parsed.faults, [], "{example}");
        assert_eq!(parsed.entities.len(), 1 + usize::from(!ontology.relations.is_empty()));
        assert_eq!(ontology.prompt_for(AnswerForm::List), ontology.prompt());
        assert!(!ontology.prompt().contains("brackets"));
    }
}

/// What an answer says about the document of [`document`], and its faults.
fn read(raw: &str) -> (Answer, Vec<FaultKind>) {
    let (document, ontology) = (document(), common::ontology());
    let aligned = align(&parse_as(raw, &ontology, MARKED), &whole(&document), &ontology);
    let answer = aligned.to_answer(&whole(&document), &ontology);
    (answer, aligned.faults.iter().map(|fault| fault.kind).collect())
}

#[test]
fn the_json_counts_and_the_marks_stand_in_for_it() {
    let document = document();
    let right = gold(&whole(&document));
    let text = text(&document, &common::ontology());
    let json = text.find('{').expect("it is there");
    assert_eq!(read(&text), (right.clone(), vec![]));
    // Without JSON that can be read, what is marked counts, at exactly the marked places.
    for (raw, kinds) in [
        (&text[..json], vec![FaultKind::Truncated, FaultKind::BrokenMarks]),
        (&text[..text.len() - 1], vec![FaultKind::Truncated]),
        (&format!("{text} I hope this helps."), vec![FaultKind::TrailingText]),
    ] {
        assert_eq!(read(raw), (right.clone(), kinds), "{raw}");
    }
    // Marks that stop in the middle.
    let (answer, kinds) = read(&text[..text.find("\n1 3").expect("a line")]);
    assert_eq!((answer.entities.len(), answer.relations.len()), (3, 2));
    assert_eq!(kinds, [FaultKind::Truncated, FaultKind::BrokenMarks]);
    let (answer, kinds) = read(&text[..text.find("|Method").expect("a label")]);
    assert_eq!(answer.entities.len(), 1);
    assert_eq!(kinds, [FaultKind::Truncated, FaultKind::BrokenMarks, FaultKind::SentenceChanged]);
    // The JSON alone counts, and its marks are missing.
    assert_eq!(read(&text[json..]), (right, vec![FaultKind::BrokenMarks]));
    assert_eq!(read("").1[0], FaultKind::EmptyOutput);
    assert_eq!(read("Sure!").1[0], FaultKind::Truncated);
}

#[test]
fn a_disagreement_is_a_fault_of_its_own_kind_and_the_json_counts() {
    use FaultKind::{BrokenMarks, MarksDiffer, SentenceChanged};
    let text = text(&document(), &common::ontology());
    let json = text.find('{').expect("it is there");
    for (from, to, kinds) in [
        ("|Method|", "|Task|", vec![MarksDiffer, MarksDiffer]),
        ("2 3|-|Hyponym-of", "2 3|-|-", vec![MarksDiffer]),
        ("1 3|-|-", "1 3|Compare|-", vec![MarksDiffer]),
        ("[output|Material|3]", "output", vec![BrokenMarks]),
        ("|Method|", "|Mthod|", vec![BrokenMarks]),
        ("|Material|3]", "|Material|4]", vec![BrokenMarks]),
        ("1 3|-|-\n", "", vec![BrokenMarks]),
        ("1 3|-|-", "1 03|-|-", vec![BrokenMarks]),
        ("1 3|-|-", "1 3|-", vec![BrokenMarks]),
        ("the ", "a ", vec![SentenceChanged]),
    ] {
        let changed = format!("{}{}", text[..json].replacen(from, to, 1), &text[json..]);
        assert_ne!(changed, text);
        let (answer, found) = read(&changed);
        assert_eq!(answer, gold(&whole(&document())), "{from}: the JSON is as it was");
        assert_eq!(found, kinds, "{changed}");
        assert!(found.iter().all(|kind| kind.tier() == Tier::Note));
        // Alone, the text does not tell that another source was meant.
        let canonical = read_canonical(&changed, &common::ontology());
        assert_eq!(canonical.is_some(), kinds == [SentenceChanged], "{changed}");
    }
    // The same text at another place than the marked one.
    let mut twice = common::document("d", &["it uses it"]);
    twice.mentions = vec![common::mention(2, 3, 5)];
    let ontology = common::ontology();
    let said = self::text(&twice, &ontology).replace(",\"occ\":2", "");
    let aligned = align(&parse_as(&said, &ontology, MARKED), &whole(&twice), &ontology);
    assert_eq!(aligned.entities[0].span, Some(Span::new(0, 1)), "the JSON counts");
    assert_eq!(aligned.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [MarksDiffer]);
}

#[test]
fn every_word_and_every_pair_is_a_decision() {
    let ontology = common::ontology();
    let mut document = common::document("d", &["we parse tables, (fast) with trees"]);
    document.mentions = vec![common::mention(2, 3, 0), common::mention(5, 6, 1)];
    document.relations = vec![relation(1, 0, 0)];
    let text = text(&document, &ontology);
    let shown: Vec<String> = decisions(&text, &ontology)
        .iter()
        .map(|taken| {
            assert!(text[taken.place.start..].starts_with(&text[taken.place.start..taken.place.at]));
            assert_eq!(taken.decision().list == List::Relations, taken.place.at > text.find('\n').expect("a line"));
            let (context, other) = (taken.place.at - taken.place.start, taken.other());
            format!("{}{}", if taken.opens { '+' } else { '-' }, &other[context..])
        })
        .collect();
    let words = ["-[we", "-[parse", "+tables,", "-[(fast)", "-[fast)", "-[)", "-[with", "+trees"];
    assert_eq!(shown, [&words[..], &["-Used-for", "+-"]].concat());
}

/// Names that could be taken for marks.
fn difficult() -> Ontology {
    let mut ontology = common::ontology();
    ontology.entities = vec![
        common::entity("A|B", &[]),
        common::entity("]", &["x|y", "\\"]),
        common::entity("two words", &[]),
        common::entity("-", &[]),
    ];
    ontology.relations = vec![
        common::relation("-", "none", false),
        common::relation("a&b", "ab", false),
        common::relation("a", "aa", true),
        common::relation("1 2|-", "line\nbreak", false),
    ];
    ontology
}

/// Documents of arbitrary words with mentions inside each other and relations between them.
fn documents() -> impl Strategy<Value = Document> {
    let word = prop_oneof![
        3 => "[a-c]{1,2}",
        2 => r"[\[\]|\\{}&\-0-9]{1,3}",
        1 => r"\PC{1,3}".prop_filter("a word", |text| !text.contains(tabpo_corpus::is_blank)),
    ];
    let gap = prop_oneof![6 => Just(" "), 2 => Just(""), 1 => Just("\n"), 1 => Just("\r\n"), 1 => Just("  ")];
    let mention = (0_u32..12, 1_u32..5, 0_u16..4, 0_u16..2);
    let relation = (0_u32..12, 0_u32..12, 0_u16..4);
    let parts = (
        prop::collection::vec((word, gap), 1..12),
        prop::collection::vec(mention, 0..8),
        prop::collection::vec(relation, 0..8),
    );
    parts.prop_map(|(words, mentions, relations)| {
        let mut document = Document { key: "d".into(), ..Document::default() };
        for (index, (word, gap)) in words.iter().enumerate() {
            if index > 0 {
                document.text.push_str(gap);
            }
            let start = document.text.len() as u32;
            document.text.push_str(word);
            document.tokens.push(start..document.text.len() as u32);
        }
        let count = document.tokens.len() as u32;
        document.sentences = vec![Span::new(0, count)];
        for (start, length, label, subtype) in mentions {
            let span = Span::new(start % count, (start % count + length).min(count));
            let crosses =
                |other: &Mention| other.span.overlaps(span) && !other.span.contains(span) && !span.contains(other.span);
            if !document.mentions.iter().any(crosses) {
                let subtype = (label == 1).then_some(SubtypeId(subtype));
                document.mentions.push(Mention { subtype, ..common::mention(span.start, span.end, label) });
            }
        }
        document.mentions.sort_unstable();
        document.mentions.dedup();
        let mentions = document.mentions.len() as u32;
        if mentions > 1 {
            let related = relations
                .into_iter()
                .map(|(head, tail, label)| self::relation(head % mentions, tail % mentions, label));
            document.relations = related.filter(|relation| relation.head != relation.tail).collect();
        }
        document.relations.sort_unstable();
        document.relations.dedup();
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_written_and_read_back(document in documents()) {
        let ontology = difficult();
        let unit = whole(&document);
        let answer = gold(&unit);
        let rendered = render_as(&answer, &unit, &ontology, MARKED).expect("no mentions cross");
        // Read by its JSON, without a fault.
        let aligned = align(&parse_as(&rendered.text, &ontology, MARKED), &unit, &ontology);
        prop_assert_eq!(&aligned.faults, &vec![], "{}", rendered.text);
        prop_assert_eq!(&aligned.to_answer(&unit, &ontology), &answer);
        // Read by its marks alone, at the very same places.
        let json = rendered.text.rfind("\n{").expect("the JSON is there") + 1;
        let aligned = align(&parse_as(&rendered.text[..json], &ontology, MARKED), &unit, &ontology);
        prop_assert_eq!(&aligned.to_answer(&unit, &ontology), &answer, "{}", rendered.text);
        // Read as text alone, with the same roles.
        let (read, again) = read_canonical(&rendered.text, &ontology).expect("it is canonical");
        prop_assert_eq!(&read.relations, &answer.relations);
        prop_assert_eq!(&again, &rendered);
        // Parts cover it.
        let mut end = 0;
        for part in &rendered.parts {
            prop_assert_eq!(part.range.start, end);
            prop_assert!(!part.range.is_empty());
            end = part.range.end;
        }
        prop_assert_eq!(end, rendered.text.len());
        // Decisions: as many brackets open as there are mentions, and slots are related as the answer is.
        let taken = decisions(&rendered.text, &ontology);
        let opened = taken.iter().filter(|taken| taken.place.list == List::Entities && taken.opens).count();
        prop_assert_eq!(opened, answer.entities.len());
        let mut ends: Vec<_> = answer.relations.iter().map(|relation| (relation.head, relation.tail)).collect();
        ends.dedup();
        prop_assert_eq!(taken.iter().filter(|taken| taken.place.list == List::Relations && taken.opens).count(), ends.len());
    }

    #[test]
    fn mutilated_answers_are_safe(document in documents(), at in 0_usize..400, junk in r"[\[\]|\\{}&\-0-9\n ]{0,3}", cut in 0_usize..3) {
        let ontology = difficult();
        let mut text = text(&document, &ontology);
        let at = (0..=at % (text.len() + 1)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let end = (at + cut..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
        text.replace_range(at..end, &junk);
        let unit = whole(&document);
        let aligned = align(&parse_as(&text, &ontology, MARKED), &unit, &ontology);
        aligned.to_answer(&unit, &ontology);
        decisions(&text, &ontology);
        if let Some((_, rendered)) = read_canonical(&text, &ontology) {
            prop_assert_eq!(rendered.text, text);
        }
    }
}
