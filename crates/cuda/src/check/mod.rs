//! Checks of a device: its operations on random input against the same in double precision on the host.
//!
//! Input is rounded to the type that the device computes with before the host computes with it, so what is left is the
//! device's own rounding.

mod attention;
mod bench;
mod decode;
mod feed_forward;
mod head;
mod memory;
mod models;
mod norm;
mod products;
mod rows;

pub(crate) use bench::{Bench, Numbers};
pub use models::{ModelSize, run_models};

use std::sync::Arc;
use std::time::Instant;

use crate::arena::Arena;
use crate::driver::{Driver, DriverError, Element, Operand, Product};

/// The result of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was checked.
    pub name: String,
    /// The relative error: the norm of the difference by the norm of what was expected.
    pub error: f64,
    /// The largest error that passes.
    pub limit: f64,
}

impl Outcome {
    /// Compares what came out with what was expected.
    fn of(name: impl Into<String>, found: &[f64], expected: &[f64], limit: f64) -> Self {
        assert_eq!(found.len(), expected.len(), "both are of one shape");
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        let size = norm(&mut expected.iter().copied());
        // Zeros have to come out as zeros.
        let error = if difference == 0.0 { 0.0 } else { difference / size };
        Self { name: name.into(), error, limit }
    }

    /// Whether the check passed; an error that is not a number doesn't.
    pub fn passed(&self) -> bool {
        self.error <= self.limit
    }
}

/// The largest error of an operation that rounds its result to `element`, as the sums are in single precision.
const fn limit(element: Element) -> f64 {
    match element {
        Element::F32 => 1e-5,
        Element::Bf16 => 1e-2,
    }
}

/// The name of a check of kernels for `element`.
fn named(what: &str, element: Element) -> String {
    format!("{what}, {}", element.suffix())
}

/// How fast the device computes products of large square matrices, in GFLOP/s: the ceiling for everything else.
///
/// # Errors
/// Those of the device, such as too little memory.
pub fn product_gflops(driver: &Arc<dyn Driver>, element: Element) -> Result<f64, DriverError> {
    const SIZE: usize = 8192;
    const PRODUCTS: u32 = 10;
    let bytes = (SIZE * SIZE * element.bytes()) as u64;
    let [a, b, d] = [Arena::zeros(driver, bytes)?, Arena::zeros(driver, bytes)?, Arena::new(driver, bytes)?];
    let operand =
        |arena: &Arena, transposed: bool| Operand { address: arena.start(), stride: SIZE, element, transposed };
    let product = Product {
        rows: SIZE,
        columns: SIZE,
        inner: SIZE,
        alpha: 1.0,
        a: operand(&a, false),
        b: operand(&b, true),
        c: None,
        d: operand(&d, false),
    };
    // The first one chooses how it is computed.
    driver.product(&product)?;
    driver.wait()?;
    let started = Instant::now();
    (0..PRODUCTS).try_for_each(|_| driver.product(&product))?;
    driver.wait()?;
    let operations = 2.0 * (SIZE as f64).powi(3) * f64::from(PRODUCTS);
    Ok(operations / started.elapsed().as_secs_f64() / 1e9)
}

/// How fast the device copies `bytes` within its memory, in GB/s, what is read and what is written counted together: the
/// ceiling for kernels that compute little.
///
/// # Errors
/// Those of the device, such as too little memory.
pub fn copy_gigabytes(driver: &Arc<dyn Driver>, bytes: usize) -> Result<f64, DriverError> {
    const COPIES: u32 = 10;
    let [from, to] = [Arena::zeros(driver, bytes as u64)?, Arena::new(driver, bytes as u64)?];
    driver.copy(to.start(), from.start(), bytes)?;
    driver.wait()?;
    let started = Instant::now();
    (0..COPIES).try_for_each(|_| driver.copy(to.start(), from.start(), bytes))?;
    driver.wait()?;
    Ok(2.0 * bytes as f64 * f64::from(COPIES) / started.elapsed().as_secs_f64() / 1e9)
}

/// Runs the checks of memory and matrix products, which need no kernels, on input that follows from `seed`, and tells
/// each outcome as soon as it is there.
///
/// # Errors
/// That of the first operation which the device refuses or doesn't survive.
pub fn run_without_kernels(
    driver: &dyn Driver,
    seed: u64,
    tell: &mut dyn FnMut(&Outcome),
) -> Result<Vec<Outcome>, DriverError> {
    group(driver, seed, tell, &[&memory::check, &products::check])
}

/// Runs all checks: also those of the kernels, in both types.
///
/// # Errors
/// As [`run_without_kernels`].
pub fn run(driver: &dyn Driver, seed: u64, tell: &mut dyn FnMut(&Outcome)) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = run_without_kernels(driver, seed, tell)?;
    for element in [Element::F32, Element::Bf16] {
        let checks: [&Check<'_>; 6] = [
            &|bench| norm::check(bench, element),
            &|bench| feed_forward::check(bench, element),
            &|bench| attention::check(bench, element),
            &|bench| head::check(bench, element),
            &|bench| rows::check(bench, element),
            &|bench| decode::check(bench, element),
        ];
        outcomes.extend(group(driver, seed, tell, &checks)?);
    }
    Ok(outcomes)
}

/// The checks of some operations.
type Check<'a> = dyn Fn(&mut Bench<'_>) -> Result<Vec<Outcome>, DriverError> + 'a;

fn group(
    driver: &dyn Driver,
    seed: u64,
    tell: &mut dyn FnMut(&Outcome),
    checks: &[&Check<'_>],
) -> Result<Vec<Outcome>, DriverError> {
    let mut outcomes = Vec::new();
    for check in checks {
        let mut bench = Bench::new(driver, seed);
        let found = check(&mut bench);
        // What went wrong first is what is told.
        let cleared = bench.clear();
        for outcome in found? {
            tell(&outcome);
            outcomes.push(outcome);
        }
        cleared?;
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_passes_only_within_its_limit() {
        let outcome = |found: &[f64]| Outcome::of("x", found, &[3.0, 4.0], 1e-2);
        assert!(outcome(&[3.0, 4.0]).passed() && outcome(&[3.0, 4.05]).passed());
        assert!((outcome(&[3.0, 4.5]).error - 0.1).abs() < 1e-12 && !outcome(&[3.0, 4.5]).passed());
        assert!(!outcome(&[3.0, f64::NAN]).passed());
        assert!(!Outcome::of("x", &[1e-9], &[0.0], 1.0).passed());
    }
}
