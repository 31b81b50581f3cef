//! The nearest valid name, for error messages.

/// The candidate that is most like `name` (Jaro-Winkler similarity, case ignored), if any is alike
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
    use super::nearest;

    #[test]
    fn suggests_the_closest_name_and_nothing_far_fetched() {
        let labels = ["Task", "Method", "Metric", "OtherScientificTerm"];
        assert_eq!(nearest("Metod", labels), Some("Method"));
        assert_eq!(nearest("metrics", labels), Some("Metric"));
        assert_eq!(nearest("OtherScientficTrem", labels), Some("OtherScientificTerm"));
        assert_eq!(nearest("zzz", labels), None);
        assert_eq!(nearest("Task", []), None);
    }
}
