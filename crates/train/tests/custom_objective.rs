//! An objective that a program defines itself trains like one of the catalogue.

mod support;

use support::{adapter, adapting, examples, model, run, settings};
use tabpo_objective::{Baseline, Form, Needs, Objective};
use tabpo_train::TrainBudget;

#[test]
fn a_custom_dpo_trains_to_the_same_bits_as_dpo() {
    let model = model::<f32>(21);
    let examples = examples(6, 2, 22);
    let named = settings("dpo", TrainBudget::Steps(3));
    let mut custom = named.clone();
    custom.objective = Objective::custom("my-dpo", Needs::PAIR_AND_REFERENCE, |pair| {
        let scores = pair.scores(Form::Sum, Baseline::Reference);
        pair.preference(&scores, -(0.1 * scores.margin()).log_sigmoid());
    });
    let [expected, found] = [&named, &custom].map(|settings| {
        let (policy, records) = run(adapting(&model, adapter(&model, 0.0)), &examples, settings);
        let bits: Vec<u32> = policy.parameters().into_iter().flatten().map(|value| value.to_bits()).collect();
        let losses: Vec<f64> = records.iter().map(|record| record.loss).collect();
        (bits, losses)
    });
    assert_eq!(found, expected);
}
