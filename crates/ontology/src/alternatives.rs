//! What would have been valid instead of a wrong name, for error messages.

use std::fmt;

/// The valid names instead of a wrong one. It is displayed as the end of a message: `; did you mean ...?`
/// if one is similar, otherwise the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternatives {
    /// The valid name that is most like the wrong one.
    pub nearest: Option<String>,
    /// All valid names.
    pub valid: Vec<String>,
}

impl Alternatives {
    /// The alternatives to `found`.
    pub fn to(found: &str, valid: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let valid: Vec<String> = valid.into_iter().map(Into::into).collect();
        Self { nearest: nearest(found, valid.iter().map(String::as_str)).map(str::to_owned), valid }
    }
}

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None if self.valid.is_empty() => write!(f, "; there are none"),
            None => write!(f, "; valid: {}", self.valid.join(", ")),
        }
    }
}

/// The candidate that is most like `name` (Jaro-Winkler similarity, case ignored), if any is similar
/// enough to be worth suggesting. Ties go to the earlier candidate.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORTH_SUGGESTING: f64 = 0.7;
    let wanted = name.to_lowercase();
    let mut best: Option<(f64, &'a str)> = None;
    for candidate in candidates {
        let similarity = strsim::jaro_winkler(&wanted, &candidate.to_lowercase());
        if similarity >= WORTH_SUGGESTING && best.is_none_or(|(highest, _)| similarity > highest) {
            best = Some((similarity, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_closest_name_and_nothing_far_fetched() {
        let labels = ["Task", "Method", "Metric", "OtherScientificTerm"];
        assert_eq!(nearest("Metod", labels), Some("Method"));
        assert_eq!(nearest("metrics", labels), Some("Metric"));
        assert_eq!(nearest("OtherScientficTrem", labels), Some("OtherScientificTerm"));
        assert_eq!(nearest("zzz", labels), None);
        assert_eq!(nearest("Task", []), None);
    }

    #[test]
    fn without_a_similar_name_all_are_listed() {
        assert_eq!(Alternatives::to("x", ["a", "b"]).to_string(), "; valid: a, b");
        assert_eq!(Alternatives::to("x", [""; 0]).to_string(), "; there are none");
        assert_eq!(Alternatives::to("Taks", ["Method", "Task"]).to_string(), "; did you mean `Task`?");
    }
}
