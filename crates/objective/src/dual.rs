//! Numbers that carry their own derivative.

use std::ops::{Add, Mul, Neg, Sub};

/// A value with its partial derivatives with respect to the four quantities through which an
/// objective sees the policy: chosen score, rejected score, chosen KL and rejected KL. An objective
/// written on duals is its formula, and its gradient is exact (forward-mode differentiation).
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// Partial derivatives, indexed by the constants [`Dual::CHOSEN`] and so on.
    pub partials: [f64; 4],
}

impl Dual {
    /// Index of the chosen score.
    pub const CHOSEN: usize = 0;
    /// Index of the rejected score.
    pub const REJECTED: usize = 1;
    /// Index of the summed KL on the chosen completion.
    pub const CHOSEN_KL: usize = 2;
    /// Index of the summed KL on the rejected completion.
    pub const REJECTED_KL: usize = 3;

    /// `exp` saturates here, far above any realistic loss, so that products with it stay finite.
    const LARGEST_EXPONENT: f64 = 300.0;

    /// A number that does not depend on the policy.
    pub fn constant(value: f64) -> Self {
        Self { value, partials: [0.0; 4] }
    }

    /// The independent variable with the given index.
    pub fn variable(value: f64, index: usize) -> Self {
        let mut partials = [0.0; 4];
        partials[index] = 1.0;
        Self { value, partials }
    }

    /// The same value, held fixed.
    pub fn detached(self) -> Self {
        Self::constant(self.value)
    }

    /// `f(self)` given the value and the derivative of `f` here.
    fn map(self, value: f64, slope: f64) -> Self {
        Self { value, partials: self.partials.map(|partial| slope * partial) }
    }

    /// σ(x) = 1 / (1 + e^(−x)).
    pub fn sigmoid(self) -> Self {
        let value = sigmoid(self.value);
        self.map(value, value * sigmoid(-self.value))
    }

    /// ℓ(x) = log σ(x), never formed through σ.
    pub fn log_sigmoid(self) -> Self {
        self.map(log_sigmoid(self.value), sigmoid(-self.value))
    }

    /// e^x, constant above the largest exponent.
    pub fn exp(self) -> Self {
        if self.value > Self::LARGEST_EXPONENT {
            return Self::constant(Self::LARGEST_EXPONENT.exp());
        }
        let value = self.value.exp();
        self.map(value, value)
    }

    /// e^x − 1, exact near 0, constant above the largest exponent.
    pub fn exp_m1(self) -> Self {
        if self.value > Self::LARGEST_EXPONENT {
            return Self::constant(Self::LARGEST_EXPONENT.exp_m1());
        }
        self.map(self.value.exp_m1(), self.value.exp())
    }

    /// x².
    pub fn square(self) -> Self {
        self.map(self.value * self.value, 2.0 * self.value)
    }

    /// max(0, x), with derivative 0 at 0.
    pub fn positive_part(self) -> Self {
        if self.value > 0.0 { self } else { Self::constant(0.0) }
    }

    /// min(x, bound), with derivative 0 at the bound.
    pub fn at_most(self, bound: f64) -> Self {
        if self.value < bound { self } else { Self::constant(bound) }
    }

    /// log(e^x / (1 − e^x)), the log-odds of a log-probability x < 0.
    pub fn log_odds(self) -> Self {
        let complement = log_one_minus_exp(self.value);
        self.map(self.value - complement, (-complement).exp())
    }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, other: Dual) -> Dual {
        Dual {
            value: self.value + other.value,
            partials: std::array::from_fn(|i| self.partials[i] + other.partials[i]),
        }
    }
}

impl Sub for Dual {
    type Output = Dual;
    fn sub(self, other: Dual) -> Dual {
        self + -other
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        self.map(-self.value, -1.0)
    }
}

impl Mul for Dual {
    type Output = Dual;
    #[expect(clippy::suspicious_arithmetic_impl, reason = "the derivative of a product is a sum")]
    fn mul(self, other: Dual) -> Dual {
        Dual {
            value: self.value * other.value,
            partials: std::array::from_fn(|i| self.partials[i] * other.value + self.value * other.partials[i]),
        }
    }
}

impl Add<f64> for Dual {
    type Output = Dual;
    fn add(self, constant: f64) -> Dual {
        self.map(self.value + constant, 1.0)
    }
}

impl Sub<f64> for Dual {
    type Output = Dual;
    fn sub(self, constant: f64) -> Dual {
        self.map(self.value - constant, 1.0)
    }
}

impl Mul<Dual> for f64 {
    type Output = Dual;
    fn mul(self, dual: Dual) -> Dual {
        dual.map(self * dual.value, self)
    }
}

/// σ(x), without overflow on either side.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// log σ(x) = min(x, 0) − log(1 + e^(−|x|)).
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// log(1 − e^x) for x < 0; the branch keeps both ends exact.
fn log_one_minus_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logistic_pieces_are_finite_and_exact_far_out() {
        assert_eq!(log_sigmoid(-1000.0), -1000.0);
        assert_eq!(log_sigmoid(1000.0), 0.0);
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(sigmoid(1000.0), 1.0);
        assert!((log_sigmoid(0.0) + std::f64::consts::LN_2).abs() < 1e-16);
    }

    #[test]
    fn the_complement_of_a_probability_keeps_its_digits_at_both_ends() {
        assert!((log_one_minus_exp(-1e-9) - 1e-9_f64.ln()).abs() < 1e-8);
        assert!((log_one_minus_exp(-60.0) + (-60.0_f64).exp()).abs() < 1e-40);
    }

    #[test]
    fn every_function_agrees_with_finite_differences() {
        type Function = fn(Dual) -> Dual;
        let functions: [(&str, Function); 9] = [
            ("sigmoid", Dual::sigmoid),
            ("log_sigmoid", Dual::log_sigmoid),
            ("exp", Dual::exp),
            ("exp_m1", Dual::exp_m1),
            ("square", Dual::square),
            ("positive_part", Dual::positive_part),
            ("at_most", |x| x.at_most(0.7)),
            ("log_odds", |x| (x - 5.0).log_odds()),
            ("product", |x| (2.0 * x + 1.0) * x.sigmoid()),
        ];
        for (name, function) in functions {
            for x in [-2.3, -0.4, 0.31, 1.9] {
                let at = |x: f64| function(Dual::variable(x, Dual::CHOSEN));
                let numeric = (at(x + 1e-6).value - at(x - 1e-6).value) / 2e-6;
                let exact = at(x).partials[Dual::CHOSEN];
                assert!((numeric - exact).abs() < 1e-7 * (1.0 + exact.abs()), "{name} at {x}: {exact} {numeric}");
            }
        }
    }
}
