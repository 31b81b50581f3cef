//! Abstracts as `PubTator` writes them.

mod support;

use support::{links, load_text, ontology, shown, words};
use tabpo_corpus::{Format, Level, Unit, read_str, write};

/// Offsets count the character between title and text; an empty line ends a document, and so does another number.
const TEXT: &str = "7|t|Owls in oaks\n7|a|A wren | an owl nest in an oak.\n\
    7\t0\t4\tOwls\tBird\tB1\n7\t8\t12\toaks\tTree\tT1\n7\t15\t19\twren\tBird\tB2,B3\n7\t25\t28\towl\tBird\tB1\n\
    7\t40\t43\toak\tTree\t-1\n7\tnests-in\tB1\tT1\tNovel\n7\tnear\tB3\tB1\n\
    8|t|No mention\n8|a|\n\n\n9|t|Half an owl\n9\t5\t11\tan owl\tBird\tB1|B2\tan|owl\n9\tnear\tB1\tB4\n";

#[test]
fn relations_of_identifiers_connect_the_nearest_mentions() {
    let (documents, notes) = load_text("a.PubTator", TEXT).unwrap();
    let [owls, none, half] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!([&owls.key, &none.key, &half.key], ["7", "8", "9"]);
    assert_eq!(owls.text, "Owls in oaks\nA wren | an owl nest in an oak.");
    assert_eq!(words(owls), ["Owls", "oaks", "wren", "owl", "oak"]);
    // The owl of the title is nearer to the oaks than the owl of the text, and that one is nearer to the wren.
    assert_eq!(links(owls), [(0, 1, 0), (2, 3, 1)]);
    assert_eq!(none.text, "No mention");
    // A title is a sentence of its own, whether a full stop ends it or not.
    assert_eq!(Unit::all(owls, Level::Sentence).map(|unit| unit.text().to_owned()).collect::<Vec<_>>().len(), 2);
    assert_eq!((words(half), links(half)), (vec!["an owl"], vec![]));
    let expected = [
        "5 identifiers of mentions, except for what they say of relations, not read",
        "1 marks after relations not read",
        "1 parts of composite mentions not read",
        "1 relations with an identifier that no mention has not read",
    ];
    assert_eq!(shown(&notes), expected);
    let windows = TEXT.replace('\n', "\r\n");
    assert_eq!(load_text("a.pubtator", &windows).unwrap().0, documents);
    assert!(write("x".as_ref(), Format::PubTator, &[], &ontology()).unwrap_err().to_string().contains("only read"));
}

#[test]
fn an_identifier_may_contain_what_separates_others() {
    let text = "1|t|owl oak elm\n1\t0\t3\towl\tBird\tc|SUB|A|7|T\n1\t4\t7\toak\tTree\tT1\n1\t8\t11\telm\tTree\tT2\n\
                1\tnests-in\tc|SUB|A|7|T\tT2\n";
    assert_eq!(links(&load_text("a.PubTator", text).unwrap().0[0]), [(0, 2, 0)]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let title = "7|t|An owl\n7|a|sings";
    for (line, expected) in [
        ("7\t3\t6\towl\tBrid\tB1", "text:3 (document `7`): unknown entity label `Brid`; did you mean `Bird`?"),
        ("7\t4\t6\towl\tBird\tB1", "text:3 (document `7`): the text at 4 to 6 is `wl`, not `owl`"),
        ("7\t3\t99\towl\tBird\tB1", "text:3 (document `7`): the mention [3, 99] is outside"),
        ("7\t3\tsix\towl\tBird", "text:3 (document `7`): the mention ends at `six`, which is not a whole number"),
        ("7\t3\t6\towl", "text:3 (document `7`): a mention has at least five fields"),
        ("7\tnest-in\tB1\tB1", "text:3 (document `7`): unknown relation type `nest-in`; did you mean `nests-in`?"),
        ("7 3 6 owl", "text:3: `7 3 6 owl` is neither a text"),
        ("7|a|again", "text:3 (document `7`): the document has a second text `7|a|`"),
        ("8\t0\t1\tA\tBird\tB1", "text:3 (document `8`): `t` is missing"),
        ("8|t|x\n7|t|y", "text:4 (document `7`): the document name is already used in line 1"),
    ] {
        let error = read_str(&format!("{title}\n{line}\n"), Format::PubTator, &ontology()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{line}: {error}");
    }
    // Characters beyond the basic plane, counted as a program in JavaScript does.
    let text = "7|t|🌳 owl, 🌳 elm\n7\t3\t6\towl\tBird\tB1\n7\t11\t14\telm\tTree\tT1\n";
    let (documents, notes) = load_text("a.PubTator", text).unwrap();
    assert_eq!(words(&documents[0]), ["owl", "elm"]);
    assert!(
        shown(&notes)
            .contains(&"1 documents whose offsets count UTF-16 units, as the words of their mentions show".to_owned())
    );
}
