//! The ontology of found labels, as a file to fill in.

use std::collections::{BTreeMap, BTreeSet};

use tabpo_corpus::Document;
use tabpo_ontology::{Arguments, EntityLabelId, RelationLabelId, SubtypeId};
use toml::Value;

use super::Corpus;

/// How often something occurs.
type Count<K> = BTreeMap<K, usize>;

/// At most this many texts of mentions are shown for a label.
const TEXTS: usize = 3;
/// The longest text that is shown, in characters.
const LONGEST: usize = 40;

/// The ontology file: labels by frequency, each with its count and some texts, and relation types with the labels that
/// their arguments have in the documents.
pub(super) fn toml(name: &str, corpus: &Corpus, arguments: Arguments) -> String {
    let found = Found::of(corpus);
    let ontology = &corpus.ontology;
    let mut text = format!(
        "# What is extracted. The labels are those of the documents, with counts from all but the test documents. Every\n\
         # prompt of a pretrained model shows the descriptions: say in a sentence what a label means and what it doesn't.\n\
         #\n\
         # `domain` and `range` are the labels of a relation's head and tail; others are unusual, or with\n\
         # constraint = \"hard\" an error. With symmetric = true it doesn't matter which argument comes first.\n\
         \n[ontology]\nname = {}\n# What the texts are and what is to be extracted, in one or two sentences.\ndescription = \"\"\n",
        quoted(name)
    );
    if arguments != Arguments::default() && !ontology.relations.is_empty() {
        text += &format!(
            "# Relations name their arguments by text; with \"ids\" entities are numbered e1, e2, ... and named so.\n\
             arguments = {}\n",
            quoted(arguments.name())
        );
    }
    for label in sorted(ontology.entity_ids(), &found.mentions) {
        let entity = ontology.entity(label);
        let count = found.mentions.get(&label).copied().unwrap_or(0);
        text += &format!(
            "\n[[entity]]\nname = {} # {}\ndescription = \"\"\n",
            quoted(&entity.name),
            mentions(count, &found.texts(label))
        );
        if entity.subtypes.is_empty() {
            continue;
        }
        text += "subtypes = [\n";
        for subtype in sorted(ontology.subtype_ids(label), &found.subtypes_of(label)) {
            let name = quoted(&ontology.subtype(label, subtype).name);
            let count = found.subtypes.get(&(label, subtype)).copied().unwrap_or(0);
            text += &format!("  {{ name = {name}, description = \"\" }}, # {}\n", mentions(count, &[]));
        }
        text += "]\n";
    }
    for relation in sorted(ontology.relation_ids(), &found.relations) {
        let label = ontology.relation(relation);
        let count = found.relations.get(&relation).copied().unwrap_or(0);
        let heads = found.arguments(relation, |&(head, _)| head);
        let tails = found.arguments(relation, |&(_, tail)| tail);
        let list = |key: &str, labels: &[(EntityLabelId, usize)]| {
            let names: Vec<String> = labels.iter().map(|&(label, _)| quoted(&ontology.entity(label).name)).collect();
            let counts: Vec<String> =
                labels.iter().map(|&(label, count)| format!("{count} {}", ontology.entity(label).name)).collect();
            let every = labels.len() == ontology.entities.len();
            let comment = if every { "# Every label, which needs no saying: " } else { "" };
            format!("# {}\n{comment}{key} = [{}]\n", counts.join(", "), names.join(", "))
        };
        text += &format!(
            "\n[[relation]]\nname = {} # {count} {}\n# Which argument is the head, and when the relation holds.\n\
             description = \"\"\n{}{}",
            quoted(&label.name),
            if count == 1 { "relation" } else { "relations" },
            list("domain", &heads),
            list("range", &tails),
        );
    }
    text
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn mentions(count: usize, texts: &[String]) -> String {
    let noun = if count == 1 { "mention" } else { "mentions" };
    if texts.is_empty() { format!("{count} {noun}") } else { format!("{count} {noun}: {}", texts.join(", ")) }
}

/// Ids by frequency, the most frequent first.
fn sorted<K: Copy + Ord>(ids: impl Iterator<Item = K>, counts: &Count<K>) -> Vec<K> {
    let mut ids: Vec<K> = ids.collect();
    ids.sort_by_key(|id| (std::cmp::Reverse(counts.get(id).copied().unwrap_or(0)), *id));
    ids
}

/// What occurs in the documents that are trained on.
#[derive(Default)]
struct Found {
    mentions: Count<EntityLabelId>,
    subtypes: Count<(EntityLabelId, SubtypeId)>,
    relations: Count<RelationLabelId>,
    signatures: BTreeMap<RelationLabelId, Count<(EntityLabelId, EntityLabelId)>>,
    surfaces: BTreeMap<EntityLabelId, Count<String>>,
}

impl Found {
    fn of(corpus: &Corpus) -> Self {
        let mut found = Self::default();
        let mut read = BTreeSet::new();
        for document in corpus.seen() {
            // Curated documents are often training documents with better labels.
            if read.insert((document.key.as_str(), document.mentions.as_slice(), document.relations.as_slice())) {
                found.add(document);
            }
        }
        found
    }

    fn add(&mut self, document: &Document) {
        for mention in &document.mentions {
            *self.mentions.entry(mention.label).or_default() += 1;
            if let Some(subtype) = mention.subtype {
                *self.subtypes.entry((mention.label, subtype)).or_default() += 1;
            }
            let text: Vec<&str> = document.span_text(mention.span).split_whitespace().collect();
            *self.surfaces.entry(mention.label).or_default().entry(text.join(" ")).or_default() += 1;
        }
        for relation in &document.relations {
            *self.relations.entry(relation.label).or_default() += 1;
            let [head, tail] = [relation.head, relation.tail].map(|index| document.mentions[index as usize].label);
            *self.signatures.entry(relation.label).or_default().entry((head, tail)).or_default() += 1;
        }
    }

    fn subtypes_of(&self, label: EntityLabelId) -> Count<SubtypeId> {
        self.subtypes
            .iter()
            .filter(|((of, _), _)| *of == label)
            .map(|(&(_, subtype), &count)| (subtype, count))
            .collect()
    }

    /// The labels of one argument, the most frequent first.
    fn arguments(
        &self,
        relation: RelationLabelId,
        side: fn(&(EntityLabelId, EntityLabelId)) -> EntityLabelId,
    ) -> Vec<(EntityLabelId, usize)> {
        let mut counts: Count<EntityLabelId> = Count::new();
        for (signature, count) in self.signatures.get(&relation).into_iter().flatten() {
            *counts.entry(side(signature)).or_default() += count;
        }
        sorted(counts.keys().copied(), &counts).into_iter().map(|label| (label, counts[&label])).collect()
    }

    /// The most frequent texts of a label's mentions.
    fn texts(&self, label: EntityLabelId) -> Vec<String> {
        let Some(surfaces) = self.surfaces.get(&label) else { return Vec::new() };
        let mut texts: Vec<(&String, usize)> = surfaces.iter().map(|(text, &count)| (text, count)).collect();
        texts.sort_by_key(|&(text, count)| (std::cmp::Reverse(count), text));
        let plain = |text: &str| text.chars().count() <= LONGEST && !text.contains(char::is_control);
        texts.into_iter().filter(|(text, _)| plain(text)).take(TEXTS).map(|(text, _)| format!("\"{text}\"")).collect()
    }
}
