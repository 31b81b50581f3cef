//! Figures that independent evaluators computed, to 1e-9.

mod common;

use serde_json::Value;

#[test]
#[ignore = "needs the golden figures in the shared folder"]
fn golden_figures_agree() {
    let (golden, gold) = common::shared();
    let ontology = common::scierc_ontology();
    let gold = common::read_gold(&gold, &ontology);
    let cases = [
        ("d1_label_noise.dev", "pred"),
        ("d2_boundary_noise.dev", "pred"),
        ("d3_drop_add.dev", "pred"),
        ("p4_edge_cases.dev", "pred"),
        ("h1_sentence_ids.dev.gen", ""),
        ("h2_document_text.dev.gen", ""),
        ("h3_sentence_text.dev.gen", ""),
    ];
    for (name, infix) in cases {
        let dot = if infix.is_empty() { "" } else { "." };
        let predictions = golden.join(format!("{name}{dot}{infix}.jsonl.gz"));
        let expected = std::fs::read_to_string(golden.join(format!("{name}.expected.json"))).expect("figures");
        let mut expected: Value = serde_json::from_str(&expected).expect("valid JSON");
        // Which split the file is about is known to whoever reads the file, not to this crate.
        expected.as_object_mut().expect("an object").remove("gold_split");
        let (_, found) = common::evaluate(&gold, &predictions, &ontology);
        let figures = common::assert_agrees(&found, &expected, name);
        assert!(figures > 280, "{name}: only {figures} figures");
    }
}

#[test]
#[ignore = "needs the golden figures in the shared folder"]
fn golden_counts_of_each_document_agree() {
    use tabpo_metrics::Family;
    let (golden, gold) = common::shared();
    let ontology = common::scierc_ontology();
    let gold = common::read_gold(&gold, &ontology);
    let (counts, _) = common::evaluate(&gold, &golden.join("p4_edge_cases.dev.pred.jsonl.gz"), &ontology);
    let expected = std::fs::read_to_string(golden.join("p4_edge_cases.dev.perdoc_counts.json")).expect("counts");
    let expected: Vec<Value> = serde_json::from_str(&expected).expect("a list");
    assert_eq!(expected.len(), counts.table.documents());
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(expected["doc_key"], gold[index].key.as_str());
        let row: Vec<u64> = counts.table.row(index).iter().map(|&value| u64::from(value)).collect();
        let ner = counts.layout.total(&row, Family::Ner);
        let rel = counts.layout.total(&row, Family::Rel);
        let plus = counts.layout.total(&row, Family::RelPlus);
        let found = [ner.gold, ner.predicted, ner.matched, rel.gold, rel.predicted, rel.matched, plus.matched];
        let names = ["ng", "np", "nm", "rg", "rp", "rm", "rpm"];
        let wanted = names.map(|name| expected[name].as_u64().expect("a count"));
        assert_eq!(found, wanted, "{}", gold[index].key);
    }
}
