//! Tables in every format.

use tabpo_report::{Alignment, Format, Table};

fn table() -> Table {
    let mut table = Table::new([("System", Alignment::Left), ("NER", Alignment::Decimal), ("n", Alignment::Right)]);
    table.push(["continued SFT", "85.9", "3"]);
    table.push(["TAB-PO | released & more", "7.25", "12"]);
    table
}

#[test]
fn plain_text_stands_under_its_header() {
    let expected = "\
System                      NER   n
------------------------  -----  --
continued SFT             85.9    3
TAB-PO | released & more   7.25  12
";
    assert_eq!(table().plain(None), expected);
}

#[test]
fn a_narrow_terminal_shortens_names_and_never_numbers() {
    let text = table().plain(Some(24));
    assert!(text.lines().all(|line| line.chars().count() <= 24), "{text}");
    assert!(text.contains('…') && text.contains("85.9") && text.contains("7.25"), "{text}");
    let hopeless = table().plain(Some(3));
    assert!(hopeless.contains("85.9") && hopeless.contains("7.25"), "{hopeless}");
}

#[test]
fn wide_characters_count_twice() {
    let mut table = Table::new([("名前", Alignment::Left), ("n", Alignment::Right)]);
    table.push(["漢字", "1"]);
    table.push(["abcdef", "2"]);
    assert_eq!(table.plain(None), "名前    n\n------  -\n漢字    1\nabcdef  2\n");
}

#[test]
fn markdown_latex_and_csv_escape_their_own_signs() {
    let table = table();
    assert!(table.render(Format::Markdown).contains("| TAB-PO \\| released & more | 7.25 | 12 |"));
    assert!(table.render(Format::Markdown).contains("| --- | ---: | ---: |"));
    let latex = table.render(Format::Latex);
    assert!(latex.starts_with("\\begin{tabular}{lrr}\n\\toprule\n"), "{latex}");
    assert!(latex.contains("TAB-PO | released \\& more & 7.25 & 12 \\\\"), "{latex}");
    let mut odd = Table::new([("[first]", Alignment::Left), ("n", Alignment::Left)]);
    odd.push(["*a_b* `c` <b> [x](y) &lt; ~", "a--b"]);
    assert!(odd.render(Format::Markdown).contains("| \\*a\\_b\\* \\`c\\` \\<b> [x]\\(y) \\&lt; ~ | a--b |"));
    let latex = odd.render(Format::Latex);
    assert!(latex.contains("\n{[}first] & n"), "{latex}");
    assert!(latex.contains("{*}a\\_b* \\textasciigrave{}c\\textasciigrave{} \\textless{}b\\textgreater{}"), "{latex}");
    assert!(latex.contains("a-{}-b \\\\"), "{latex}");
    let mut quoted = Table::new([("a", Alignment::Left), ("b", Alignment::Left)]);
    quoted.push(["x,y", "say \"so\""]);
    assert_eq!(quoted.render(Format::Csv), "a,b\n\"x,y\",\"say \"\"so\"\"\"\n");
}

#[test]
fn controls_reach_no_format() {
    let mut table = Table::new([("na\u{202e}me", Alignment::Left), ("n", Alignment::Right)]);
    table.push(["\u{1b}[31mred\r\u{7f}\u{9b}", "1"]);
    table.push(["plain", "2"]);
    for format in [Format::Plain, Format::Markdown, Format::Latex, Format::Csv] {
        let text = table.render(format);
        assert!(!text.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("1b") && text.contains("31mred"), "{text}");
    }
    // Columns stand under each other as they are shown.
    let plain = table.render(Format::Plain);
    let widths: Vec<usize> = plain.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{plain}");
}

#[test]
fn formats_are_named_and_others_refused() {
    assert_eq!("latex".parse(), Ok(Format::Latex));
    assert!("html".parse::<Format>().unwrap_err().contains("plain, markdown, latex or csv"));
}
