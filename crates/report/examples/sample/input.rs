//! Invented figures for every part of the page. They describe no run.

use tabpo_report::{
    CaseKind, Comparison, Confusion, Contrast, Curve, CurveChart, ErrorModes, Estimate, Fact, LabelScores, LabelSystem,
    MetricColumn, PairView, RemoteSystem, ReportInput, RoleChange, RoleProfile, RoleShares, RunSummary, ScoreUnit,
    StageTime, SystemKind, SystemRow, Term, TextAnnotations, TextAnswer, TextCase, TextEntity, TextError, TextRelation,
    Texts, TrainingRow,
};

const SYSTEMS: [(&str, SystemKind); 7] = [
    ("SFT", SystemKind::Checkpoint),
    ("continued SFT, equal steps", SystemKind::Control),
    ("continued SFT, equal FLOPs", SystemKind::Control),
    ("gated SFT", SystemKind::Control),
    ("DPO", SystemKind::System),
    ("TAB-PO", SystemKind::System),
    ("hosted model, 5-shot", SystemKind::Remote),
];
const ROLES: [&str; 8] = ["scaffold", "entity-label", "subtype", "relation-label", "link", "span", "occurrence", "end"];
const LABELS: [&str; 6] = ["Task", "Method", "Metric", "Material", "Generic", "OtherScientificTerm"];

/// The whole page.
pub(crate) fn sample() -> ReportInput {
    ReportInput {
        title: "Quick start".into(),
        subtitle: Some("Built-in corpus, biased annotator, small model from scratch (invented figures)".into()),
        summary: Some(summary()),
        comparison: Some(comparison()),
        texts: Some(texts()),
        labels: vec![labels()],
        errors: vec![errors("SFT", 3), errors("TAB-PO", 1)],
        curves: vec![curves("Loss", "loss", 1.4), curves("Margin", "nats", -2.0)],
        roles: vec![Term { name: "scaffold".into(), meaning: "braces, commas, keys and quotes".into() }],
        gradients: Some(gradients()),
        erosion: erosion(),
        pairs: pairs(),
        remote: remote(),
    }
}

fn fact(name: &str, value: &str) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

fn summary() -> RunSummary {
    let stage = |name: &str, seconds, reused| StageTime { name: name.into(), seconds, reused };
    RunSummary {
        facts: vec![
            fact("Model", "Llama style, 4 layers, d 128"),
            fact("Test documents", "1000"),
            fact("Preference pairs", "1200"),
            fact("Program", "tabpo 0.1.0"),
        ],
        training: vec![
            training("continued SFT, equal steps", "sft", 75, 88_214, 1e-4),
            training("DPO", "dpo", 75, 90_027, 2e-4),
            training("TAB-PO", "tab-po", 75, 91_530, 2e-4),
        ],
        thresholds: vec![fact("TAB-PO", "0.40 for entities, 0.45 for relations")],
        seeds: vec![1, 2, 3],
        digests: vec![fact("test split", "b3:5f1d09c2"), fact("SFT checkpoint", "b3:77aa01e4")],
        stages: vec![
            stage("corpus", 0.4, true),
            stage("sft", 92.3, false),
            stage("pairs", 1.2, false),
            stage("train", 74.0, false),
            stage("eval", 31.7, false),
        ],
        configuration: "seed = 1\n\n[model]\nlayers = 4\nhidden = 128\n".into(),
    }
}

fn training(system: &str, objective: &str, steps: u64, tokens: u64, learning_rate: f64) -> TrainingRow {
    let reference_tokens = if objective == "sft" { 0 } else { 37_939 };
    TrainingRow {
        system: system.into(),
        objective: objective.into(),
        steps,
        tokens,
        reference_tokens,
        learning_rate,
        runs: 3,
    }
}

/// An estimate of a metric; `is_f1` says whether it has precision and recall.
fn estimate(value: f64, is_f1: bool) -> Estimate {
    let half = 0.003 + 0.05 * value * (1.0 - value);
    let interval = ((value - half).max(0.0), (value + half).min(1.0));
    Estimate {
        value,
        precision_and_recall: is_f1.then(|| ((value + half).min(1.0), value - half)),
        interval: Some(interval),
        deviation: Some(half / 3.0),
    }
}

fn comparison() -> Comparison {
    let metric = |name: &str, lower_is_better| MetricColumn {
        name: name.into(),
        meaning: format!("what {name} measures"),
        unit: ScoreUnit::Percent,
        lower_is_better,
    };
    let rows = [
        [0.772, 0.811, 0.457, 0.293, 0.017, 0.995],
        [0.855, 0.899, 0.501, 0.416, 0.017, 0.996],
        [0.859, 0.902, 0.519, 0.435, 0.015, 0.997],
        [0.847, 0.896, 0.491, 0.406, 0.021, 0.994],
        [0.815, 0.858, 0.464, 0.345, 0.022, 0.991],
        [0.881, 0.921, 0.524, 0.447, 0.016, 0.997],
        [0.702, 0.790, 0.401, 0.310, 0.004, 1.0],
    ];
    let f1 = [true, false, true, true, false, false];
    let systems = SYSTEMS.iter().zip(rows).map(|(&(name, kind), values)| SystemRow {
        name: name.into(),
        kind,
        silent: false,
        scores: values.iter().zip(f1).map(|(&value, is_f1)| Some(estimate(value, is_f1))).collect(),
    });
    let mut contrasts = Vec::new();
    for (metric, column) in [("NER", 0), ("Rel+", 3)] {
        for system in [4, 5] {
            for control in [1, 2, 3] {
                let difference = rows[system][column] - rows[control][column];
                contrasts.push(Contrast {
                    system: SYSTEMS[system].0.into(),
                    control: SYSTEMS[control].0.into(),
                    metric: metric.into(),
                    difference,
                    interval: Some((difference - 0.018, difference + 0.018)),
                    p_adjusted: (-300.0 * difference.abs()).exp(),
                });
            }
        }
    }
    Comparison {
        scope: "Test split, 1000 documents, 3 seeds, greedy decoding.".into(),
        method:
            "Intervals: percentile bootstrap over documents, 10,000 resamples. p-values: approximate randomisation."
                .into(),
        documents: Some(12),
        headline: vec!["NER".into(), "Rel+".into()],
        alpha: 0.05,
        metrics: vec![
            metric("NER", false),
            metric("label given span", false),
            metric("Rel", false),
            metric("Rel+", false),
            metric("ungrounded", true),
            metric("valid", false),
        ],
        systems: systems.collect(),
        contrasts,
    }
}

const RELATIONS: [&str; 5] = ["Used-for", "Feature-of", "Part-of", "Compare", "Conjunction"];
const SENTENCE: &str = "We estimate optical flow with a variational method on image sequences.";

/// The words of the sentence as an entity with a label.
fn entity(words: &str, label: u32) -> TextEntity {
    let start = SENTENCE.find(words).map(|start| start as u32);
    let range = start.map(|start| (start, start + words.len() as u32));
    let said = if range.is_none() { words.into() } else { String::new() };
    TextEntity { range, said, label: Some(label), subtype: None }
}

/// The same sentence forty times: `SFT` and `DPO` have a label wrong in every second one, `TAB-PO` only in the first,
/// where it also invents an entity, and the hosted model turns the relation around in every fifth.
fn texts() -> Texts {
    let relation = |head, tail| TextRelation { head: Some(head), tail: Some(tail), label: Some(0) };
    let side =
        |entities: &[TextEntity], relation| TextAnnotations { entities: entities.to_vec(), relations: vec![relation] };
    let (flow, method) = (entity("optical flow", 0), entity("variational method", 1));
    let crossing = entity("method on image sequences", 3);
    let gold = side(&[flow.clone(), method.clone(), crossing.clone()], relation(1, 0));
    let right = TextAnswer { annotations: gold.clone(), ..TextAnswer::default() };
    let confused = TextAnswer {
        annotations: side(&[flow.clone(), entity("variational method", 5), crossing.clone()], relation(1, 0)),
        errors: vec![TextError { kind: 0, gold: Some(1), predicted: Some(1) }],
        unreadable: false,
    };
    let mut invented = confused.clone();
    invented.annotations.entities.push(entity("phase correlation", 1));
    invented.errors.push(TextError { kind: 2, gold: None, predicted: Some(3) });
    let turned = TextAnswer {
        annotations: side(&[flow, method, crossing], relation(0, 1)),
        errors: vec![TextError { kind: 3, gold: Some(0), predicted: Some(0) }],
        unreadable: false,
    };
    let case = |number: u32| TextCase {
        place: format!("synthetic-{number}, sentence 0"),
        text: SENTENCE.into(),
        gold: gold.clone(),
        answers: vec![right.clone(), confused.clone(), invented.clone(), turned.clone()],
        of_system: vec![
            u32::from(number % 2 == 1),
            0,
            0,
            0,
            u32::from(number % 2 == 1),
            if number == 0 { 2 } else { 0 },
            if number.is_multiple_of(5) { 3 } else { 0 },
        ],
    };
    let kind =
        |name: &str, relational| CaseKind { name: name.into(), relational, meaning: format!("what {name} means") };
    Texts {
        scope: "Test split, first seed of each system".into(),
        total: 100,
        entity_labels: LABELS.map(Into::into).to_vec(),
        relation_labels: RELATIONS.map(Into::into).to_vec(),
        kinds: vec![
            kind("label-confusion", false),
            kind("missing-entity", false),
            kind("spurious-entity", false),
            kind("direction", true),
            kind("relation-confusion", true),
        ],
        systems: SYSTEMS.map(|(name, _)| name.into()).to_vec(),
        cases: (0..40).map(case).collect(),
    }
}

fn labels() -> LabelScores {
    let column = |name: &str, shift: f64| LabelSystem {
        name: name.into(),
        f1: (0..6).map(|label| (label != 2 || shift > 0.0).then(|| 0.9 - 0.08 * f64::from(label) + shift)).collect(),
    };
    LabelScores {
        title: "Entities, strict".into(),
        note: "A note on the rows.".into(),
        labels: LABELS.map(Into::into).to_vec(),
        support: vec![412, 1034, 121, 288, 510, 890],
        systems: vec![column("SFT", -0.06), column("continued SFT, equal FLOPs", 0.0), column("TAB-PO", 0.02)],
    }
}

fn errors(system: &str, weight: u64) -> ErrorModes {
    let counts = |size: u64, scale: u64| -> Vec<Vec<u64>> {
        let cell = |row: u64, column: u64| match (row, column) {
            (row, column) if row == column => scale * 3,
            (row, column) => (row * 5 + column * 3) % 7 * weight * scale / 40,
        };
        (0..size).map(|row| (0..=size).map(|column| cell(row, column)).collect()).collect()
    };
    let with_missing = |names: &[&str]| names.iter().copied().chain(["missing"]).map(Into::into).collect();
    ErrorModes {
        system: system.into(),
        confusions: vec![
            Confusion {
                title: "Entity label, given the span".into(),
                kind: "label-confusion".into(),
                gold: LABELS.map(Into::into).to_vec(),
                predicted: with_missing(&LABELS),
                counts: counts(6, 60),
            },
            Confusion {
                title: "Relation type, given the arguments".into(),
                kind: "relation-confusion".into(),
                gold: RELATIONS.map(Into::into).to_vec(),
                predicted: with_missing(&RELATIONS),
                counts: counts(5, 35),
            },
        ],
        kinds: vec![
            ("missing-entity".into(), 70 * weight),
            ("spurious-entity".into(), 41 * weight),
            ("boundary".into(), 33 * weight),
            ("direction".into(), 12 * weight),
        ],
    }
}

fn curves(title: &str, y: &str, scale: f64) -> CurveChart {
    let curve = |(index, name): (usize, &str)| {
        let wobble = |step: u32| ((step * 37 + index as u32 * 11) % 17) as f64 / 17.0 - 0.5;
        let points = (0..150).map(|step| {
            let decay = (-f64::from(step) / (30.0 + 20.0 * index as f64)).exp();
            (f64::from(step), scale * decay + 0.25 * wobble(step) + 0.1 * index as f64)
        });
        Curve { name: name.into(), points: points.collect() }
    };
    CurveChart {
        title: title.into(),
        x: "step".into(),
        y: y.into(),
        note: "A note on the curves.".into(),
        smoothing: 15,
        curves: ["continued SFT, equal FLOPs", "gated SFT", "DPO", "TAB-PO"]
            .into_iter()
            .enumerate()
            .map(curve)
            .collect(),
    }
}

fn gradients() -> RoleShares {
    let profile = |name: &str, shares: [f64; 8]| RoleProfile { name: name.into(), shares: shares.to_vec() };
    RoleShares {
        roles: ROLES.map(Into::into).to_vec(),
        objectives: vec![
            profile("continued SFT", [0.42, 0.08, 0.0, 0.05, 0.07, 0.36, 0.005, 0.015]),
            profile("gated SFT", [0.05, 0.41, 0.0, 0.25, 0.13, 0.15, 0.005, 0.005]),
            profile("DPO", [0.38, 0.09, 0.0, 0.08, 0.09, 0.34, 0.01, 0.01]),
            profile("TAB-PO", [0.08, 0.35, 0.0, 0.22, 0.16, 0.17, 0.01, 0.01]),
        ],
    }
}

fn erosion() -> Vec<RoleChange> {
    let change = |name: &str, chosen: [f64; 8], eroded| RoleChange {
        name: name.into(),
        roles: ROLES.map(Into::into).to_vec(),
        chosen: chosen.iter().enumerate().map(|(role, &value)| (role != 2).then_some(value)).collect(),
        rejected: chosen.iter().enumerate().map(|(role, &value)| (role != 2).then_some(value - 0.9)).collect(),
        eroded: Some((eroded, 1740)),
    };
    vec![
        change("continued SFT", [0.004, 0.41, 0.0, 0.36, 0.11, 0.05, 0.01, 0.002], 212),
        change("DPO", [-0.006, -0.12, 0.0, -0.31, -0.22, -0.08, -0.02, -0.001], 901),
        change("TAB-PO", [0.003, 0.62, 0.0, 0.58, 0.21, 0.04, 0.01, 0.002], 96),
    ]
}

fn pairs() -> Vec<PairView> {
    let text = "We estimate optical flow with a variational method on image sequences.";
    let chosen = r#"{"entities":[{"id":"e1","text":"optical flow","type":"Task"},{"id":"e2","text":"variational method","type":"Method"}],"relations":[{"head":"e2","type":"Used-for","tail":"e1"}]}"#;
    let pair = |id: &str, kind: &str, source: &str, edit: [&str; 3], rejected: String| PairView {
        id: id.into(),
        place: "synthetic-17, sentence 1".into(),
        text: text.into(),
        chosen: chosen.into(),
        rejected,
        kind: kind.into(),
        source: source.into(),
        item: edit[0].into(),
        from: edit[1].into(),
        to: edit[2].into(),
        distance: Some(2),
        weight: Some(1.0),
    };
    let swap = chosen.replace(r#""type":"Task""#, r#""type":"OtherScientificTerm""#);
    let turned =
        chosen.replace(r#""head":"e2","type":"Used-for","tail":"e1""#, r#""head":"e1","type":"Used-for","tail":"e2""#);
    vec![
        pair("p1", "label", "pattern L3", ["e1", "Task", "OtherScientificTerm"], swap),
        pair("p2", "direction", "mode", ["", "e2 Used-for e1", "e1 Used-for e2"], turned),
    ]
}

fn remote() -> Vec<RemoteSystem> {
    vec![RemoteSystem {
        name: "hosted model, 5-shot".into(),
        model: "frontier-large".into(),
        calls: 981,
        reused: 19,
        prompt_tokens: 1_840_112,
        cached_tokens: 1_204_224,
        completion_tokens: 78_034,
        cost: Some(4.17),
        currency: "USD".into(),
        prices_of: "prices of 2026-01-01".into(),
        latency_median_ms: Some(812.0),
        latency_p95_ms: Some(2310.0),
        outcomes: vec![("answered".into(), 990), ("truncated".into(), 7), ("refused".into(), 3)],
    }]
}
