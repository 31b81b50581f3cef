//! What the words of the page mean.

use tabpo_report::Term;
use tabpo_roles::Role;

/// What a metric of the comparison measures, by its key; empty for one that is not known.
pub(super) fn metric(key: &str) -> &'static str {
    match key {
        "ner_f1" => "F1 of entities: span and label must be those of gold",
        "ner_macro_f1" => {
            "the mean over labels of the F1 of entities, in which rare labels count as much as common ones"
        }
        "label_accuracy" => "of the gold entities whose span was found, the share that got the right label",
        "rel_f1" => "F1 of relations: type and the spans of both arguments must be those of gold",
        "rel_plus_f1" => "as Rel F1, and the labels of both arguments must be right too",
        "pair_f1" => "F1 of related pairs, whatever the type of the relation",
        "span_f1" => "F1 of entity spans, whatever their label",
        "relaxed_strict_f1" => "F1 of entities that count as found if label and text overlap with gold",
        "ner_subtype_f1" => "F1 of sub-labels at the right span",
        "ner_both_f1" => "F1 of entities: span, label and sub-label must be those of gold",
        "ungrounded" => {
            "the share of predicted entities whose text is not at token boundaries of the source: invented or cut"
        }
        "json_valid" => "the share of answers that are JSON",
        "schema_valid" => "the share of answers that follow the ontology's schema",
        "refs_valid" => "the share of answers whose relations name entities of the same answer",
        "fully_grounded" => "the share of answers of which every entity is in the source",
        _ => "",
    }
}

/// The token roles.
pub(super) fn roles() -> Vec<Term> {
    Role::ALL.iter().map(|role| Term { name: role.name().to_owned(), meaning: role.meaning().to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use tabpo_metrics::Profile;

    use super::*;

    #[test]
    fn every_metric_of_a_comparison_is_explained() {
        for labels in ["", "subtypes = [\"A\", \"B\"]\n"] {
            let text = format!(
                "[[entity]]\nname = \"X\"\n{labels}[[relation]]\nname = \"r\"\ndomain = [\"X\"]\nrange = [\"X\"]\n"
            );
            let ontology = tabpo_ontology::Ontology::parse(&text, "test").expect("an ontology");
            let layout = tabpo_metrics::Layout::new(&ontology);
            for known in Profile::Default.metrics(&layout, true) {
                assert!(!metric(known.key).is_empty(), "{}", known.key);
            }
        }
    }
}
