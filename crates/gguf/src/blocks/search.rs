//! The search for scales of k-quants, as `make_qkx2_quants` and `make_qx_quants` of ggml do it.
//!
//! The order of every addition and rounding is ggml's, because files are compared bit by bit.

/// Groups whose largest magnitude is below this count as all zero.
pub(crate) const ALL_ZERO: f32 = 1e-15;

/// A number rounded to the nearest integer, ties to even. Exact up to 2^22.
pub(crate) fn nearest(value: f32) -> i32 {
    let shifted = value + 12582912.0;
    (shifted.to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// How far and how finely a search with a minimum goes.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// The largest integer.
    pub(crate) largest: i32,
    /// What is added to the largest integer at the first try.
    pub(crate) start: f32,
    /// The number of further tries, each a tenth higher.
    pub(crate) steps: i32,
}

/// The scale and the negated minimum with which `quants * scale + minimum` is closest to the values,
/// by the weighted sum of squares.
pub(crate) fn with_minimum<const N: usize>(
    values: &[f32; N],
    weights: &[f32; N],
    quants: &mut [u8; N],
    search: Search,
) -> (f32, f32) {
    let largest = search.largest;
    let (mut minimum, mut maximum) = (values[0], values[0]);
    let mut weight_sum = weights[0];
    let mut value_sum = weight_sum * values[0];
    for (&value, &weight) in values.iter().zip(weights).skip(1) {
        if value < minimum {
            minimum = value;
        }
        if value > maximum {
            maximum = value;
        }
        weight_sum += weight;
        value_sum += weight * value;
    }
    if minimum > 0.0 {
        minimum = 0.0;
    }
    if maximum == minimum {
        quants.fill(0);
        return (0.0, -minimum);
    }
    let inverse = largest as f32 / (maximum - minimum);
    let mut scale = 1.0 / inverse;
    for (quant, &value) in quants.iter_mut().zip(values) {
        *quant = nearest(inverse * (value - minimum)).clamp(0, largest) as u8;
    }
    let mut least = error(values, weights, quants, scale, minimum);

    let mut tried = [0; N];
    for step in 0..=search.steps {
        // ggml measures from the best minimum found so far, not from the first.
        let inverse = (search.start + 0.1 * step as f32 + largest as f32) / (maximum - minimum);
        let (mut sum, mut square_sum, mut product_sum) = (0.0, 0.0, 0.0);
        for ((tried, &value), &weight) in tried.iter_mut().zip(values).zip(weights) {
            let quant = nearest(inverse * (value - minimum)).clamp(0, largest);
            *tried = quant as u8;
            let quant = quant as f32;
            sum += weight * quant;
            square_sum += weight * quant * quant;
            product_sum += weight * quant * value;
        }
        let determinant = weight_sum * square_sum - sum * sum;
        if determinant > 0.0 {
            let mut this_scale = (weight_sum * product_sum - value_sum * sum) / determinant;
            let mut this_minimum = (square_sum * value_sum - sum * product_sum) / determinant;
            if this_minimum > 0.0 {
                this_minimum = 0.0;
                this_scale = product_sum / square_sum;
            }
            let this_error = error(values, weights, &tried, this_scale, this_minimum);
            if this_error < least {
                *quants = tried;
                least = this_error;
                scale = this_scale;
                minimum = this_minimum;
            }
        }
    }
    (scale, -minimum)
}

fn error<const N: usize>(values: &[f32; N], weights: &[f32; N], quants: &[u8; N], scale: f32, minimum: f32) -> f32 {
    let mut sum = 0.0;
    for ((&value, &weight), &quant) in values.iter().zip(weights).zip(quants) {
        let difference = scale * f32::from(quant) + minimum - value;
        sum += weight * (difference * difference);
    }
    sum
}

/// The scale with which integers from `-largest` to `largest - 1` are closest to the values, each
/// weighted by its square. `quants` receives the integers plus `largest`.
pub(crate) fn without_minimum<const N: usize>(values: &[f32; N], quants: &mut [u8; N], largest: i32) -> f32 {
    let (mut extreme, mut magnitude) = (0.0_f32, 0.0_f32);
    for &value in values {
        if value.abs() > magnitude {
            magnitude = value.abs();
            extreme = value;
        }
    }
    if magnitude < ALL_ZERO {
        quants.fill(0);
        return 0.0;
    }
    let round = |inverse: f32, value: f32| nearest(inverse * value).clamp(-largest, largest - 1);
    let sums = |inverse: f32| {
        let (mut product_sum, mut square_sum) = (0.0_f32, 0.0_f32);
        for &value in values {
            let quant = round(inverse, value) as f32;
            let weight = value * value;
            product_sum += weight * value * quant;
            square_sum += weight * quant * quant;
        }
        (product_sum, square_sum)
    };
    let mut set = |inverse: f32| {
        for (quant, &value) in quants.iter_mut().zip(values) {
            *quant = (round(inverse, value) + largest) as u8;
        }
    };

    let inverse = -largest as f32 / extreme;
    let (product_sum, square_sum) = sums(inverse);
    set(inverse);
    let mut scale = if square_sum == 0.0 { 0.0 } else { product_sum / square_sum };
    let mut best = scale * product_sum;
    for step in (-9..=9).filter(|&step| step != 0) {
        let inverse = -(largest as f32 + 0.1 * step as f32) / extreme;
        let (product_sum, square_sum) = sums(inverse);
        if square_sum > 0.0 && product_sum * product_sum > best * square_sum {
            set(inverse);
            scale = product_sum / square_sum;
            best = scale * product_sum;
        }
    }
    scale
}
