//! What tests of kernels share: a device with vectors on it, runs in all orders of threads, and the comparison with a
//! reference in double precision.

use half::bf16;
use tabpo_cuda::driver::{Address, Argument, Driver, DriverError, Element, Launch};

use crate::{Emulator, Order};

/// Numbers on a device, in an allocation of exactly their size.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Where the first one is.
    pub address: Address,
    /// Their type.
    pub element: Element,
    /// How many there are.
    pub length: usize,
}

/// A device under test. Its functions panic where the device reports an error.
#[derive(Debug)]
pub struct Trial {
    /// The device.
    pub device: Emulator,
}

/// A pointer, number or constant as an argument of a kernel.
pub trait IntoArgument {
    /// The argument.
    fn into_argument(self) -> Argument;
}

impl IntoArgument for Numbers {
    fn into_argument(self) -> Argument {
        Argument::Address(self.address)
    }
}
impl IntoArgument for Address {
    fn into_argument(self) -> Argument {
        Argument::Address(self)
    }
}
impl IntoArgument for Option<Numbers> {
    fn into_argument(self) -> Argument {
        Argument::Address(self.map_or(Address(0), |numbers| numbers.address))
    }
}
impl IntoArgument for u32 {
    fn into_argument(self) -> Argument {
        Argument::U32(self)
    }
}
impl IntoArgument for usize {
    fn into_argument(self) -> Argument {
        Argument::U32(u32::try_from(self).expect("sizes of tests fit into 32 bits"))
    }
}
impl IntoArgument for u64 {
    fn into_argument(self) -> Argument {
        Argument::U64(self)
    }
}
impl IntoArgument for f32 {
    fn into_argument(self) -> Argument {
        Argument::F32(self)
    }
}

/// The arguments of a launch.
#[macro_export]
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { &[$($crate::trial::IntoArgument::into_argument($value)),*] };
}

impl Trial {
    /// Memory of exactly `bytes` bytes; of none, memory that may not be touched.
    pub fn room_bytes(&self, bytes: usize) -> Address {
        if bytes == 0 {
            return Address(16);
        }
        self.device.allocate(bytes).expect("tests are small")
    }

    /// Uploads bytes.
    pub fn put_bytes(&self, bytes: &[u8]) -> Address {
        let address = self.room_bytes(bytes.len());
        self.device.upload(address, bytes).expect("the memory was just allocated");
        address
    }

    /// Uploads indices.
    pub fn put_u32(&self, values: &[u32]) -> Address {
        self.put_bytes(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Uploads numbers in double precision.
    pub fn put_f64(&self, values: &[f64]) -> Address {
        self.put_bytes(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Uploads numbers, rounded to `element`.
    pub fn put(&self, element: Element, values: &[f64]) -> Numbers {
        let bytes: Vec<u8> = match element {
            Element::F32 => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
            Element::Bf16 => values.iter().flat_map(|&value| bf16::from_f64(value).to_le_bytes()).collect(),
        };
        Numbers { address: self.put_bytes(&bytes), element, length: values.len() }
    }

    /// Room for numbers; they are NaN.
    pub fn room(&self, element: Element, length: usize) -> Numbers {
        Numbers { address: self.room_bytes(length * element.bytes()), element, length }
    }

    /// Downloads bytes.
    pub fn get_bytes(&self, address: Address, bytes: usize) -> Vec<u8> {
        let mut values = vec![0; bytes];
        self.device.download(address, &mut values).expect("the memory is allocated");
        values
    }

    /// Downloads numbers.
    pub fn get(&self, numbers: Numbers) -> Vec<f64> {
        let bytes = self.get_bytes(numbers.address, numbers.length * numbers.element.bytes());
        let values = bytes.chunks_exact(numbers.element.bytes());
        match numbers.element {
            Element::F32 => values.map(|x| f64::from(f32::from_le_bytes([x[0], x[1], x[2], x[3]]))).collect(),
            Element::Bf16 => values.map(|x| bf16::from_le_bytes([x[0], x[1]]).to_f64()).collect(),
        }
    }

    /// Downloads numbers in double precision.
    pub fn get_f64(&self, address: Address, length: usize) -> Vec<f64> {
        let bytes = self.get_bytes(address, length * 8);
        bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
    }

    /// Downloads indices.
    pub fn get_u32(&self, address: Address, length: usize) -> Vec<u32> {
        let bytes = self.get_bytes(address, length * 4);
        bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect()
    }

    /// Runs a kernel, which has to succeed.
    pub fn launch(&self, kernel: &str, grid: [usize; 3], threads: u32, shared: usize, arguments: &[Argument]) {
        if let Err(error) = self.try_launch(kernel, grid, threads, shared, arguments) {
            panic!("{error}");
        }
    }

    /// Runs a kernel.
    pub fn try_launch(
        &self,
        kernel: &str,
        grid: [usize; 3],
        threads: u32,
        shared: usize,
        arguments: &[Argument],
    ) -> Result<(), DriverError> {
        let grid = grid.map(|blocks| blocks as u32);
        self.device.launch(&Launch { kernel, grid, threads, shared: shared as u32, arguments })
    }
}

/// Runs `work` on a fresh device in every order of threads; all have to give the same numbers, to the bit.
pub fn in_every_order(work: impl Fn(&Trial) -> Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut results = Order::ALL.iter().map(|&order| (order, work(&Trial { device: Emulator::new(order) })));
    let (_, first) = results.next().expect("there are orders");
    for (order, other) in results {
        assert_eq!(first.len(), other.len());
        for (index, (first, other)) in first.iter().zip(&other).enumerate() {
            let differs = first.iter().zip(other).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(differs, None, "result {index} differs when threads run {order:?}");
        }
    }
    first
}

/// The largest errors of a result that are put down to rounding, relative to the root mean square of what is wanted:
/// the error's own root mean square, and five times as much for any one number.
pub const fn tolerance(element: Element) -> f64 {
    match element {
        // Sums of a hundred to some thousand numbers of 24 bits.
        Element::F32 => 1e-5,
        // Numbers of 8 bits: each rounding errs by up to 2^-9 = 2e-3, in the root mean square by about half of that.
        Element::Bf16 => 1e-2,
    }
}

/// Compares a result with the reference.
///
/// # Panics
/// If they differ by more than [`tolerance`].
pub fn assert_close(what: &str, element: Element, found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let mean = |values: &mut dyn Iterator<Item = f64>| (values.sum::<f64>() / wanted.len() as f64).sqrt();
    let size = mean(&mut wanted.iter().map(|w| w * w)).max(f64::MIN_POSITIVE);
    let error = mean(&mut found.iter().zip(wanted).map(|(f, w)| (f - w) * (f - w))) / size;
    let limit = tolerance(element);
    // Written so that NaN fails.
    assert!(error <= limit, "{what}: the error is {error:.1e} of the numbers' size, more than {limit:.0e}");
    for (index, (f, w)) in found.iter().zip(wanted).enumerate() {
        let error = (f - w).abs() / (w.abs() + size);
        assert!(error <= 5.0 * limit, "{what}: number {index} is {f} instead of {w}");
    }
}
