//! Sums, conversions and the transposed matrix.

use crate::common::{Random, round};
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

const BOTH: [Element; 2] = [Element::F32, Element::Bf16];

#[test]
fn gradient_of_a_bias() {
    for element in BOTH {
        let (rows, width, stride, part) = (37_usize, 70_usize, 72, 8_usize);
        let mut random = Random::new(6);
        let (dy, before) = (random.values(rows * stride), random.values(width));
        let results = in_every_order(|trial| {
            let (dy, target) = (trial.put(element, &dy), trial.put(Element::F32, &before));
            let before = trial.get(target);
            let parts = rows.div_ceil(part);
            let partial = trial.room(Element::F32, parts * width);
            let arguments = arguments![dy, stride, rows, width, part, partial];
            let grid = [width.div_ceil(32), parts, 1];
            trial.launch(&format!("bias_gradient_{}", element.suffix()), grid, 32, 0, arguments);
            let sum = arguments![partial, parts, width as u64, 1_u32, target];
            trial.launch("sum_parts", [width.div_ceil(32), 1, 1], 32, 0, sum);
            vec![trial.get(dy), before, trial.get(target)]
        });
        let [dy, before, target] = &results[..] else { unreachable!() };
        let mut wanted = before.clone();
        for row in dy.chunks(stride) {
            for (sum, dy) in wanted.iter_mut().zip(row) {
                *sum += dy;
            }
        }
        assert_close("gradient", Element::F32, target, &wanted);
    }
}

#[test]
fn norm_of_a_gradient_and_its_scaling() {
    let count = 10_001;
    let x = Random::new(13).values(count);
    let results = in_every_order(|trial| {
        let x = trial.put(Element::F32, &x);
        let before = trial.get(x);
        let (blocks, parts, sum) = (5, trial.room_bytes(5 * 8), trial.room_bytes(8));
        trial.launch("sum_of_squares", [blocks, 1, 1], 128, 4 * 8, arguments![x, count as u64, parts]);
        trial.launch("sum_doubles", [1; 3], 64, 2 * 8, arguments![parts, blocks, sum]);
        trial.launch("scale", [count.div_ceil(256), 1, 1], 256, 0, arguments![x, count as u64, 0.375_f32]);
        vec![before, trial.get_f64(sum, 1), trial.get(x)]
    });
    let [before, sum, after] = &results[..] else { unreachable!() };
    let wanted: f64 = before.iter().map(|x| x * x).sum();
    // Ten thousand roundings of 53 bits; a sum in single precision would be off by 1e-7.
    assert!((sum[0] / wanted - 1.0).abs() < 1e-12, "the sum is {} instead of {wanted}", sum[0]);
    assert_eq!(*after, before.iter().map(|x| round(Element::F32, x * 0.375)).collect::<Vec<_>>());
}

#[test]
fn matrices_change_their_type_and_order() {
    let (rows, columns, from_stride, to_stride) = (41_usize, 70_usize, 75, 72);
    let x = Random::new(17).values(rows * from_stride);
    for from in BOTH {
        for to in BOTH {
            let results = in_every_order(|trial| {
                let (x, out) = (trial.put(from, &x), trial.put(to, &vec![9.0; rows * to_stride]));
                let arguments = arguments![x, from_stride, columns, 0.5_f32, out, to_stride];
                let kernel = format!("convert_{}_to_{}", from.suffix(), to.suffix());
                trial.launch(&kernel, [rows, columns.div_ceil(64), 1], 64, 0, arguments);
                vec![trial.get(x), trial.get(out)]
            });
            let mut wanted = vec![9.0; rows * to_stride];
            for row in 0..rows {
                for column in 0..columns {
                    wanted[row * to_stride + column] = round(to, results[0][row * from_stride + column] * 0.5);
                }
            }
            assert_eq!(results[1], wanted);
        }
        let height = 44;
        let results = in_every_order(|trial| {
            let (x, out) = (trial.put(from, &x), trial.put(from, &vec![9.0; columns * height]));
            let arguments = arguments![x, from_stride, rows, columns, out, height];
            let grid = [columns.div_ceil(32), rows.div_ceil(32), 1];
            trial.launch(&format!("transpose_{}", from.suffix()), grid, 256, 32 * 33 * 4, arguments);
            vec![trial.get(x), trial.get(out)]
        });
        let mut wanted = vec![9.0; columns * height];
        for row in 0..rows {
            for column in 0..columns {
                wanted[column * height + row] = results[0][row * from_stride + column];
            }
        }
        assert_eq!(results[1], wanted);
    }
}
