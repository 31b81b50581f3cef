//! Which label each token of an answer belongs to.

use tabpo_roles::Role;

use crate::TokenisedAnswer;

/// The label of every token, as a number that depends on the label's role and tokens alone: the same label is written
/// in the same tokens in every answer, because the same punctuation surrounds it. `None` outside labels.
pub(crate) fn groups(answer: &TokenisedAnswer) -> Vec<Option<u64>> {
    let mut groups = Vec::with_capacity(answer.tokens.len());
    while groups.len() < answer.tokens.len() {
        let start = groups.len();
        let role = answer.roles[start];
        let length = answer.roles[start..].iter().take_while(|other| **other == role).count();
        let is_label = matches!(role, Role::EntityLabel | Role::Subtype | Role::RelationLabel);
        let group = is_label.then(|| number(role, &answer.tokens[start..start + length]));
        groups.extend(std::iter::repeat_n(group, length));
    }
    groups
}

fn number(role: Role, tokens: &[u32]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(role.name().as_bytes());
    for token in tokens {
        hasher.update(&token.to_le_bytes());
    }
    let digest = hasher.finalize();
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_same_in_every_place_and_another_in_another_role() {
        use Role::{EntityLabel, RelationLabel, Scaffold, Span};
        let answer = TokenisedAnswer {
            roles: vec![Scaffold, EntityLabel, EntityLabel, Scaffold, EntityLabel, RelationLabel, EntityLabel, Span],
            ..TokenisedAnswer::unlabelled(vec![1, 5, 6, 2, 5, 5, 5, 7])
        };
        let found = groups(&answer);
        assert_eq!(
            found.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true, true, false, true, true, true, false]
        );
        assert_eq!(found[1], found[2]);
        assert_ne!(found[1], found[4]);
        assert_ne!(found[4], found[5]);
        assert_eq!(found[4], found[6]);
    }
}
