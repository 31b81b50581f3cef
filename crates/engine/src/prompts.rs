//! The prompts of a job as a tree, in which each common beginning stands once.

use std::collections::HashMap;
use std::ops::Range;

/// A common beginning of fewer tokens is computed with each prompt: it isn't worth a pass of its own.
const SHORTEST_SHARED: usize = 16;

/// Prompts, each common beginning stored once (a radix tree). The last token of a prompt is its own, because its
/// hidden state starts the answer.
#[derive(Clone, Debug)]
pub struct PromptTree {
    tokens: Vec<u32>,
    nodes: Vec<Node>,
    /// From a node and the first token below it to the node that starts with that token.
    below: HashMap<(u32, u32), u32>,
    ends: Vec<End>,
}

/// A run of tokens without a branch.
#[derive(Clone, Debug)]
struct Node {
    above: Option<u32>,
    tokens: Range<usize>,
    /// Prompts that go through the node.
    users: u32,
}

/// Where a prompt ends.
#[derive(Clone, Copy, Debug)]
struct End {
    node: u32,
    last: Option<u32>,
    length: u32,
}

/// A part of a prompt that others share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SharedPart {
    /// The same for all prompts that share the part.
    pub(crate) id: u32,
    /// The position after its last token; it starts where the part before it ends.
    pub(crate) end: usize,
}

impl Default for PromptTree {
    fn default() -> Self {
        Self::new()
    }
}

impl PromptTree {
    /// No prompts.
    pub fn new() -> Self {
        let root = Node { above: None, tokens: 0..0, users: 0 };
        Self { tokens: Vec::new(), nodes: vec![root], below: HashMap::new(), ends: Vec::new() }
    }

    /// Number of prompts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no prompts.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of tokens of a prompt.
    pub fn length(&self, prompt: usize) -> usize {
        self.ends[prompt].length as usize
    }

    /// Adds a prompt; its index is the number of prompts before it.
    pub fn push(&mut self, prompt: &[u32]) {
        let (last, mut rest) = prompt.split_last().map_or((None, prompt), |(&last, rest)| (Some(last), rest));
        let mut node = 0;
        while let Some(&first) = rest.first() {
            let next = self.nodes.len() as u32;
            let Some(&found) = self.below.get(&(node, first)) else {
                let start = self.tokens.len();
                self.tokens.extend_from_slice(rest);
                self.nodes.push(Node { above: Some(node), tokens: start..self.tokens.len(), users: 1 });
                self.below.insert((node, first), next);
                node = next;
                break;
            };
            let Range { start, end } = self.nodes[found as usize].tokens;
            let alike = self.tokens[start..end].iter().zip(rest).take_while(|(a, b)| a == b).count();
            let (mut through, middle) = (found, start + alike);
            if middle < end {
                // The upper half becomes a node of its own, between.
                let users = self.nodes[found as usize].users;
                self.nodes.push(Node { above: Some(node), tokens: start..middle, users });
                self.nodes[found as usize].above = Some(next);
                self.nodes[found as usize].tokens = middle..end;
                self.below.insert((node, first), next);
                self.below.insert((next, self.tokens[middle]), found);
                through = next;
            }
            self.nodes[through as usize].users += 1;
            (node, rest) = (through, &rest[alike..]);
        }
        self.ends.push(End { node, last, length: prompt.len() as u32 });
    }

    /// The nodes of a prompt, from the first.
    fn path(&self, prompt: usize) -> Vec<u32> {
        let end = self.ends[prompt].node;
        let mut path: Vec<u32> = std::iter::successors(Some(end), |&node| self.nodes[node as usize].above)
            .filter(|&node| node > 0)
            .collect();
        path.reverse();
        path
    }

    /// The tokens of a prompt.
    pub fn tokens(&self, prompt: usize) -> Vec<u32> {
        let nodes = self.path(prompt).into_iter().map(|node| &self.nodes[node as usize]);
        let mut tokens: Vec<u32> = nodes.flat_map(|node| &self.tokens[node.tokens.clone()]).copied().collect();
        tokens.extend(self.ends[prompt].last);
        tokens
    }

    /// The parts that a prompt shares with others, from its beginning. They depend on all prompts of the tree.
    pub(crate) fn shared(&self, prompt: usize) -> Vec<SharedPart> {
        let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
        for id in self.path(prompt) {
            let node = &self.nodes[id as usize];
            if node.users < 2 {
                break;
            }
            end += node.tokens.len();
            if end - start >= SHORTEST_SHARED {
                parts.push(SharedPart { id, end });
                start = end;
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(prompts: &[Vec<u32>]) -> PromptTree {
        let mut tree = PromptTree::new();
        for prompt in prompts {
            tree.push(prompt);
        }
        tree
    }

    #[test]
    fn what_prompts_share_depends_on_where_they_part() {
        let system: Vec<u32> = (0..20).collect();
        let text: Vec<u32> = (100..130).collect();
        let prompt = |parts: &[&[u32]]| parts.concat();
        let prompts = vec![
            prompt(&[&system, &text, &[1]]),
            prompt(&[&system, &[7, 8, 9]]),
            prompt(&[&system, &text, &[1]]),
            prompt(&[&system, &text]),
            prompt(&[&text]),
            prompt(&[&system, &[7, 8, 9, 10]]),
        ];
        let tree = tree(&prompts);
        let ends = |index| tree.shared(index).iter().map(|part| part.end).collect::<Vec<_>>();
        // The third prompt's last token is its own, so the two equal ones share a token less than all of `text`.
        assert_eq!(ends(0), [20, 49], "{tree:?}");
        assert_eq!(tree.shared(0), tree.shared(2));
        assert_eq!(ends(3), [20, 49]);
        assert_eq!(ends(1), [20], "two more common tokens are too few");
        assert_eq!(ends(4), [] as [usize; 0]);
        assert_eq!(tree.shared(5), tree.shared(1));
    }

    proptest! {
        #[test]
        fn prompts_come_back_and_shared_parts_hold_the_same_tokens(
            prompts in prop::collection::vec(prop::collection::vec(0u32..2, 0..60), 1..12),
        ) {
            let tree = tree(&prompts);
            let mut known: HashMap<u32, Vec<u32>> = HashMap::new();
            for (index, prompt) in prompts.iter().enumerate() {
                prop_assert_eq!(&tree.tokens(index), prompt);
                prop_assert_eq!(tree.length(index), prompt.len());
                let mut start = 0;
                for part in tree.shared(index) {
                    prop_assert!(part.end < prompt.len() && part.end >= start + SHORTEST_SHARED);
                    // The same part stands for the same beginning.
                    let beginning = known.entry(part.id).or_insert_with(|| prompt[..part.end].to_vec());
                    prop_assert_eq!(&*beginning, &prompt[..part.end]);
                    start = part.end;
                }
            }
            // Every common beginning that is long enough is shared.
            for (a, one) in prompts.iter().enumerate() {
                for (b, other) in prompts.iter().enumerate().skip(a + 1) {
                    let most = one.len().min(other.len()).saturating_sub(1);
                    let alike = one[..most].iter().zip(other).take_while(|(a, b)| a == b).count();
                    let common = tree.shared(a).iter().zip(&tree.shared(b)).take_while(|(a, b)| a == b).count();
                    let covered = tree.shared(a)[..common].last().map_or(0, |part| part.end);
                    prop_assert!(alike - covered < SHORTEST_SHARED, "{alike} {covered}");
                }
            }
        }
    }
}
