//! The tokens that decide about the items of a model's own answer.

use tabpo_answer::{Item, Rendered};
use tabpo_objective::JudgedItem;
use tabpo_ontology::Ontology;
use tabpo_pairs::Verdict;
use tabpo_roles::{List, Role};

use crate::{ExampleFormat, FormatError, TokenisedAnswer};

impl ExampleFormat<'_> {
    /// The judged items of an answer to `source` with the tokens that decide about each: the one that opens its record
    /// (the first that the end of the list would not have), the last of its text and the one that ends it, and those of
    /// its labels, of its occurrence and of the ids of its arguments.
    pub fn judged_items(
        &self,
        source: &str,
        answer: &Rendered,
        verdicts: &[Verdict],
        ontology: &Ontology,
    ) -> Result<Vec<JudgedItem>, FormatError> {
        let ranges = self.encode_answer(source, &answer.text)?.ranges;
        let decisions = self.decisions(source, answer, ontology)?;
        let opening = |list: List, number: u32| {
            let opens = decisions.iter().filter(|(_, decision)| decision.list == list && decision.opens);
            opens.map(|(token, _)| *token).nth(number as usize)
        };
        let judged = |verdict: &Verdict| {
            let (list, number) = match verdict.item {
                Item::Entity(number) => (List::Entities, number),
                Item::Relation(number) => (List::Relations, number),
                Item::Frame => return None,
            };
            let mut tokens: Vec<usize> = opening(list, number).into_iter().collect();
            for part in answer.parts.iter().filter(|part| part.item == verdict.item) {
                let first = ranges.partition_point(|range| range.end <= part.range.start);
                // The token with the byte after the part, which may be its last one.
                let after = ranges.partition_point(|range| range.end <= part.range.end);
                let end = ranges.partition_point(|range| range.start < part.range.end);
                match part.role {
                    Role::Scaffold | Role::End => {}
                    Role::Span => tokens.extend([end.saturating_sub(1), after]),
                    Role::EntityLabel | Role::Subtype | Role::RelationLabel | Role::Link | Role::Occurrence => {
                        tokens.extend(first..end);
                    }
                }
            }
            tokens.retain(|token| *token < ranges.len());
            tokens.sort_unstable();
            tokens.dedup();
            Some(JudgedItem { list, right: verdict.right, tokens })
        };
        Ok(verdicts.iter().filter_map(judged).collect())
    }
}

impl TokenisedAnswer {
    /// Sets the items, and keeps of the answer what leads up to the last token of any; without any, the answer becomes
    /// `chosen`.
    pub(crate) fn keep_items(&mut self, items: Vec<JudgedItem>, chosen: &TokenisedAnswer) {
        let Some(last) = items.iter().flat_map(|item| &item.tokens).max() else {
            self.clone_from(chosen);
            return;
        };
        self.truncate(last + 1);
        self.items = items;
    }
}
