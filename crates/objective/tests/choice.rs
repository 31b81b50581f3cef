//! Choosing objectives by name and hyper-parameters.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tabpo_objective::{Needs, Objective, ObjectiveError, catalogue};

fn error(value: Value) -> String {
    Objective::try_from(value).expect_err("a faulty choice").to_string()
}

#[test]
fn the_catalogue_holds_every_objective_of_the_comparison_once() {
    let names: BTreeSet<_> = catalogue().iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), catalogue().len());
    for name in [
        "sft",
        "continued-sft",
        "gated-sft",
        "focus-sft",
        "group-weighted-sft",
        "f-credit",
        "minimum-risk",
        "dynamic-oracle",
        "item-credit",
        "dpo",
        "cdpo",
        "robust",
        "ipo",
        "ipo-sum",
        "hinge",
        "rpo",
        "rpo-sequence",
        "dpop",
        "dpop-outside",
        "exo",
        "nca",
        "bco",
        "apo-zero",
        "apo-down",
        "kto",
        "sppo",
        "sigmoid-norm",
        "discopop",
        "simpo",
        "alphapo",
        "orpo",
        "cpo",
        "cpo-hinge",
        "slic",
        "cal-dpo",
        "tdpo1",
        "tdpo2",
        "tis-dpo",
        "d2po",
        "tgdpo",
        "confpo",
        "mask-dpo",
        "diff-only",
        "tab-po",
        "tab-po-released",
        "tab-po-paper-v2",
        "tab-po-ablation",
        "authors-dpo",
        "authors-ipo",
        "authors-simpo",
        "authors-dpop",
        "authors-cal-dpo",
    ] {
        assert!(names.contains(name), "{name}");
    }
    assert_eq!(Objective::default().name(), "tab-po");
}

#[test]
fn defaults_read_back_as_the_same_objective() {
    for entry in catalogue() {
        let objective = Objective::from(entry);
        let written = serde_json::to_value(&objective).expect("an objective is data");
        assert_eq!(written["name"], entry.name);
        assert_eq!(Objective::deserialize(written).expect("what was written"), objective);
        assert_eq!(objective.needs(), entry.needs());
    }
}

#[test]
fn a_configuration_names_objectives_with_and_without_hyper_parameters() {
    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Preference {
        objectives: Vec<Objective>,
    }
    let text = r#"
        objectives = [
            "dpo",
            {name = "dpo", beta = 1},
            {name = "tab-po", target = 3.0, role_weights = {entity-label = 2.0}, barrier_roles = ["link"]},
        ]
    "#;
    let preference: Preference = toml::from_str(text).expect("a configuration");
    let [dpo, stronger, tab_po] = &preference.objectives[..] else { panic!("three objectives") };
    assert_eq!(dpo.parameters()["beta"], 0.1);
    assert_eq!(stronger.parameters()["beta"], 1);
    assert_eq!(tab_po.parameters()["role_weights"]["entity-label"], 2.0);
    assert_eq!(tab_po.parameters()["role_weights"]["scaffold"], 0.5);
    let written = toml::to_string(&preference).expect("TOML");
    assert_eq!(toml::from_str::<Preference>(&written).expect("what was written"), preference);
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    assert_eq!(error(json!("simop")), "unknown objective `simop`; did you mean `simpo`?");
    assert_eq!(error(json!("tabpo_released")), "unknown objective `tabpo_released`; did you mean `tab-po-released`?");
    assert_eq!(error(json!("zzz")), "unknown objective `zzz`");
    assert_eq!(
        error(json!({"name": "rpo", "aplha": 2.0})),
        "objective `rpo` has no hyper-parameter `aplha`; did you mean `alpha`?; it has: beta, alpha, pooling",
    );
    let nested = error(json!({"name": "tab-po", "role_weights": {"entity-lable": 2.0}}));
    assert!(nested.contains("`role_weights.entity-lable`; did you mean `entity-label`?"), "{nested}");
}

#[test]
fn values_of_the_wrong_kind_or_out_of_range_are_named() {
    assert_eq!(
        error(json!({"name": "dpo", "beta": -1.0})),
        "objective `dpo`, hyper-parameter `beta`: -1 should be a number greater than 0 and at most 1000000",
    );
    assert!(matches!(
        Objective::try_from(json!({"name": "robust", "epsilon": 0.5})),
        Err(ObjectiveError::OutOfRange { violation, .. }) if violation.parameter == "epsilon"
    ));
    let wrong = error(json!({"name": "ipo", "form": "median"}));
    assert!(wrong.starts_with("objective `ipo`, hyper-parameter `form`: `median` is given, expected "), "{wrong}");
    let wrong = error(json!({"name": "dpo", "beta": "0.1"}));
    let start = "objective `dpo`, hyper-parameter `beta`: ";
    assert_eq!(wrong, format!("{start}the text \"0.1\" is given, expected a number"));
    for (value, found) in [(json!([1]), "a list"), (json!({"a": 1}), "a table"), (json!(true), "true")] {
        let wrong = error(json!({"name": "dpo", "beta": value}));
        assert_eq!(wrong, format!("{start}{found} is given, expected a number"));
    }
    assert_eq!(
        error(json!({"name": "tab-po", "role_weights": {"span": "high"}})),
        "objective `tab-po`, hyper-parameter `role_weights.span`: the text \"high\" is given, expected a number",
    );
    assert_eq!(error(json!({"beta": 0.1})), error(json!(3)));
}

#[test]
fn needs_distinguish_the_families() {
    let needs = |name: &str| Objective::new(name).expect("a name").needs();
    assert_eq!(needs("continued-sft"), Needs::CHOSEN);
    assert_eq!(needs("simpo"), Needs::PAIR);
    assert_eq!(needs("dpo"), Needs::PAIR_AND_REFERENCE);
    let with_kl: Vec<_> = catalogue().iter().filter(|entry| entry.needs().kl).map(|entry| entry.name).collect();
    assert_eq!(with_kl, ["tdpo1", "tdpo2"]);
    let with_guide: Vec<_> = catalogue().iter().filter(|entry| entry.needs().guide).map(|entry| entry.name).collect();
    assert_eq!(with_guide, ["tgdpo"]);
}

#[test]
fn a_measured_f1_fills_in_only_what_is_not_set() {
    let measured = |value: Value| {
        let objective = Objective::try_from(value).expect("a choice");
        let lacks = objective.lacks_f1();
        let filled = objective.with_f1(0.625, 0.25).expect("in range");
        assert!(!filled.lacks_f1());
        (lacks, filled)
    };
    let (lacks, filled) = measured(json!("f-credit"));
    assert!(lacks && filled.parameters()["entity_f1"] == 0.625 && filled.parameters()["relation_f1"] == 0.25);
    let (lacks, filled) = measured(json!({"name": "minimum-risk", "relation_f1": 0.5, "risk": 2.0}));
    assert!(lacks && filled.parameters()["entity_f1"] == 0.625 && filled.parameters()["relation_f1"] == 0.5);
    assert_eq!(filled.parameters()["risk"], 2.0);
    let (lacks, filled) = measured(json!({"name": "f-credit", "entity_f1": 0.5, "relation_f1": 0.5}));
    assert!(!lacks && filled.parameters()["entity_f1"] == 0.5);
    let (lacks, filled) = measured(json!("dpo"));
    assert!(!lacks && filled == Objective::new("dpo").expect("a name"));
    assert!(Objective::new("f-credit").expect("a name").with_f1(0.5, 1.5).is_err());
}

#[test]
fn only_an_objective_that_trains_where_lists_end_refuses_a_threshold() {
    for entry in catalogue() {
        let refused = Objective::from(entry).allow_threshold();
        assert_eq!(refused.is_err(), entry.name == "f-credit", "{}", entry.name);
        if let Err(error) = refused {
            assert!(error.to_string().contains("`f-credit`"));
        }
    }
}
