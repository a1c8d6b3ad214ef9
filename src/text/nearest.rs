//! Finds the known name that is nearest to a misspelled one.

/// Names that one is compared with, at most.
const COMPARED_MAX: usize = 1_000;

/// The one of `names` that differs least from `name`, if one differs in few enough letters to be a slip: in one of three at
/// most, or in one if the name is shorter. It compares with the first 1,000 of them.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.len() / 3).max(1);
    let compared = names.into_iter().take(COMPARED_MAX).filter(|other| other.len().abs_diff(name.len()) <= most);
    let distances = compared.map(|other| (distance(name.as_bytes(), other.as_bytes()), other));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, other)| other)
}

/// How many bytes must be put in, taken out or replaced to make `b` of `a`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_insertions_removals_and_replacements() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("mail", "mail", 0), ("mial", "mail", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_finds_its_name_and_another_name_finds_nothing() {
        let names = ["welcome", "charge", "refund"];
        assert_eq!(nearest("welcom", names), Some("welcome"));
        assert_eq!(nearest("chrage", names), Some("charge"));
        assert_eq!(nearest("thumbnail", names), None);
        assert_eq!(nearest("b", ["a", "bc"]), Some("a"));
        assert_eq!(nearest("mail", []), None);
    }
}
