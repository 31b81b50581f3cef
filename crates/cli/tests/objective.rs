//! `tabpo objective`.

mod support;

use serde_json::Value;
use support::Place;

const GOLDEN: &str = include_str!("../../objective/tests/fixtures/golden_a.json");

#[test]
fn the_list_shows_formula_needs_defaults_and_source() {
    let place = Place::new();
    let (text, _) = place.run(&["objective", "--list"], 0);
    assert!(text.starts_with("tab-po\n  loss "), "{text}");
    let (json, _) = place.run(&["objective", "--list", "--json"], 0);
    let list: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    let tdpo = list.iter().find(|entry| entry["name"] == "tdpo2").expect("TDPO2 is listed");
    assert_eq!(tdpo["needs"]["kl"], true);
    assert_eq!(tdpo["defaults"]["alpha"], 0.5);
}

#[test]
fn inputs_may_stand_alone_or_inside_the_golden_file() {
    let golden: Value = serde_json::from_str(GOLDEN).expect("the fixture is JSON");
    let place = Place::new();
    place.write("golden.json", GOLDEN);
    place.write("inputs.json", &golden["inputs"].to_string());
    let (whole, _) = place.run(&["objective", "--inputs", "golden.json", "--json"], 0);
    let (alone, _) = place.run(&["objective", "--inputs", "inputs.json", "--json"], 0);
    assert_eq!(whole, alone);
    let figures: Value = serde_json::from_str(&whole).expect("JSON");
    let (ours, theirs) = (&figures["objectives"]["tdpo1"], &golden["objectives"]["tdpo1"]);
    for key in ["grad_policy_chosen", "grad_policy_rejected", "grad_kl_chosen", "grad_kl_rejected"] {
        let (ours, theirs) = (ours[key][1][3].as_f64(), theirs[key][1][3].as_f64());
        assert!((ours.expect(key) - theirs.expect(key)).abs() < 1e-12, "{key}");
    }
}

#[test]
fn one_objective_is_evaluated_with_roles_and_weights() {
    let place = Place::new();
    place.write("golden.json", GOLDEN);
    let loss = |file: &str, objective: &str| {
        let (json, _) = place.run(&["objective", "--inputs", file, "--objective", objective, "--json"], 0);
        let figures: Value = serde_json::from_str(&json).expect("JSON");
        let (_, figures) = figures["objectives"].as_object().expect("an object").iter().next().expect("one objective");
        figures["loss"].as_f64().expect("a number")
    };
    let published: Value =
        serde_json::from_str(&place.run(&["objective", "--inputs", "golden.json", "--json"], 0).0).expect("JSON");
    let released = published["objectives"]["tabpo_released_lambda0"]["loss"].as_f64().expect("a number");
    assert_eq!(loss("golden.json", r#"{"name": "tab-po-released", "lambda": 0}"#), released);

    // Two pairs of two tokens, the first of which differs, worked out by hand: the barrier sees only the label.
    let two = |value: &str| format!("[[{value}],[{value}]]");
    let zeros = two("0,0");
    let mut inputs = format!(
        r#"{{"policy_chosen": {}, "policy_rejected": {}, "diff_chosen": {}, "diff_rejected": {}"#,
        two("-1,-2"),
        two("-0.5,-2"),
        two("1,0"),
        two("1,0"),
    );
    for key in ["ref", "weights", "kl_ref_policy", "tis_raw"] {
        inputs += &format!(r#", "{key}_chosen": {zeros}, "{key}_rejected": {zeros}"#);
    }
    let roles = two(r#""entity-label","span""#);
    inputs += &format!(r#", "role_names_chosen": {roles}, "role_names_rejected": {roles}, "pair_weights": [3, 1]}}"#);
    place.write("two.json", &inputs);
    let (anchor, barrier, decision) = (1.5, 1.0 + 0.9_f64.ln(), 0.1 * (1.0 + 0.5_f64.exp()).ln());
    assert!((loss("two.json", "tab-po") - (anchor + barrier + decision)).abs() < 1e-12);
    let scaffold = inputs.replace("entity-label", "scaffold");
    place.write("scaffold.json", &scaffold);
    assert!((loss("scaffold.json", "tab-po") - (anchor + decision)).abs() < 1e-12);

    place.write("short.json", &inputs.replace(r#"["entity-label","span"],"#, ""));
    let (_, stderr) = place.run(&["objective", "--inputs", "short.json", "--objective", "tab-po"], 2);
    assert!(stderr.contains("`role_names_chosen` has 0 values for pair 1"), "{stderr}");
    let (_, stderr) = place.run(&["objective", "--inputs", "two.json", "--objective", "tab-pa"], 2);
    assert!(stderr.contains("did you mean `tab-po`?"), "{stderr}");
    let (_, stderr) = place.run(&["objective", "--inputs", "two.json", "--objective", "f-credit"], 2);
    assert!(stderr.contains("needs more than per-token inputs"), "{stderr}");
}

#[test]
fn faulty_inputs_are_named() {
    let place = Place::new();
    place.write("inputs.json", "{\"policy_chosen\": []}");
    let (_, stderr) = place.run(&["objective", "--inputs", "inputs.json"], 2);
    assert!(stderr.contains("inputs.json") && stderr.contains("policy_rejected"), "{stderr}");
    place.run(&["objective"], 2);
}
