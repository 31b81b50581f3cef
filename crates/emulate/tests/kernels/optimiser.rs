//! AdamW over several parameters, with and without copies and decay.

use crate::common::{Random, round};
use tabpo_cuda::driver::{Address, Element};
use tabpo_emulate::arguments;
use tabpo_emulate::trial::in_every_order;

/// An entry of the kernel's table.
struct Parameter {
    start: usize,
    columns: usize,
    rows: usize,
    /// Its copy: numbers before it, from row to row, and the factor.
    copy: Option<(usize, usize, f32)>,
    decays: bool,
}

impl Parameter {
    fn length(&self) -> usize {
        self.rows * self.columns
    }

    fn bytes(&self, copies: Address, element: Element, first_block: u32) -> Vec<u8> {
        let (copy, stride, factor) = self.copy.map_or((0, 0, 0.0), |(before, stride, factor)| {
            (copies.offset((before * element.bytes()) as u64).0, stride, factor)
        });
        let longs = [self.start as u64, self.length() as u64, copy];
        let mut bytes: Vec<u8> = longs.iter().flat_map(|long| long.to_le_bytes()).collect();
        let words = [self.columns as u32, stride as u32, factor.to_bits(), u32::from(self.decays), first_block, 0];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }
}

/// The same steps in single precision, operation by operation as the CPU's optimiser computes them.
struct Reference {
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPSILON: f32 = 1e-8;
const KEEP: f32 = 1.0 - 0.01 * 0.1;

impl Reference {
    fn step(&mut self, gradients: &[f32], decays: &[bool], [factor, rate, root_correction]: [f32; 3]) {
        let state = self.values.iter_mut().zip(&mut self.first).zip(&mut self.second);
        for (((p, m), v), (g, &decays)) in state.zip(gradients.iter().zip(decays)) {
            let g = factor * g;
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = BETA2 * *v + (1.0 - BETA2) * g * g;
            let step = rate * *m / (v.sqrt() * root_correction + EPSILON);
            *p = *p * if decays { KEEP } else { 1.0 } - step;
        }
    }
}

#[test]
fn adamw_is_the_cpu_optimiser_to_the_bit() {
    // A matrix of several blocks beside the columns of another, a vector without a copy, a small matrix copied as it is.
    // Between the parameters are gaps, which belong to nobody.
    let parameters = [
        Parameter { start: 0, columns: 24, rows: 100, copy: Some((5, 40, 0.5)), decays: true },
        Parameter { start: 2432, columns: 7, rows: 1, copy: None, decays: false },
        Parameter { start: 2440, columns: 16, rows: 4, copy: Some((4096, 16, 1.0)), decays: true },
    ];
    let length = 2440 + 64;
    let mut random = Random::new(21);
    let floats = |values: Vec<f64>| values.iter().map(|&x| f64::from(x as f32)).collect::<Vec<_>>();
    let values = floats(random.values(length));
    let gradients = [0; 3].map(|_| floats(random.values(length)));
    let settings = |step: i32| {
        let (correction1, correction2) = (1.0 - f64::from(BETA1).powi(step), 1.0 - f64::from(BETA2).powi(step));
        [0.25_f32, (0.01 / correction1) as f32, (1.0 / correction2.sqrt()) as f32]
    };
    for element in [Element::F32, Element::Bf16] {
        let results = in_every_order(|trial| {
            let copies = trial.put(element, &vec![9.0; 4096 + 64]);
            let (mut table, mut blocks) = (Vec::new(), 0);
            for parameter in &parameters {
                table.extend(parameter.bytes(copies.address, element, blocks));
                blocks += parameter.length().div_ceil(1024) as u32;
            }
            let table = trial.put_bytes(&table);
            let state = trial.put(Element::F32, &values);
            let moments = [0; 2].map(|_| trial.put(Element::F32, &vec![0.0; length]));
            for (step, gradient) in gradients.iter().enumerate() {
                let gradient = trial.put(Element::F32, gradient);
                let [factor, rate, root_correction] = settings(step as i32 + 1);
                let arguments = arguments![
                    table,
                    parameters.len(),
                    state,
                    gradient,
                    moments[0],
                    moments[1],
                    factor,
                    BETA1,
                    BETA2,
                    EPSILON,
                    rate,
                    root_correction,
                    KEEP
                ];
                trial.launch(&format!("adamw_{}", element.suffix()), [blocks as usize, 1, 1], 64, 0, arguments);
            }
            [state, moments[0], moments[1], copies].map(|numbers| trial.get(numbers)).to_vec()
        });
        let single = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let mut reference = Reference { values: single(&values), first: vec![0.0; length], second: vec![0.0; length] };
        let mut copies = vec![9.0; 4096 + 64];
        for (step, gradient) in gradients.iter().enumerate() {
            for parameter in &parameters {
                let own = parameter.start..parameter.start + parameter.length();
                let mut part = Reference {
                    values: reference.values[own.clone()].to_vec(),
                    first: reference.first[own.clone()].to_vec(),
                    second: reference.second[own.clone()].to_vec(),
                };
                let decays = vec![parameter.decays; parameter.length()];
                part.step(&single(&gradient[own.clone()]), &decays, settings(step as i32 + 1));
                reference.values[own.clone()].copy_from_slice(&part.values);
                reference.first[own.clone()].copy_from_slice(&part.first);
                reference.second[own.clone()].copy_from_slice(&part.second);
                let Some((before, stride, factor)) = parameter.copy else { continue };
                for (i, value) in part.values.iter().enumerate() {
                    let at = before + i / parameter.columns * stride + i % parameter.columns;
                    copies[at] = round(element, f64::from(factor * value));
                }
            }
        }
        let double = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        assert_eq!(results[0], double(&reference.values));
        assert_eq!(results[1], double(&reference.first));
        assert_eq!(results[2], double(&reference.second));
        assert_eq!(results[3], copies, "copies, and nothing beside them");
    }
}
