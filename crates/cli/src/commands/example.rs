//! An example of training with the role of each token: in colour on a terminal, and otherwise by letters.

use tabpo_pipeline::run::{ExamplePiece, ShownExample};
use tabpo_roles::Role;

use crate::{error::CliError, output};

/// The columns of a line of letters.
const WIDTH: usize = 76;

/// The letter and the colour of a role.
fn mark(role: Role) -> (char, &'static str) {
    match role {
        Role::Scaffold => ('.', "2"),
        Role::EntityLabel => ('E', "1;34"),
        Role::Subtype => ('S', "1;36"),
        Role::RelationLabel => ('R', "1;35"),
        Role::Link => ('L', "1;33"),
        Role::Span => ('t', "32"),
        Role::Occurrence => ('#', "1;31"),
        Role::End => ('$', "7"),
    }
}

/// Prints the example.
pub(super) fn print(example: &ShownExample) -> Result<(), CliError> {
    let tokens = example.answer.len();
    output::print(&format!(
        "Example {}: {} tokens of prompt, which are not trained on, and {tokens} of answer\n\n",
        example.id, example.prompt_tokens
    ))?;
    for line in example.prompt.lines() {
        output::print_line(format!("  | {line}"))?;
    }
    output::print_line("")?;
    let coloured = output::is_coloured();
    let text = if coloured { in_colour(&example.answer) } else { by_letters(&example.answer) };
    output::print_coloured(&text)?;
    output::print_coloured(&format!("\n{}\n", legend(&example.answer, coloured)))
}

/// A token as it is shown: the end has no text.
fn shown(piece: &ExamplePiece) -> String {
    match piece.text.as_str() {
        "" => "<end>".to_owned(),
        text => tabpo_report::printable(&text.replace('\n', "⏎")).into_owned(),
    }
}

fn in_colour(answer: &[ExamplePiece]) -> String {
    let pieces: String = answer.iter().map(|piece| output::coloured(&shown(piece), mark(piece.role).1)).collect();
    format!("  {pieces}\n")
}

/// Lines of text, each with a line of letters below it.
fn by_letters(answer: &[ExamplePiece]) -> String {
    let columns: Vec<(char, char)> = answer
        .iter()
        .flat_map(|piece| shown(piece).chars().map(|letter| (letter, mark(piece.role).0)).collect::<Vec<_>>())
        .collect();
    let mut text = String::new();
    for line in columns.chunks(WIDTH) {
        for side in
            [line.iter().map(|&(letter, _)| letter).collect::<String>(), line.iter().map(|&(_, role)| role).collect()]
        {
            text += &format!("  {}\n", side.trim_end());
        }
    }
    text
}

/// The roles that occur, with their letters or in their colours.
fn legend(answer: &[ExamplePiece], coloured: bool) -> String {
    let roles = Role::ALL.into_iter().filter(|role| answer.iter().any(|piece| piece.role == *role));
    let named = roles.map(|role| {
        let (letter, colour) = mark(role);
        if coloured { output::coloured(role.name(), colour) } else { format!("{letter} {}", role.name()) }
    });
    format!("  {}", named.collect::<Vec<_>>().join(if coloured { "  " } else { ", " }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_stands_below_the_text_of_its_role() {
        let piece = |text: &str, role| ExamplePiece { text: text.to_owned(), role };
        let answer = [
            piece("{\"text\":\"", Role::Scaffold),
            piece("oak", Role::Span),
            piece("\",\"type\":\"", Role::Scaffold),
            piece("Wood", Role::EntityLabel),
            piece("\"}", Role::Scaffold),
            piece("", Role::End),
        ];
        let text = by_letters(&answer);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  {\"text\":\"oak\",\"type\":\"Wood\"}<end>");
        assert_eq!(lines[1], "  .........ttt..........EEEE..$$$$$");
        assert_eq!(legend(&answer, false), "  . scaffold, E entity-label, t span, $ end");
        let long: Vec<ExamplePiece> = (0..60).map(|_| piece("oaks", Role::Span)).collect();
        assert!(by_letters(&long).lines().all(|line| line.chars().count() <= WIDTH + 2));
    }
}
