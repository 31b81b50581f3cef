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
fn faulty_inputs_are_named() {
    let place = Place::new();
    place.write("inputs.json", "{\"policy_chosen\": []}");
    let (_, stderr) = place.run(&["objective", "--inputs", "inputs.json"], 2);
    assert!(stderr.contains("inputs.json") && stderr.contains("policy_rejected"), "{stderr}");
    place.run(&["objective"], 2);
}
