//! Widened weights have the bits of the CPU's, beside copies of what lies in the room.

use half::{bf16, f16};
use tabpo_cuda::driver::{Address, Element};
use tabpo_cuda::ops::{Kernels, Nf4};
use tabpo_emulate::trial::in_every_order;
use tabpo_model::{Nf4Matrix, StoredType};

use crate::common::{Random, round};

#[test]
fn widened_weights_have_the_bits_of_the_cpu() {
    // Rows of whole blocks, and rows that begin within one; with more than one group of scales.
    let shapes = [(66, 256, 64), (37, 72, 0), (5, 1160, 128)];
    for (number, (rows, inputs, room)) in shapes.into_iter().enumerate() {
        for rounding in [StoredType::Bf16, StoredType::F16, StoredType::F32] {
            for (nested, element) in [(true, Element::Bf16), (false, Element::Bf16), (true, Element::F32)] {
                let mut random = Random::new(number as u64);
                // From numbers of 16 bits that lose bits below 2^-14 to ones that don't.
                let sizes = [1e-6, 1e-4, 0.02, 3.0];
                let source: Vec<f32> = random
                    .values(rows * inputs)
                    .iter()
                    .zip(0..)
                    .map(|(value, i)| (value * sizes[i / 640 % 4]) as f32)
                    .collect();
                let copy = |row: usize, out: &mut [f32]| out.copy_from_slice(&source[row * inputs..][..inputs]);
                let matrix = Nf4Matrix::quantise([rows, inputs], rounding, nested, copy).expect("finite weights");
                let beside = random.values(rows * room);
                let found = in_every_order(|trial| {
                    let there = Nf4::new(&matrix, |bytes| Ok(trial.put_bytes(bytes))).expect("it is on the device");
                    let beside = if room > 0 { trial.put(element, &beside).address } else { Address(0) };
                    let to = trial.room(element, rows * (inputs + room));
                    let kernels = Kernels { driver: &trial.device, element };
                    there.dequantise(kernels, (beside, room as u32), to.address).expect("the kernel runs");
                    vec![trial.get(to)]
                });
                let mut wanted = Vec::new();
                for row in 0..rows {
                    matrix.widen(row, 0..inputs, |_, values| {
                        // The CPU's weights are numbers of their type, of which the card's are the nearest of its own.
                        assert!(values.iter().all(|&value| match rounding {
                            StoredType::Bf16 => bf16::from_f32(value).to_f32() == value,
                            StoredType::F16 => f16::from_f32(value).to_f32() == value,
                            StoredType::F32 => true,
                        }));
                        wanted.extend(values.iter().map(|&value| round(element, f64::from(value))));
                    });
                    wanted.extend(beside[row * room..][..room].iter().map(|&value| round(element, value)));
                }
                let differs = found[0].iter().zip(&wanted).position(|(a, b)| a.to_bits() != b.to_bits());
                assert_eq!(differs, None, "[{rows}, {inputs}], {rounding:?}, {element:?}");
                assert_eq!(found[0].len(), wanted.len());
            }
        }
    }
}
