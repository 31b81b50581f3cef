//! NVIDIA cards, by their data sheets.

/// What a card has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Card {
    /// Its name on the command line.
    pub key: &'static str,
    /// Its full name.
    pub name: &'static str,
    /// Its memory as the driver reports it, in MiB.
    pub mebibytes: u64,
    /// Dense matrix products in bf16 with sums in single precision, at most, in TFLOP/s.
    pub bf16: f64,
    /// Products in single precision, at most, in TFLOP/s.
    pub single: f64,
    /// What its memory moves, at most, in TB/s.
    pub bandwidth: f64,
}

/// The cards whose figures are known.
pub const CARDS: [Card; 8] = [
    card("h200", "NVIDIA H200 SXM", 143_771, [989.0, 67.0, 4.8]),
    card("h100", "NVIDIA H100 SXM", 81_559, [989.0, 67.0, 3.35]),
    card("a100-80", "NVIDIA A100 80 GB SXM", 81_920, [312.0, 19.5, 2.039]),
    card("a100-40", "NVIDIA A100 40 GB SXM", 40_960, [312.0, 19.5, 1.555]),
    card("l40s", "NVIDIA L40S", 46_068, [362.0, 91.6, 0.864]),
    card("4090", "NVIDIA GeForce RTX 4090", 24_564, [165.2, 82.6, 1.008]),
    card("3090", "NVIDIA GeForce RTX 3090", 24_576, [71.0, 35.6, 0.936]),
    card("l4", "NVIDIA L4", 23_034, [121.0, 30.3, 0.3]),
];

const fn card(key: &'static str, name: &'static str, mebibytes: u64, [bf16, single, bandwidth]: [f64; 3]) -> Card {
    Card { key, name, mebibytes, bf16, single, bandwidth }
}

impl Card {
    /// The card of this name on the command line.
    pub fn named(key: &str) -> Option<Self> {
        CARDS.into_iter().find(|card| card.key == key)
    }

    /// Bytes of its memory that a run can use.
    pub fn usable(&self) -> u64 {
        crate::device::usable(self.mebibytes << 20)
    }
}
