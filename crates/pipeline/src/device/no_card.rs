//! A program that was built without support for cards.

use super::Chosen;
use crate::error::Error;

const WITHOUT: &str = "this program was built without support for cards";

pub(super) fn any() -> Chosen {
    Chosen::Cpu(Some(WITHOUT.to_owned()))
}

pub(super) fn among(_: usize) -> Option<Chosen> {
    None
}

pub(super) fn numbered(number: usize) -> Result<Chosen, Error> {
    let hint = "build it with the feature `cuda`, or set model.device to cpu";
    Err(Error::input(format!("card {number} was asked for, but {WITHOUT}")).with_hint(hint))
}
