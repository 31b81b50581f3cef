//! From the roles of bytes to the roles of tokens.

use std::ops::Range;

use tabpo_roles::Role;

use crate::Part;

/// The role of every tokenizer token, from its byte range of the rendered text.
///
/// A token that overlaps several parts takes the role that carries the most choice: entity label,
/// subtype, relation label, link, occurrence, end, span, scaffold, in that order. So a token such
/// as `"Task` counts as a label and not as punctuation. Empty ranges (special tokens) and ranges
/// outside the text are scaffolding.
///
/// `parts` must cover the text in order without gap, as [`render`](crate::render) makes them; the
/// tokens may come in any order.
pub fn token_roles(parts: &[Part], tokens: &[Range<usize>]) -> Vec<Role> {
    let role_of = |token: &Range<usize>| {
        let first = parts.partition_point(|part| part.range.end <= token.start);
        let overlapping = parts[first..].iter().take_while(|part| part.range.start < token.end);
        overlapping.map(|part| part.role).max_by_key(|&role| choice(role)).unwrap_or(Role::Scaffold)
    };
    tokens.iter().map(|token| if token.is_empty() { Role::Scaffold } else { role_of(token) }).collect()
}

/// How much choice a role carries, as a rank.
fn choice(role: Role) -> u8 {
    match role {
        Role::Scaffold => 0,
        Role::Span => 1,
        Role::End => 2,
        Role::Occurrence => 3,
        Role::Link => 4,
        Role::RelationLabel => 5,
        Role::Subtype => 6,
        Role::EntityLabel => 7,
    }
}

#[cfg(test)]
mod tests {
    use Role::{EntityLabel, Scaffold, Span};

    use super::*;
    use crate::Item;

    #[test]
    fn the_role_with_the_most_choice_wins() {
        // `{"flow","Task"}` cut into parts {" flow "," Task "}
        let cut = [(0..2, Role::Scaffold), (2..6, Role::Span), (6..9, Role::Scaffold), (9..13, Role::EntityLabel)];
        let mut parts: Vec<Part> =
            cut.into_iter().map(|(range, role)| Part { range, role, item: Item::Entity(0) }).collect();
        parts.push(Part { range: 13..15, role: Role::Scaffold, item: Item::Frame });
        let tokens = [0..2, 1..4, 4..6, 6..8, 8..13, 5..10, 13..15, 7..7, 20..21];
        let roles = token_roles(&parts, &tokens);
        assert_eq!(roles, [Scaffold, Span, Span, Scaffold, EntityLabel, EntityLabel, Scaffold, Scaffold, Scaffold]);
    }
}
