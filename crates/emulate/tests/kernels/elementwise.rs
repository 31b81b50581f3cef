//! The gated product, and rotation with biases and norms of heads, against their formulas in double precision.

use crate::common::Random;
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

const BOTH: [Element; 2] = [Element::F32, Element::Bf16];

/// The first columns of rows that are wider.
fn columns(values: &[f64], stride: usize, width: usize) -> Vec<f64> {
    values.chunks(stride).flat_map(|row| row[..width].to_vec()).collect()
}

#[test]
fn swiglu() {
    for element in BOTH {
        let suffix = element.suffix();
        let (rows, inner, stride) = (7, 72, 80);
        let mut random = Random::new(2);
        let gate_up: Vec<f64> = random.values(rows * 2 * inner).iter().map(|x| x * 6.0).collect();
        let gradient = random.values(rows * stride);
        let results = in_every_order(|trial| {
            let (gate_up, gradient) = (trial.put(element, &gate_up), trial.put(element, &gradient));
            let before = [gate_up, gradient].map(|numbers| trial.get(numbers));
            let product = trial.room(element, rows * stride);
            let grid = [rows, inner.div_ceil(32 * 16 / element.bytes()), 1];
            let forward = arguments![gate_up, 2 * inner, inner, product, stride];
            trial.launch(&format!("swiglu_forward_{suffix}"), grid, 32, 0, forward);
            let backward = arguments![gate_up, 2 * inner, inner, gradient, stride];
            trial.launch(&format!("swiglu_backward_{suffix}"), grid, 32, 0, backward);
            let after = [product, gate_up, gradient].map(|numbers| trial.get(numbers));
            before
                .into_iter()
                .chain(after.map(|values| values.into_iter().map(|x| if x.is_nan() { 9e9 } else { x }).collect()))
                .collect()
        });
        let [gate_up, gradient, product, after, repeated] = &results[..] else { unreachable!() };
        let mut wanted = [const { Vec::new() }; 3];
        for (row, d) in gate_up.chunks(2 * inner).zip(gradient.chunks(stride)) {
            for i in 0..inner {
                let (g, u) = (row[i], row[inner + i]);
                let s = 1.0 / (1.0 + (-g).exp());
                wanted[0].push(g * s * u);
                wanted[1].push(d[i] * u * s * (1.0 + g * (1.0 - s)));
                wanted[2].push(d[i] * g * s);
            }
        }
        let product = columns(product, stride, inner);
        assert_close("product", element, &product, &wanted[0]);
        assert_eq!(product, columns(repeated, stride, inner), "the backward pass finds the same product");
        let of_gate = columns(after, 2 * inner, inner);
        let of_up: Vec<f64> = after.chunks(2 * inner).flat_map(|row| row[inner..].to_vec()).collect();
        assert_close("gradient of the gate", element, &of_gate, &wanted[1]);
        assert_close("gradient of up", element, &of_up, &wanted[2]);
        for (row, before) in repeated.chunks(stride).zip(gradient.chunks(stride)) {
            assert_eq!(row[inner..], before[inner..], "columns beyond the product stay as they are");
        }
    }
}

/// A row of the reference: bias, norm of heads, rotation. `inverse` gets r of every head that has a norm.
struct Reference<'a> {
    heads: usize,
    kv_heads: usize,
    size: usize,
    bias: Option<&'a [f64]>,
    scales: Option<&'a [f64]>,
    epsilon: f64,
}

impl Reference<'_> {
    fn biased(&self, raw: &[f64]) -> Vec<f64> {
        raw.iter().enumerate().map(|(i, x)| x + self.bias.map_or(0.0, |bias| bias[i])).collect()
    }

    fn inverse(&self, head: &[f64]) -> f64 {
        1.0 / (head.iter().map(|x| x * x).sum::<f64>() / self.size as f64 + self.epsilon).sqrt()
    }

    fn scale(&self, head: usize) -> Option<&[f64]> {
        let start = if head < self.heads { 0 } else { self.size };
        self.scales.map(|scales| &scales[start..start + self.size])
    }

    fn forward(&self, raw: &[f64], angles: &[(f64, f64)]) -> Vec<f64> {
        let mut row = self.biased(raw);
        for (index, head) in row.chunks_mut(self.size).enumerate().take(self.heads + self.kv_heads) {
            if let Some(scale) = self.scale(index) {
                let r = self.inverse(head);
                for (x, scale) in head.iter_mut().zip(scale) {
                    *x *= r * scale;
                }
            }
            rotate(head, angles, 1.0);
        }
        row
    }

    /// The gradient of the projection's row, and that of the scales added to `of_scales`.
    fn backward(&self, raw: &[f64], gradient: &[f64], angles: &[(f64, f64)], of_scales: &mut [f64]) -> Vec<f64> {
        let row = self.biased(raw);
        let mut gradient = gradient.to_vec();
        let heads = gradient.chunks_mut(self.size).zip(row.chunks(self.size)).enumerate();
        for (index, (dy, x)) in heads.take(self.heads + self.kv_heads) {
            rotate(dy, angles, -1.0);
            let Some(scale) = self.scale(index) else { continue };
            let r = self.inverse(x);
            let start = if index < self.heads { 0 } else { self.size };
            let sum: f64 = (0..self.size).map(|i| scale[i] * dy[i] * x[i]).sum();
            for i in 0..self.size {
                of_scales[start + i] += dy[i] * x[i] * r;
                dy[i] = r * (scale[i] * dy[i] - x[i] * r * r / self.size as f64 * sum);
            }
        }
        gradient
    }
}

fn rotate(head: &mut [f64], angles: &[(f64, f64)], sign: f64) {
    let half = head.len() / 2;
    for (i, &(cosine, sine)) in angles.iter().enumerate() {
        let (a, b, sine) = (head[i], head[i + half], sine * sign);
        head[i] = a * cosine - b * sine;
        head[i + half] = b * cosine + a * sine;
    }
}

fn rope(element: Element, size: usize, with_bias: bool, with_norm: bool) {
    let suffix = element.suffix();
    let (rows, heads, kv_heads, gap) = (9_usize, 4, 2, 8);
    let (half, all, rotated) = (size / 2, heads + 2 * kv_heads, heads + kv_heads);
    let (width, epsilon) = (all * size, 1e-6_f32);
    let mut random = Random::new(size as u64);
    let raw = random.values(rows * (width + gap));
    let gradient = random.values(rows * width);
    let (bias, scales) = (random.values(width), random.values(2 * size));
    let positions: Vec<u32> = (0..rows).map(|_| random.below(40) as u32).collect();
    let angles: Vec<f64> =
        (0..40 * half).map(|i| (i / half) as f64 * 100_f64.powf(-((i % half) as f64) / half as f64)).collect();
    let tables =
        [f64::cos as fn(f64) -> f64, f64::sin].map(|f| angles.iter().map(|&angle| f(angle)).collect::<Vec<_>>());
    let results = in_every_order(|trial| {
        let [cosines, sines] = [0, 1].map(|which| trial.put(Element::F32, &tables[which]));
        let raw = trial.put(element, &raw);
        let places = trial.put_u32(&positions);
        let bias = with_bias.then(|| trial.put(Element::F32, &bias));
        let scales = with_norm.then(|| trial.put(Element::F32, &scales));
        let inverse = with_norm.then(|| trial.room(Element::F32, rows * rotated));
        let out = trial.room(element, rows * width);
        let grid = [rows, all.div_ceil(3), 1];
        let forward = arguments![
            raw,
            width + gap,
            bias,
            heads,
            kv_heads,
            size,
            scales,
            epsilon,
            cosines,
            sines,
            places,
            inverse,
            out,
            width
        ];
        trial.launch(&format!("rope_forward_{suffix}"), grid, 96, 0, forward);
        let in_place = trial.put(element, &trial.get(raw));
        if !with_norm {
            let forward = arguments![
                in_place,
                width + gap,
                bias,
                heads,
                kv_heads,
                size,
                scales,
                epsilon,
                cosines,
                sines,
                places,
                inverse,
                in_place,
                width + gap
            ];
            trial.launch(&format!("rope_forward_{suffix}"), grid, 96, 0, forward);
        }
        let gradient = trial.put(element, &gradient);
        let before = trial.get(gradient);
        let (part, parts) = (4_usize, rows.div_ceil(4));
        let of_scales = trial.put(Element::F32, &vec![0.0; 2 * size]);
        if with_norm {
            let partial = trial.room(Element::F32, parts * 2 * size);
            let arguments = arguments![
                raw,
                width + gap,
                bias,
                heads,
                kv_heads,
                size,
                inverse,
                cosines,
                sines,
                places,
                gradient,
                width,
                rows,
                part,
                partial
            ];
            trial.launch(&format!("rope_scale_gradient_{suffix}"), [size.div_ceil(64), parts, 2], 64, 0, arguments);
            let sum = arguments![partial, parts, 2 * size as u64, 0_u32, of_scales];
            trial.launch("sum_parts", [(2 * size).div_ceil(64), 1, 1], 64, 0, sum);
        }
        let backward = arguments![
            raw,
            width + gap,
            bias,
            heads,
            kv_heads,
            size,
            scales,
            inverse,
            cosines,
            sines,
            places,
            gradient,
            width
        ];
        trial.launch(&format!("rope_backward_{suffix}"), grid, 96, 0, backward);
        let first = [raw, cosines, sines, out, in_place].map(|numbers| trial.get(numbers));
        let floats = |numbers: Option<_>| numbers.map_or(Vec::new(), |numbers| trial.get(numbers));
        let second = [floats(bias), floats(scales), before, trial.get(gradient), trial.get(of_scales)];
        first.into_iter().chain(second).collect()
    });
    let [raw, cosines, sines, out, in_place, bias, scales, before, after, of_scales] = &results[..] else {
        unreachable!()
    };
    let reference = Reference {
        heads,
        kv_heads,
        size,
        bias: with_bias.then_some(bias),
        scales: with_norm.then_some(scales),
        epsilon: f64::from(epsilon),
    };
    let (mut forward, mut backward, mut wanted_scales) = (Vec::new(), Vec::new(), vec![0.0; 2 * size]);
    for (row, &position) in positions.iter().enumerate() {
        let at = position as usize * half..(position as usize + 1) * half;
        let angles: Vec<(f64, f64)> = cosines[at.clone()].iter().copied().zip(sines[at].iter().copied()).collect();
        let raw = &raw[row * (width + gap)..][..width];
        forward.extend(reference.forward(raw, &angles));
        backward.extend(reference.backward(raw, &before[row * width..][..width], &angles, &mut wanted_scales));
    }
    assert_close("forward", element, out, &forward);
    if with_norm {
        assert_close("gradient of the scales", Element::F32, of_scales, &wanted_scales);
    } else {
        assert_eq!(*out, columns(in_place, width + gap, width), "in place it is the same");
    }
    assert_close("backward", element, after, &backward);
}

#[test]
fn rope_plain() {
    rope(Element::F32, 64, false, false);
    rope(Element::Bf16, 128, false, false);
}

#[test]
fn rope_with_biases() {
    rope(Element::F32, 96, true, false);
    rope(Element::Bf16, 64, true, false);
}

#[test]
fn rope_with_norms_of_heads() {
    rope(Element::F32, 128, false, true);
    rope(Element::Bf16, 128, false, true);
    rope(Element::F32, 40, true, true);
}
