//! Copies to, from and within the device.

use super::{Bench, Outcome};
use crate::driver::{DriverError, Element};

const COUNT: usize = 100_003;

pub(super) fn check(bench: &mut Bench<'_>) -> Result<Vec<Outcome>, DriverError> {
    let (first, second) = (bench.random(Element::F32, COUNT)?, bench.random(Element::F32, COUNT)?);
    let uploaded = Outcome::of("memory: up and down", &bench.read(&first)?, &first.values, 0.0);
    // The first half of one over the second half of the other, then zeros over a part in the middle.
    let half = COUNT / 2;
    bench.driver.copy(second.address.offset(4 * (COUNT - half) as u64), first.address, 4 * half)?;
    let mut expected = second.values.clone();
    expected[COUNT - half..].copy_from_slice(&first.values[..half]);
    let copied = Outcome::of("memory: copy", &bench.read(&second)?, &expected, 0.0);
    let (start, end) = (COUNT / 3, COUNT / 2 + 7);
    bench.driver.clear(second.address.offset(4 * start as u64), 4 * (end - start))?;
    expected[start..end].fill(0.0);
    let cleared = Outcome::of("memory: clear", &bench.read(&second)?, &expected, 0.0);
    Ok(vec![uploaded, copied, cleared])
}
