//! Tables of results: plain text, Markdown, LaTeX and CSV from the same rows.

use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::printable;

/// How the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alignment {
    /// Flush left: names and sentences. The only columns that are shortened to fit a width.
    #[default]
    Left,
    /// Flush right: counts, and numbers with the same count of decimals.
    Right,
    /// Decimal points under each other: numbers with different counts of decimals.
    Decimal,
}

/// The form in which a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Columns divided by blanks, a rule under the header.
    #[default]
    Plain,
    /// A pipe table.
    Markdown,
    /// A `tabular` with the rules of the `booktabs` package.
    Latex,
    /// Comma-separated values (RFC 4180), line ends `\n`.
    Csv,
}

/// A header and rows of text cells.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Rows; each is as long as the header.
    pub rows: Vec<Vec<String>>,
    /// One alignment for each column.
    pub alignment: Vec<Alignment>,
}

/// Between two columns of plain text.
const GAP: &str = "  ";
/// A column is never shortened below this.
const NARROWEST: usize = 8;

impl Table {
    /// An empty table with these columns.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Alignment)>) -> Self {
        let (header, alignment) = columns.into_iter().map(|(name, alignment)| (name.into(), alignment)).unzip();
        Self { header, rows: Vec::new(), alignment }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If the row is not as long as the header.
    pub fn push<S: Into<String>>(&mut self, row: impl IntoIterator<Item = S>) {
        let row: Vec<String> = row.into_iter().map(Into::into).collect();
        assert_eq!(row.len(), self.header.len(), "a row has one cell for each column");
        self.rows.push(row);
    }

    /// The table in a format, at any width, with a line end after the last row.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Plain => self.plain(None),
            Format::Markdown => self.markdown(),
            Format::Latex => self.latex(),
            Format::Csv => self.csv(),
        }
    }

    /// Plain text. Where the rows are wider than `width` columns, the widest flush-left columns are
    /// shortened (an ellipsis marks it); numbers are never cut, so that a narrow terminal may still
    /// be exceeded.
    pub fn plain(&self, width: Option<usize>) -> String {
        let cells = self.aligned_cells();
        let mut widths: Vec<usize> = (0..self.header.len())
            .map(|column| cells.iter().map(|row| row[column].width()).max().unwrap_or(0))
            .collect();
        if let Some(width) = width {
            self.shrink(&mut widths, width);
        }
        let mut out = String::new();
        for (index, row) in cells.iter().enumerate() {
            let line: Vec<String> =
                row.iter().enumerate().map(|(column, cell)| pad(cell, widths[column], self.align(column))).collect();
            out.push_str(line.join(GAP).trim_end());
            out.push('\n');
            if index == 0 {
                let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
                out.push_str(&rule.join(GAP));
                out.push('\n');
            }
        }
        out
    }

    /// A pipe table.
    pub fn markdown(&self) -> String {
        let escape = |cell: &String| escape_markdown(&one_line(cell));
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = line(self.header.iter().map(escape).collect());
        let rule = (0..self.header.len()).map(|column| match self.align(column) {
            Alignment::Left => "---".to_owned(),
            Alignment::Right | Alignment::Decimal => "---:".to_owned(),
        });
        out.push_str(&line(rule.collect()));
        for row in &self.rows {
            out.push_str(&line(row.iter().map(escape).collect()));
        }
        out
    }

    /// A LaTeX `tabular`; needs the package `booktabs`.
    pub fn latex(&self) -> String {
        let columns: String = (0..self.header.len())
            .map(|column| if self.align(column) == Alignment::Left { 'l' } else { 'r' })
            .collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().map(|cell| escape_latex(&one_line(cell))).collect();
            format!("{} \\\\\n", cells.join(" & "))
        };
        let mut out = format!("\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n", line(&self.header));
        for row in &self.rows {
            out.push_str(&line(row));
        }
        out.push_str("\\bottomrule\n\\end{tabular}\n");
        out
    }

    /// Comma-separated values.
    pub fn csv(&self) -> String {
        let quote = |cell: &String| {
            let cell = printable(cell);
            if cell.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.into_owned()
            }
        };
        let mut out = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            out.push_str(&row.iter().map(quote).collect::<Vec<_>>().join(","));
            out.push('\n');
        }
        out
    }

    fn align(&self, column: usize) -> Alignment {
        self.alignment.get(column).copied().unwrap_or_default()
    }

    /// Header and rows on one line each, decimal columns padded on the right so that their points
    /// stand under each other.
    fn aligned_cells(&self) -> Vec<Vec<String>> {
        let mut cells: Vec<Vec<String>> = std::iter::once(&self.header)
            .chain(&self.rows)
            .map(|row| row.iter().map(|cell| one_line(cell)).collect())
            .collect();
        for column in (0..self.header.len()).filter(|&column| self.align(column) == Alignment::Decimal) {
            let decimals = |cell: &str| cell.find('.').map_or(0, |point| cell[point..].width());
            let most = cells[1..].iter().map(|row| decimals(&row[column])).max().unwrap_or(0);
            for row in &mut cells[1..] {
                let missing = most - decimals(&row[column]);
                row[column].push_str(&" ".repeat(missing));
            }
        }
        cells
    }

    fn shrink(&self, widths: &mut [usize], limit: usize) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let widest = (0..widths.len())
                .filter(|&column| self.align(column) == Alignment::Left && widths[column] > NARROWEST)
                .max_by_key(|&column| widths[column]);
            let Some(column) = widest else { return };
            widths[column] -= 1;
        }
    }
}

impl FromStr for Format {
    type Err = String;

    /// `plain`, `markdown`, `latex` or `csv`; the error names what was found.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "plain" => Ok(Self::Plain),
            "markdown" => Ok(Self::Markdown),
            "latex" => Ok(Self::Latex),
            "csv" => Ok(Self::Csv),
            other => Err(format!("unknown table format `{other}`: expected plain, markdown, latex or csv")),
        }
    }
}

fn pad(cell: &str, width: usize, alignment: Alignment) -> String {
    let own = cell.width();
    if own > width {
        let mut kept = String::new();
        let mut used = 0;
        for character in cell.chars() {
            let next = character.width().unwrap_or(0);
            if used + next + 1 > width {
                break;
            }
            kept.push(character);
            used += next;
        }
        return format!("{kept}…{}", " ".repeat(width - used - 1));
    }
    let blanks = " ".repeat(width - own);
    if alignment == Alignment::Left { format!("{cell}{blanks}") } else { format!("{blanks}{cell}") }
}

/// A cell without line ends and with nothing in it that a terminal would obey.
fn one_line(cell: &str) -> String {
    printable(&cell.replace(['\n', '\r', '\t'], " ")).into_owned()
}

/// Text that Markdown takes as text, also where it looks like emphasis, code, a link or a tag.
fn escape_markdown(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut rest = cell.chars().peekable();
    let mut before = ' ';
    while let Some(character) = rest.next() {
        let special = match character {
            '\\' | '|' | '`' | '*' | '_' | '<' => true,
            '(' => before == ']',
            '&' => rest.peek().is_some_and(|next| next.is_ascii_alphanumeric() || *next == '#'),
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(character);
        before = character;
    }
    out
}

fn escape_latex(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut before = None;
    for character in cell.chars() {
        match character {
            // After the end of a row, these would be read as an option of it.
            '[' | '*' if before.is_none() => {
                let _ = write!(out, "{{{character}}}");
            }
            // Two hyphens would become a dash.
            '-' if before == Some('-') => out.push_str("{}-"),
            '`' => out.push_str("\\textasciigrave{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                let _ = write!(out, "\\{character}");
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '±' => out.push_str("$\\pm$"),
            '−' => out.push_str("$-$"),
            other => out.push(other),
        }
        before = Some(character);
    }
    out
}
