//! Models in NF4 compute what their widened weights compute, and what transformers computes with bitsandbytes
//! (`fixtures/make_nf4.py`).

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{FAMILIES, all_logits, assert_close, batch, change, copy, fixture, json_file, tensors};
use half::bf16;
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use tabpo_engine::{
    AdamWConfig, HostWorker, Job, Lora, Model, Policy, Recompute, Target, TargetValues, TensorRef, Tolerance,
    TrainingSetup, Worker, quantise, verify_export,
};
use tabpo_model::{LoraConfig, ModelConfig, Nf4Matrix, Nf4Options, SaveOptions, StoredType};
use tempfile::TempDir;

/// The names of the tensors that are kept in NF4.
fn quantised(model: &Model<f32>) -> Vec<String> {
    let is_nf4 = |tensor: &TensorRef<'_, f32>| matches!(tensor, TensorRef::Matrix(matrix) if matrix.as_nf4().is_some());
    model.tensors().into_iter().filter(|(_, tensor)| is_nf4(tensor)).map(|(name, _)| name).collect()
}

fn widened(model: &Model<f32>) -> Model<f32> {
    let mut widened = model.clone();
    widened.make_trainable();
    widened
}

/// A folder that transformers saved in 4 bits gives the logits of transformers: those of the weights as bitsandbytes
/// dequantises them up to rounding of the arithmetic; those of its products in 4 bits up to the rounding of each weight to
/// bf16, which they leave out where they compute in single precision.
#[test]
fn a_folder_of_bitsandbytes_gives_the_logits_of_transformers() {
    let folder = fixture("nf4");
    let model = Model::<f32>::open(&folder).expect("a folder in 4 bits");
    assert_eq!(quantised(&model).len(), 7, "all projections");
    let wanted = tensors(&folder.join("expected.safetensors"));
    let record = json_file(&folder.join("expected.json"));
    let input_ids: Vec<Vec<u32>> = serde_json::from_value(record["input_ids"].clone()).expect("lists of ids");
    for (number, found) in all_logits(&model, None, &input_ids).iter().enumerate() {
        assert_close(found, &wanted[&format!("dequantised.{number}")], 1e-4, "dequantised");
        let quantised = &wanted[&format!("quantised.{number}")];
        assert_close(found, quantised, 0.2, "quantised");
        let deviation = |values: &[f32]| (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
        let difference: Vec<f32> = found.iter().zip(quantised).map(|(a, b)| a - b).collect();
        assert!(deviation(&difference) < 0.02 * deviation(quantised), "{}", deviation(&difference));
    }
}

/// The same folder comes out of the model that transformers quantised.
#[test]
fn quantising_gives_the_codes_of_bitsandbytes() {
    let place = tempfile::tempdir().expect("a folder");
    quantise(&fixture("nf4/original"), place.path(), &Nf4Options::default(), |_, _| ()).expect("a folder in NF4");
    let read = |folder: &Path| std::fs::read(folder.join("model.safetensors")).expect("weights");
    let (ours, theirs) = (read(place.path()), read(&fixture("nf4")));
    let parse = |bytes| SafeTensors::deserialize(bytes).expect("safetensors");
    let (ours, theirs) = (parse(&ours), parse(&theirs));
    let names = |file: &SafeTensors<'_>| {
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names(&ours), names(&theirs));
    for name in names(&ours) {
        let (ours, theirs) = (ours.tensor(&name).expect("a tensor"), theirs.tensor(&name).expect("a tensor"));
        if name.ends_with("bitsandbytes__nf4") {
            let state = |bytes: &[u8]| serde_json::from_slice::<Map<String, Value>>(bytes).expect("JSON");
            let (ours, theirs) = (state(ours.data()), state(theirs.data()));
            assert!(ours.keys().all(|key| theirs.contains_key(key)), "{name}: {ours:?} and {theirs:?}");
            for (key, value) in &theirs {
                // The mean of the scales is summed in another order.
                let same = match (ours[key].as_f64(), value.as_f64()) {
                    (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-7 * theirs,
                    _ => ours[key] == *value,
                };
                assert!(same, "{name}, {key}: {} and {value}", ours[key]);
            }
            continue;
        }
        assert_eq!((ours.dtype(), ours.shape()), (theirs.dtype(), theirs.shape()), "{name}");
        if name.ends_with("nested_absmax") {
            // It follows the mean.
            let numbers = |bytes: &[u8]| -> Vec<f32> {
                bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
            };
            assert_close(&numbers(ours.data()), &numbers(theirs.data()), 1e-8, &name);
        } else {
            assert!(ours.data() == theirs.data(), "{name}");
        }
    }
    assert_eq!(
        json_file(&place.path().join("config.json"))["quantization_config"]["bnb_4bit_quant_type"],
        json!("nf4")
    );
}

/// Projections in NF4, embedding, head, norms and biases in bf16; in several files, too.
#[test]
fn a_written_folder_has_the_quantised_model() {
    for family in FAMILIES {
        let folder = fixture(family);
        let original = Model::<f32>::open(&folder).expect("a model");
        for (nested, shard_bytes) in [(true, usize::MAX), (false, 6_000)] {
            let place = tempfile::tempdir().expect("a folder");
            let mut told = Vec::new();
            let options = Nf4Options { nested, shard_bytes };
            quantise(&folder, place.path(), &options, |done, all| told.push((done, all))).expect("a folder in NF4");
            let all = original.config.tensors().len();
            assert_eq!(told, (0..=all).map(|done| (done, all)).collect::<Vec<_>>());
            assert_eq!(place.path().join("model.safetensors.index.json").exists(), !nested);

            let written = Model::<f32>::open(place.path()).expect("the folder");
            assert_eq!(written.config, original.config);
            let mut expected = original.clone();
            expected.quantise(nested).expect("finite weights");
            let names = quantised(&written);
            assert_eq!(names, quantised(&expected));
            assert_eq!(names.len(), 7 * original.config.layers);
            for ((name, written), (_, expected)) in written.tensors().into_iter().zip(expected.tensors()) {
                let values = |tensor| match tensor {
                    TensorRef::Vector(values) => values.to_vec(),
                    TensorRef::Matrix(matrix) => matrix.clone().make_owned().to_vec(),
                };
                let rounded: Vec<f32> =
                    values(expected).into_iter().map(|value| bf16::from_f32(value).to_f32()).collect();
                assert_eq!(values(written), rounded, "{family}, {name}");
            }
            // What is written from it again is a plain model.
            let plain = tempfile::tempdir().expect("a folder");
            written.save_like(place.path(), plain.path(), &SaveOptions::new(StoredType::Bf16)).expect("a folder");
            assert_eq!(json_file(&plain.path().join("config.json")).get("quantization_config"), None);
            let plain = Model::<f32>::open(plain.path()).expect("a plain folder");
            verify_export((&written, None), (&plain, None), StoredType::F32).expect("the same weights");
        }
    }
}

/// A random model that is wide enough for whole blocks of weights.
fn random(seed: u64) -> Model<f32> {
    let mut model = Model::<f32>::initialise(ModelConfig::small(96, 128, 2, 4), seed);
    // Weights of some size, so that answers depend on them.
    for values in model.parameters_mut() {
        for value in values.iter_mut() {
            *value *= 4.0;
        }
    }
    model
}

/// What a worker exports after some steps of training an adapter, and its log-probabilities.
fn trained(base: Model<f32>) -> (Vec<(String, Vec<u8>)>, Vec<u64>) {
    let adapter = Lora::initialise(&base.config, LoraConfig::new(4, 8.0), 2);
    let mut worker = HostWorker::new(Policy::adapter(Arc::new(base), adapter));
    let setup = TrainingSetup {
        optimiser: AdamWConfig::default(),
        recompute: Recompute::default(),
        logit_bytes: 1 << 20,
        divergences: false,
    };
    worker.begin(&setup).expect("it begins");
    let batch = batch(&[(0..40).map(|i| i * 7 % 96).collect(), (0..33).map(|i| i * 5 % 96).collect()]);
    let targets: Vec<Target> = (0..72).map(|row| Target { row, token: batch.tokens[row as usize + 1] }).collect();
    let job = Job { batch: &batch, targets: &targets, dropout_seed: None };
    for _ in 0..4 {
        worker.clear_gradient().expect("it has begun");
        let gradient = |_: usize, values: &TargetValues| TargetValues {
            log_probs: vec![-1.0 / 72.0; values.log_probs.len()],
            divergences: Vec::new(),
        };
        worker.accumulate(&[job], &gradient, &mut |_| {}).expect("a step");
        worker.step(1e-2, 1.0).expect("a step");
    }
    let log_probs = worker.log_probs(&job).expect("log-probabilities").into_iter().map(f64::to_bits).collect();
    let state = worker.export().expect("it has begun");
    (state.into_iter().map(|tensor| (tensor.name, tensor.bytes.into_owned())).collect(), log_probs)
}

#[test]
fn an_adapter_is_trained_as_on_the_widened_weights_to_the_bit() {
    for nested in [true, false] {
        let mut base = random(1);
        base.quantise(nested).expect("finite weights");
        let plain = widened(&base);
        assert!(base.bytes() * 2 < plain.bytes(), "{} and {} bytes", base.bytes(), plain.bytes());
        let identity = |model: &Model<f32>| HostWorker::frozen(model.clone(), None).identity();
        assert_ne!(identity(&base), identity(&plain), "the identity covers the format");
        let (state, log_probs) = trained(base);
        let (expected, expected_log_probs) = trained(plain);
        assert!(state == expected && log_probs == expected_log_probs);
    }
    // Training sees the weights: other ones give another adapter.
    assert_ne!(trained(random(1)).1, trained(random(3)).1);
}

#[test]
fn the_memory_of_a_model_is_that_of_its_codes() {
    let mut model = random(1);
    let bytes = model.bytes();
    let projections: usize = model.layers[0].projections.iter().map(|p| p.weight.rows() * p.weight.columns()).sum();
    model.quantise(true).expect("finite weights");
    let saved = (bytes - model.bytes()) as f64 / (2.0 * projections as f64);
    // Half a byte a weight, an eighth of a bit of scales, and in a small model the map and the offset of each matrix.
    assert!((4.0 - saved) > 0.515 && (4.0 - saved) < 0.57, "{}", 4.0 - saved);
    let mut again = model.clone();
    again.quantise(true).expect("finite weights");
    verify_export((&model, None), (&again, None), Tolerance::NF4).expect("quantised weights change little");
}

/// A copy of the folder in NF4.
fn nf4() -> TempDir {
    let folder = copy("nf4");
    assert!(Model::<f32>::open(folder.path()).is_ok());
    folder
}

fn message(folder: &TempDir) -> String {
    let error = Model::<f32>::open(folder.path()).map(|_| ()).expect_err("an error");
    let message = common::with_causes(&error);
    assert!(message.contains(&folder.path().display().to_string()), "{message}");
    message
}

#[test]
fn other_quantised_folders_are_refused_with_a_remedy() {
    for (key, changed, expected) in [
        ("bnb_4bit_quant_type", json!("fp4"), "`quantization_config.bnb_4bit_quant_type` is `fp4`; only `nf4`"),
        ("bnb_4bit_quant_type", Value::Null, "is `fp4`; only `nf4`"),
        ("load_in_4bit", json!(false), "`quantization_config.load_in_4bit` is not true"),
        ("quant_method", json!("gptq"), "`quantization_config.quant_method` is `gptq`"),
        ("load_in_4bit", json!("yes"), "true or false is expected"),
    ] {
        let folder = nf4();
        let path = folder.path().join("config.json");
        let mut settings = json_file(&path)["quantization_config"].clone();
        settings[key] = changed;
        change(&path, &json!({"quantization_config": settings}));
        let message = message(&folder);
        assert!(message.contains(expected) && message.contains("config.json"), "{message}");
        assert!(key == "load_in_4bit" || message.contains("`tabpo model quantise`"), "{message}");
    }
}

/// A change of the header and the data of a file of weights.
type Damage = Box<dyn FnOnce(&mut Map<String, Value>, &mut Vec<u8>)>;

/// Damages the weights.
fn damage(folder: &TempDir, change: impl FnOnce(&mut Map<String, Value>, &mut Vec<u8>)) {
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).expect("weights");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let mut data = bytes[8 + length..].to_vec();
    change(&mut header, &mut data);
    let header = serde_json::to_vec(&header).expect("JSON");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    std::fs::write(path, bytes).expect("writing");
}

#[test]
fn what_is_wrong_with_codes_and_scales_is_named() {
    const NAME: &str = "model.layers.0.mlp.up_proj.weight";
    let named = |ending: &str| format!("{NAME}{ending}");
    let start =
        |header: &Map<String, Value>, name: &str| header[name]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let rename = |from: String, to: String| {
        move |header: &mut Map<String, Value>, _: &mut Vec<u8>| {
            let tensor = header.remove(&from).expect("a tensor");
            header.insert(to, tensor);
        }
    };
    let state = named(".quant_state.bitsandbytes__nf4");
    let in_state = |from: &'static str, to: &'static str| {
        let state = state.clone();
        move |header: &mut Map<String, Value>, data: &mut Vec<u8>| {
            let text = String::from_utf8(data[start(header, &state)..][..100].to_vec()).expect("JSON");
            assert_eq!(from.len(), to.len());
            let place = start(header, &state) + text.find(from).expect("a value");
            data[place..place + to.len()].copy_from_slice(to.as_bytes());
        }
    };
    let not_finite = |name: String| -> Damage {
        Box::new(move |header, data| {
            let place = start(header, &name);
            data[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        })
    };
    let cases: [(Damage, &[&str]); 9] = [
        (
            Box::new(rename(state.clone(), named(".quant_state.bitsandbytes__fp4"))),
            &["up_proj.weight.quant_state.bitsandbytes__fp4", "in FP4", "only NF4"],
        ),
        (Box::new(rename(state.clone(), named(".state"))), &["up_proj.weight` is U8 [4096, 1] without `"]),
        (Box::new(rename(named(".absmax"), named(".scales"))), &["no tensor `", "up_proj.weight.absmax`"]),
        (Box::new(rename(named(".nested_absmax"), "other".into())), &["no tensor `", ".nested_absmax`"]),
        (Box::new(in_state("[128, 64]", "[128, 65]")), &["shape [128, 65]", "requires [128, 64]"]),
        (Box::new(in_state("nf4", "fp4")), &[".quant_state.bitsandbytes__nf4` `quant_type` is \"fp4\"; \"nf4\""]),
        (Box::new(in_state("\"blocksize\": 64", "\"blocksize\": 32")), &["`blocksize` is 32; 64 is expected"]),
        (not_finite(named(".quant_map")), &[".quant_map` has other values than those of NF4"]),
        (not_finite(named(".nested_absmax")), &["up_proj.weight` is not a finite number"]),
    ];
    for (change, expected) in cases {
        let folder = nf4();
        damage(&folder, change);
        let message = message(&folder);
        assert!(expected.iter().all(|part| message.contains(part)), "{expected:?}: {message}");
    }
    // Codes of another matrix: too few for this one.
    let folder = nf4();
    damage(&folder, |header, _| {
        let (own, other) = (named(""), "model.layers.0.self_attn.k_proj.weight");
        let (a, b) = (header[&own].clone(), header[other].clone());
        header.insert(own, b);
        header.insert(other.into(), a);
    });
    let message = message(&folder);
    assert!(message.contains("bytes for [") && message.contains("weights are expected"), "{message}");
}

/// Weights that have no code are found before a folder is written.
#[test]
fn weights_that_are_not_finite_are_not_quantised() {
    let mut model = random(1);
    let weight = model.layers[1].projections[3].weight.as_owned_mut().expect("owned weights");
    weight[129] = f32::NAN;
    let error = model.quantise(true).expect_err("a weight without a code");
    assert_eq!(error.0, 129);
    assert_eq!(Nf4Matrix::blocks(3, 50), 3);
}
