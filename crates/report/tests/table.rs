//! Tables in every format.

use tabpo_report::{Alignment, Table, TableFormat};

fn table() -> Table {
    let mut table = Table::new([("System", Alignment::Left), ("NER", Alignment::Decimal), ("n", Alignment::Right)]);
    table.push(["continued SFT", "85.9", "3"]);
    table.push(["TAB-PO | released & more", "7.25", "12"]);
    table
}

#[test]
fn plain_text_is_aligned_under_its_header() {
    let expected = "\
System                      NER   n
------------------------  -----  --
continued SFT             85.9    3
TAB-PO | released & more   7.25  12
";
    assert_eq!(table().plain(), expected);
}

#[test]
fn wide_characters_count_twice() {
    let mut table = Table::new([("名前", Alignment::Left), ("n", Alignment::Right)]);
    table.push(["漢字", "1"]);
    table.push(["abcdef", "2"]);
    assert_eq!(table.plain(), "名前    n\n------  -\n漢字    1\nabcdef  2\n");
}

#[test]
fn markdown_latex_and_csv_escape_their_special_characters() {
    let table = table();
    assert!(table.render(TableFormat::Markdown).contains("| TAB-PO \\| released & more | 7.25 | 12 |"));
    assert!(table.render(TableFormat::Markdown).contains("| --- | ---: | ---: |"));
    let latex = table.render(TableFormat::Latex);
    assert!(latex.starts_with("\\begin{tabular}{lrr}\n\\toprule\n"), "{latex}");
    assert!(latex.contains("TAB-PO | released \\& more & 7.25 & 12 \\\\"), "{latex}");
    let mut odd = Table::new([("[first]", Alignment::Left), ("n", Alignment::Left)]);
    odd.push(["*a_b* `c` <b> [x](y) &lt; ~", "a--b"]);
    assert!(odd.render(TableFormat::Markdown).contains("| \\*a\\_b\\* \\`c\\` \\<b> [x]\\(y) \\&lt; ~ | a--b |"));
    let latex = odd.render(TableFormat::Latex);
    assert!(latex.contains("\n{[}first] & n"), "{latex}");
    assert!(latex.contains("{*}a\\_b* \\textasciigrave{}c\\textasciigrave{} \\textless{}b\\textgreater{}"), "{latex}");
    assert!(latex.contains("a-{}-b \\\\"), "{latex}");
    let mut quoted = Table::new([("a", Alignment::Left), ("b", Alignment::Left)]);
    quoted.push(["x,y", "say \"so\""]);
    assert_eq!(quoted.render(TableFormat::Csv), "a,b\n\"x,y\",\"say \"\"so\"\"\"\n");
}

#[test]
fn control_characters_reach_no_format() {
    let mut table = Table::new([("na\u{202e}me", Alignment::Left), ("n", Alignment::Right)]);
    table.push(["\u{1b}[31mred\r\u{7f}\u{9b}", "1"]);
    table.push(["plain", "2"]);
    for format in [TableFormat::Plain, TableFormat::Markdown, TableFormat::Latex, TableFormat::Csv] {
        let text = table.render(format);
        assert!(!text.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("1b") && text.contains("31mred"), "{text}");
    }
    // Columns are aligned as displayed.
    let plain = table.render(TableFormat::Plain);
    let widths: Vec<usize> = plain.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{plain}");
}

#[test]
fn formats_have_names() {
    for format in TableFormat::ALL {
        assert_eq!(TableFormat::named(format.name()), Some(format));
    }
    assert_eq!(TableFormat::named("plain"), None);
}
