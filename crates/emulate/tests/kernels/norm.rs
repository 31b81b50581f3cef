//! RMS normalisation against its formula in double precision.

use crate::common::Random;
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

/// Forward, repeated, backward (added, and in place) and the gradient of the scale.
fn norm(element: Element, rows: usize, width: usize, stride: usize, threads: u32) {
    let suffix = element.suffix();
    let epsilon = 1e-5_f32;
    let mut random = Random::new(1);
    let (x, scale, before) = (random.values(rows * width), random.values(width), random.values(rows * width));
    let dy = random.values(rows * stride);
    let shared = threads as usize / 8;
    let results = in_every_order(|trial| {
        let (x, dy, target) = (trial.put(element, &x), trial.put(element, &dy), trial.put(element, &before));
        let scale = trial.put(Element::F32, &scale);
        let inverse = trial.room(Element::F32, rows);
        let [y, repeated] = [0; 2].map(|_| trial.room(element, (rows - 1) * stride + width));
        let grid = [rows, 1, 1];
        let forward = arguments![x, scale, epsilon, width, inverse, y, stride];
        trial.launch(&format!("norm_forward_{suffix}"), grid, threads, shared, forward);
        trial.launch(
            &format!("norm_repeat_{suffix}"),
            grid,
            threads,
            0,
            arguments![x, scale, inverse, width, repeated, stride],
        );
        let backward = format!("norm_backward_{suffix}");
        trial.launch(&backward, grid, threads, shared, arguments![x, scale, inverse, dy, stride, width, 1_u32, target]);
        let part = 5;
        let parts = rows.div_ceil(part);
        let partial = trial.room(Element::F32, parts * width);
        let arguments = arguments![x, inverse, dy, stride, rows, width, part, partial];
        trial.launch(&format!("norm_scale_gradient_{suffix}"), [width.div_ceil(64), parts, 1], 64, 0, arguments);
        let of_scale = trial.put(Element::F32, &vec![1.0; width]);
        trial.launch(
            "sum_parts",
            [width.div_ceil(64), 1, 1],
            64,
            0,
            arguments![partial, parts, width as u64, 1_u32, of_scale],
        );
        let plain =
            trial.put(element, &trial.get(dy).chunks(stride).flat_map(|row| row[..width].to_vec()).collect::<Vec<_>>());
        trial.launch(
            &backward,
            grid,
            threads,
            shared,
            arguments![x, scale, inverse, plain, width, width, 0_u32, plain],
        );
        [x, scale, dy, inverse, y, repeated, target, of_scale, plain].map(|numbers| trial.get(numbers)).to_vec()
    });
    let [x, scale, dy, inverse, y, repeated, target, of_scale, in_place] = &results[..] else { unreachable!() };
    let before: Vec<f64> = before.iter().map(|&value| crate::common::round(element, value)).collect();
    let (mut wanted_inverse, mut wanted_y, mut wanted_dx) = (Vec::new(), Vec::new(), Vec::new());
    let mut wanted_scale = vec![1.0; width];
    for (x, dy) in x.chunks(width).zip(dy.chunks(stride)) {
        let r = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / width as f64 + f64::from(epsilon)).sqrt();
        let sum: f64 = (0..width).map(|i| scale[i] * dy[i] * x[i]).sum();
        wanted_inverse.push(r);
        for i in 0..width {
            wanted_y.push(x[i] * r * scale[i]);
            wanted_dx.push(r * (scale[i] * dy[i] - x[i] * r * r / width as f64 * sum));
            wanted_scale[i] += dy[i] * x[i] * r;
        }
    }
    let wanted_target: Vec<f64> = wanted_dx.iter().zip(&before).map(|(dx, before)| dx + before).collect();
    let y: Vec<f64> = y.chunks(stride).flat_map(|row| row[..width].to_vec()).collect();
    let repeated: Vec<f64> = repeated.chunks(stride).flat_map(|row| row[..width].to_vec()).collect();
    assert_eq!(y, repeated);
    assert_close("inverse", Element::F32, inverse, &wanted_inverse);
    assert_close("forward", element, &y, &wanted_y);
    assert_close("backward", element, target, &wanted_target);
    assert_close("backward in place", element, in_place, &wanted_dx);
    assert_close("gradient of the scale", Element::F32, of_scale, &wanted_scale);
}

#[test]
fn norm_in_single_precision() {
    norm(Element::F32, 13, 136, 200, 64);
    norm(Element::F32, 3, 896, 896, 256);
}

#[test]
fn norm_in_bf16() {
    norm(Element::Bf16, 13, 136, 200, 64);
    norm(Element::Bf16, 3, 2048, 2048, 128);
}
