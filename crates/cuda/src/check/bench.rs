//! Random input on a device.

use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::driver::{Address, Driver, DriverError, Element};
use crate::ops::{Kernels, Rows};

/// A device with random numbers and the memory that a check has taken.
pub(crate) struct Bench<'a> {
    pub(crate) driver: &'a dyn Driver,
    random: ChaCha8Rng,
    taken: Vec<Address>,
}

/// Numbers on the device, with the values that the host knows them by.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(crate) address: Address,
    pub(crate) element: Element,
    /// What was uploaded, rounded to the type.
    pub(crate) values: Vec<f64>,
}

impl Numbers {
    /// The numbers as a matrix.
    pub(crate) fn rows(&self, stride: usize) -> Rows {
        Rows { address: self.address, stride: stride as u32 }
    }
}

impl<'a> Bench<'a> {
    pub(crate) fn new(driver: &'a dyn Driver, seed: u64) -> Self {
        Self { driver, random: ChaCha8Rng::seed_from_u64(seed), taken: Vec::new() }
    }

    /// Random numbers between -1 and 1.
    pub(crate) fn values(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| f64::from(self.random.random::<f32>()) * 2.0 - 1.0).collect()
    }

    /// A random number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// The kernels for this type.
    pub(crate) fn kernels(&self, element: Element) -> Kernels<'a> {
        Kernels { driver: self.driver, element }
    }

    /// Random numbers on the device.
    pub(crate) fn random(&mut self, element: Element, count: usize) -> Result<Numbers, DriverError> {
        let values = self.values(count);
        self.put(element, &values)
    }

    /// Numbers on the device, rounded to their type.
    pub(crate) fn put(&mut self, element: Element, values: &[f64]) -> Result<Numbers, DriverError> {
        let (bytes, values) = match element {
            Element::F32 => {
                let rounded: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                let bytes: Vec<u8> = rounded.iter().flat_map(|value| value.to_le_bytes()).collect();
                (bytes, rounded.into_iter().map(f64::from).collect())
            }
            Element::Bf16 => {
                let rounded: Vec<bf16> = values.iter().map(|&value| bf16::from_f64(value)).collect();
                let bytes = rounded.iter().flat_map(|value| value.to_le_bytes()).collect();
                (bytes, rounded.into_iter().map(f64::from).collect())
            }
        };
        Ok(Numbers { address: self.put_bytes(&bytes)?, element, values })
    }

    /// Indices on the device.
    pub(crate) fn put_indices(&mut self, indices: &[u32]) -> Result<Address, DriverError> {
        self.put_bytes(&indices.iter().flat_map(|index| index.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Memory with undefined content.
    pub(crate) fn room(&mut self, bytes: u64) -> Result<Address, DriverError> {
        let address = self.driver.allocate((bytes as usize).max(1))?;
        self.taken.push(address);
        Ok(address)
    }

    /// Indices that are on the device.
    pub(crate) fn read_indices(&self, address: Address, count: usize) -> Result<Vec<u32>, DriverError> {
        let mut bytes = vec![0; 4 * count];
        self.driver.download(address, &mut bytes)?;
        let index = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        Ok(bytes.chunks_exact(4).map(index).collect())
    }

    /// Numbers in double precision.
    pub(crate) fn read_doubles(&self, address: Address, count: usize) -> Result<Vec<f64>, DriverError> {
        let mut bytes = vec![0; 8 * count];
        self.driver.download(address, &mut bytes)?;
        let double = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Ok(bytes.chunks_exact(8).map(double).collect())
    }

    /// Bytes on the device.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) -> Result<Address, DriverError> {
        let address = self.room(bytes.len() as u64)?;
        self.driver.upload(address, bytes)?;
        Ok(address)
    }

    /// What is on the device now.
    pub(crate) fn read(&self, numbers: &Numbers) -> Result<Vec<f64>, DriverError> {
        let mut bytes = vec![0; numbers.values.len() * numbers.element.bytes()];
        self.driver.download(numbers.address, &mut bytes)?;
        Ok(match numbers.element {
            Element::F32 => {
                let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                numbers.map(f64::from).collect()
            }
            Element::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        })
    }

    /// Gives back all memory that was taken.
    pub(crate) fn clear(&mut self) -> Result<(), DriverError> {
        self.taken.drain(..).try_for_each(|address| self.driver.free(address))
    }
}
