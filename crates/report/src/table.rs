//! Tables of results: plain text, Markdown, LaTeX and CSV from the same rows.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use crate::printable;

/// How the cells of a column are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Alignment {
    /// Flush left: names and sentences.
    #[default]
    Left,
    /// Flush right: counts, and numbers with the same number of decimals.
    Right,
    /// Aligned at the decimal point: numbers with different numbers of decimals.
    Decimal,
}

/// The format of a printed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TableFormat {
    /// Columns separated by spaces, with a rule under the header.
    #[default]
    Plain,
    /// A pipe table.
    Markdown,
    /// A `tabular` with the rules of the `booktabs` package.
    Latex,
    /// Comma-separated values (RFC 4180) with `\n` as line break.
    Csv,
}

/// A header and rows of text cells.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Rows; each is as long as the header.
    pub rows: Vec<Vec<String>>,
    /// One alignment for each column.
    pub alignment: Vec<Alignment>,
}

/// A rendered table in three parts, which put together are the table: so that rows can be put into another order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableParts {
    /// Everything before the first row.
    pub head: String,
    /// The rows, each with its line break.
    pub rows: Vec<String>,
    /// Everything after the last row.
    pub foot: String,
}

/// Separator of columns in plain text.
const GAP: &str = "  ";

impl TableFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Markdown, Self::Latex, Self::Csv];

    /// The name on the command line: `table`, `markdown`, `latex` or `csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "table",
            Self::Markdown => "markdown",
            Self::Latex => "latex",
            Self::Csv => "csv",
        }
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

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

    /// The table in a format, with a line break after the last row.
    pub fn render(&self, format: TableFormat) -> String {
        let TableParts { head, rows, foot } = self.parts(format);
        [head, rows.concat(), foot].concat()
    }

    /// The table in a format, row by row.
    pub fn parts(&self, format: TableFormat) -> TableParts {
        match format {
            TableFormat::Plain => self.plain_parts(),
            TableFormat::Markdown => self.markdown(),
            TableFormat::Latex => self.latex(),
            TableFormat::Csv => self.csv(),
        }
    }

    /// The table as plain text.
    pub fn plain(&self) -> String {
        self.render(TableFormat::Plain)
    }

    fn plain_parts(&self) -> TableParts {
        let cells = self.aligned_cells();
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| cells.iter().map(|row| row[column].width()).max().unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let line: Vec<String> =
                row.iter().enumerate().map(|(column, cell)| pad(cell, widths[column], self.align(column))).collect();
            format!("{}\n", line.join(GAP).trim_end())
        };
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        TableParts {
            head: format!("{}{}\n", line(&cells[0]), rule.join(GAP)),
            rows: cells[1..].iter().map(line).collect(),
            foot: String::new(),
        }
    }

    /// A pipe table.
    fn markdown(&self) -> TableParts {
        let line = |cells: &Vec<String>| {
            let cells: Vec<String> = cells.iter().map(|cell| escape_markdown(&one_line(cell))).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = (0..self.header.len()).map(|column| match self.align(column) {
            Alignment::Left => "---",
            Alignment::Right | Alignment::Decimal => "---:",
        });
        TableParts {
            head: format!("{}| {} |\n", line(&self.header), rule.collect::<Vec<_>>().join(" | ")),
            rows: self.rows.iter().map(line).collect(),
            foot: String::new(),
        }
    }

    /// A LaTeX `tabular`, which needs the package `booktabs`.
    fn latex(&self) -> TableParts {
        let columns: String = (0..self.header.len())
            .map(|column| if self.align(column) == Alignment::Left { 'l' } else { 'r' })
            .collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().map(|cell| escape_latex(&one_line(cell))).collect();
            format!("{} \\\\\n", cells.join(" & "))
        };
        TableParts {
            head: format!("\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n", line(&self.header)),
            rows: self.rows.iter().map(line).collect(),
            foot: "\\bottomrule\n\\end{tabular}\n".to_owned(),
        }
    }

    /// Comma-separated values.
    fn csv(&self) -> TableParts {
        let quote = |cell: &String| {
            let cell = printable(cell);
            if cell.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.into_owned()
            }
        };
        let line = |row: &Vec<String>| format!("{}\n", row.iter().map(quote).collect::<Vec<_>>().join(","));
        TableParts { head: line(&self.header), rows: self.rows.iter().map(line).collect(), foot: String::new() }
    }

    fn align(&self, column: usize) -> Alignment {
        self.alignment.get(column).copied().unwrap_or_default()
    }

    /// Header and rows without line breaks; decimal columns are padded on the right so that their points
    /// align.
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
}

fn pad(cell: &str, width: usize, alignment: Alignment) -> String {
    let spaces = " ".repeat(width - cell.width());
    if alignment == Alignment::Left { format!("{cell}{spaces}") } else { format!("{spaces}{cell}") }
}

/// A cell without line breaks or control characters.
fn one_line(cell: &str) -> String {
    printable(&cell.replace(['\n', '\r', '\t'], " ")).into_owned()
}

/// Escapes what Markdown would read as emphasis, code, a link or a tag.
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
            // At the start of a row, these would be read as an argument of the preceding `\\`.
            '[' | '*' if before.is_none() => {
                let _ = write!(out, "{{{character}}}");
            }
            // Two hyphens would become an en dash.
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
