//! The page: its text, its escaping, and its independence of external resources.

#[path = "../examples/sample/input.rs"]
mod sample;

use proptest::prelude::*;
use serde_json::Value;
use tabpo_report::{Comparison, Contrast, Estimate, MetricColumn, ReportInput, SystemRow, Verdict, html};

/// The text of a page, one line for each run of text between tags.
fn text(page: &str) -> String {
    let mut out = String::new();
    let body = without_scripts(&page[page.find("<body>").unwrap()..]);
    for piece in body.split('<').filter_map(|tag| tag.split_once('>')).map(|(_, text)| text.trim()) {
        if !piece.is_empty() {
            out.push_str(piece);
            out.push('\n');
        }
    }
    out
}

/// A page without its scripts and the data for them.
fn without_scripts(page: &str) -> String {
    let mut pieces = page.split("<script");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once("</script>").unwrap().1)
}

/// The names of all elements outside the style sheet and the script.
fn elements(page: &str) -> Vec<String> {
    let (head, rest) = page.split_once("<style>").unwrap();
    let rest = rest.split_once("</style>").unwrap().1;
    let rest = without_scripts(rest);
    let name = |tag: &str| tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
    [head, &rest].iter().flat_map(|part| part.split('<').skip(1)).map(name).collect()
}

fn fill(value: &mut Value, with: &str) {
    match value {
        // Enumerations are written by name; all other text comes from outside.
        Value::String(text)
            if !["percent", "number", "checkpoint", "control", "system", "remote"].contains(&text.as_str()) =>
        {
            text.push_str(with);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, with)),
        _ => {}
    }
}

#[test]
fn the_text_of_a_full_page() {
    insta::assert_snapshot!("full_page", text(&html::page(&sample::sample())));
}

#[test]
fn a_page_with_a_title_only() {
    let page = html::page(&ReportInput { title: "Nothing yet".into(), ..ReportInput::default() });
    assert_eq!(text(&page), "Nothing yet\n");
    assert!(!page.contains("<script"));
}

#[test]
fn the_page_needs_no_external_resources() {
    let page = html::page(&sample::sample());
    // The digest of the script is no address.
    let (before, after) = page.split_once("'sha256-").unwrap();
    let page = [before, after.split_once('\'').unwrap().1].concat();
    for outside in ["http:", "https:", "//", " src=", "@import", "url(", "<link", "<iframe"] {
        let found = page.match_indices(outside).map(|(at, _)| &page[at..(at + 60).min(page.len())]);
        let found: Vec<&str> = found.collect();
        assert!(found.is_empty(), "{outside}: {found:?}");
    }
}

#[test]
fn nan_values_break_nothing() {
    let mut input = sample::sample();
    let comparison = input.comparison.as_mut().unwrap();
    for system in &mut comparison.systems {
        system.scores[0].as_mut().unwrap().value = f64::NAN;
    }
    comparison.contrasts[0].p_adjusted = f64::NAN;
    for curve in &mut input.curves[0].curves {
        curve.points = vec![(0.0, f64::INFINITY), (1.0, f64::NAN)];
    }
    let page = html::page(&input);
    assert!(page.contains("no points were logged"));
    for attribute in ["cx=\"NaN", "x=\"NaN", "points=\"NaN", "inf"] {
        assert!(!page.split("</style>").nth(1).unwrap().contains(attribute), "{attribute}");
    }
}

/// The cells of the table of scores that are in bold.
fn bold(page: &str) -> Vec<&str> {
    let table = page.split("<table class=\"scores sortable\">").nth(1).unwrap().split("</table>").next().unwrap();
    table.split("<strong>").skip(1).map(|rest| rest.split("</strong>").next().unwrap()).collect()
}

fn compared(figures: &[(bool, Option<f64>)], lower_is_better: bool) -> String {
    let row = |(index, &(silent, value)): (usize, &(bool, Option<f64>))| SystemRow {
        name: format!("s{index}"),
        silent,
        scores: vec![value.map(|value| Estimate {
            value,
            precision_and_recall: Some((0.25, 0.75)),
            interval: Some((value, value)),
            deviation: None,
        })],
        ..SystemRow::default()
    };
    let comparison = Comparison {
        metrics: vec![MetricColumn { name: "m".into(), lower_is_better, ..MetricColumn::default() }],
        systems: figures.iter().enumerate().map(row).collect(),
        ..Comparison::default()
    };
    html::page(&ReportInput { comparison: Some(comparison), ..ReportInput::default() })
}

#[test]
fn a_system_that_extracts_nothing_is_never_the_best() {
    let page = compared(&[(true, None), (false, Some(0.25)), (false, Some(0.5))], true);
    assert_eq!(bold(&page), ["25.0"]);
    assert!(page.contains("<span class=\"hint\">–</span>"));
    // If every answer is empty, every answer is valid.
    assert_eq!(bold(&compared(&[(true, Some(1.0)), (false, Some(0.9)), (false, Some(0.8))], false)), ["90.0"]);
    assert_eq!(bold(&compared(&[(true, Some(1.0)), (false, Some(1.0))], false)), Vec::<&str>::new());
    assert_eq!(bold(&compared(&[(true, Some(0.3)), (true, Some(0.2))], false)), Vec::<&str>::new());
}

#[test]
fn precision_and_recall_stand_below_their_f1() {
    let page = compared(&[(false, Some(0.375))], false);
    assert!(page.contains("<span class=\"small\">P 25.0 R 75.0</span>"));
}

#[test]
fn equal_values_are_not_the_best_and_have_a_sensible_axis() {
    for value in [0.0, 1.0] {
        let page = compared(&[(false, Some(value)), (false, Some(value))], false);
        assert!(bold(&page).is_empty() && !page.contains("Bold:"));
        let ticks: Vec<&str> =
            page.split("text-anchor=\"middle\">").skip(1).map(|t| t.split('<').next().unwrap()).collect();
        let expected = format!("{:.1}", 100.0 * value);
        assert!(ticks.contains(&expected.as_str()), "{ticks:?}");
        assert!(!ticks.contains(&"−100.0") && !ticks.contains(&"200.0"), "{ticks:?}");
    }
}

#[test]
fn nothing_changes_the_text_direction_of_the_page() {
    let mut value = serde_json::to_value(sample::sample()).unwrap();
    fill(&mut value, "\u{1b}]0;x\u{7}\u{202e}\u{2067}\u{9b}\r");
    let page = html::page(&serde_json::from_value(value).unwrap());
    let obeyed = |c: char| c != '\n' && c != '\t' && c.is_control() || ['\u{202e}', '\u{2067}'].contains(&c);
    assert_eq!(page.chars().find(|&character| obeyed(character)), None);
    assert!(page.contains("\\u{1b}]0;x\\u{7}\\u{202e}"));
}

#[test]
fn verdicts_follow_the_adjusted_p_value() {
    let contrast = |difference, p_adjusted| Contrast { difference, p_adjusted, ..Contrast::default() };
    assert_eq!(contrast(0.1, 0.01).verdict(0.05, false), Verdict::Better);
    assert_eq!(contrast(0.1, 0.01).verdict(0.05, true), Verdict::Worse);
    assert_eq!(contrast(-0.1, 0.01).verdict(0.05, false), Verdict::Worse);
    assert_eq!(contrast(-0.1, 0.01).verdict(0.05, true), Verdict::Better);
    assert_eq!(contrast(0.1, 0.05).verdict(0.05, false), Verdict::Undecided);
    assert_eq!(contrast(0.1, f64::NAN).verdict(0.05, false), Verdict::Undecided);
    // The interval has to agree.
    let crossing = Contrast { interval: Some((-0.01, 0.2)), ..contrast(0.1, 0.01) };
    assert_eq!(crossing.verdict(0.05, false), Verdict::Undecided);
    let clear = Contrast { interval: Some((0.01, 0.2)), ..contrast(0.1, 0.01) };
    assert_eq!(clear.verdict(0.05, false), Verdict::Better);
}

#[test]
fn the_input_survives_json() {
    let input = sample::sample();
    let json = serde_json::to_string(&input).unwrap();
    assert_eq!(serde_json::from_str::<ReportInput>(&json).unwrap(), input);
    assert_eq!(serde_json::from_str::<ReportInput>(r#"{"title":"t"}"#).unwrap().title, "t");
}

/// What the script is given, as it reads it.
fn texts_data(page: &str) -> Value {
    let start = page.find("id=\"texts-data\">").expect("there are texts") + "id=\"texts-data\">".len();
    let data = page[start..].split("</script>").next().unwrap();
    assert!(!data.contains(['<', '>', '&']), "nothing in it can end the element");
    serde_json::from_str(data).expect("it is JSON")
}

#[test]
fn the_script_is_given_the_texts() {
    let data = texts_data(&html::page(&sample::sample()));
    let case = &data["cases"][0];
    let text: Vec<u16> = case[1].as_str().unwrap().encode_utf16().collect();
    let entity = &case[2][0][1];
    let units = entity[0].as_u64().unwrap() as usize..entity[1].as_u64().unwrap() as usize;
    assert_eq!(String::from_utf16(&text[units]).unwrap(), "variational method");
    assert_eq!(data["entities"][entity[2].as_u64().unwrap() as usize], "Method");
    // The best system under test beside the best control.
    let first = |index: usize| data["systems"][data["first"][index].as_u64().unwrap() as usize].as_str().unwrap();
    assert_eq!((first(0), first(1)), ("TAB-PO", "continued SFT, equal FLOPs"));
    assert_eq!(data["cases"].as_array().unwrap().len(), 40);
    assert_eq!(data["total"], 100);
}

#[test]
fn offsets_hold_where_characters_are_escaped() {
    let mut input = sample::sample();
    let case = &mut input.texts.as_mut().unwrap().cases[0];
    // An override of the direction, a character of two UTF-16 units, and a tag before the entity.
    case.text = "\u{202e}👩<b>flow</b>".into();
    case.gold.entities.truncate(1);
    case.gold.relations.clear();
    case.gold.entities[0].range = Some((10, 14));
    let data = texts_data(&html::page(&input));
    let text: Vec<u16> = data["cases"][0][1].as_str().unwrap().encode_utf16().collect();
    let entity = &data["cases"][0][2][0][0];
    let units = entity[0].as_u64().unwrap() as usize..entity[1].as_u64().unwrap() as usize;
    assert_eq!(String::from_utf16(&text[units]).unwrap(), "flow");
    assert!(String::from_utf16(&text).unwrap().starts_with("\\u{202e}👩<b>"));
}

#[test]
fn a_page_of_many_texts_stays_under_two_megabytes() {
    let mut input = sample::sample();
    let texts = input.texts.as_mut().unwrap();
    texts.cases = texts.cases.iter().cycle().take(20_000).cloned().collect();
    texts.total = 20_000;
    let page = html::page(&input);
    assert!(page.len() < 2_000_000, "{}", page.len());
    let shown = texts_data(&page)["cases"].as_array().unwrap().len();
    assert!(shown > 500 && page.contains("A sample: "), "{shown}");
    assert_eq!(page, html::page(&input));
}

#[test]
fn counts_lead_to_their_texts() {
    let page = html::page(&sample::sample());
    // Task taken for Method, by TAB-PO; and Task that is right.
    for attributes in [
        "data-a=\"5\" data-kind=\"0\" data-gold=\"e0\" data-predicted=\"e1\"",
        "data-a=\"5\" data-kind=\"correct\" data-gold=\"e0\" data-predicted=\"e0\"",
        "data-a=\"5\" data-kind=\"2\" data-gold=\"\" data-predicted=\"\"",
    ] {
        assert!(page.contains(attributes), "{attributes}");
    }
    // Without texts there is nothing to lead to.
    let page = html::page(&ReportInput { texts: None, ..sample::sample() });
    assert!(!page.contains("href=\"#texts\""));
}

/// The rule that keeps documents from being executed: the script makes no markup and runs no text.
#[test]
fn the_script_makes_no_markup() {
    let page = html::page(&sample::sample());
    let script = page.rsplit("<script>").next().unwrap();
    for means in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "setAttribute(\"on"]
    {
        assert!(!script.contains(means), "{means}");
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
}

#[test]
fn tables_can_be_copied_row_by_row() {
    let page = html::page(&sample::sample());
    let copies = page.split("<script type=\"application/json\">").nth(1).unwrap().split("</script>").next().unwrap();
    let copies: Value = serde_json::from_str(copies).unwrap();
    let markdown = &copies["Markdown"];
    assert!(markdown[0].as_str().unwrap().starts_with("| System | NER |"), "{markdown}");
    assert_eq!(markdown[1].as_array().unwrap().len(), 7);
    assert!(copies["LaTeX"][1][0].as_str().unwrap().starts_with("SFT & 77.2 [76.0, 78.4] &"), "{}", copies["LaTeX"]);
    assert!(copies["CSV"][0].as_str().unwrap().starts_with("system,NER,NER low,NER high,NER sd,"), "{}", copies["CSV"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Text from outside never becomes markup: the elements of the page stay those of a page with
    /// harmless text, and no attribute is left early.
    #[test]
    fn nothing_from_outside_becomes_markup(hostile in "[<>&\"'/=x-z! -]{1,12}") {
        let mut value = serde_json::to_value(sample::sample()).unwrap();
        fill(&mut value, &format!("{hostile}<xyz onx=\"\"><!--</script>"));
        let input: ReportInput = serde_json::from_value(value).unwrap();
        let page = html::page(&input);
        let known = elements(&html::page(&sample::sample()));
        for name in elements(&page) {
            prop_assert!(known.contains(&name), "element {:?}", name);
        }
        prop_assert!(!page.contains("<xyz") && !page.contains("<!--") && !page.contains(" onx=\""));
        let scripts = html::page(&sample::sample()).matches("</script").count();
        prop_assert_eq!(page.matches("</script").count(), scripts);
        prop_assert_eq!(page.matches("<script").count(), scripts);
    }
}
