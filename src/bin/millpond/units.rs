//! Parses and prints durations and sizes with their units.

use std::time::Duration;

/// Parses a duration such as `500ms`, `30s`, `2m`, `12h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let whole = milliseconds.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| number.checked_mul(unit));
    whole
        .map(Duration::from_millis)
        .ok_or_else(|| "a whole number and `ms`, `s`, `m`, `h` or `d`, as in `30s`".to_owned())
}

/// Parses a size such as `64MiB`, `64M`, `512KiB` or `1048576`. All units are powers of 1,024.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" | "B" => Some(0),
        "K" | "KiB" => Some(10),
        "M" | "MiB" => Some(20),
        "G" | "GiB" => Some(30),
        _ => None,
    };
    let whole = shift.zip(number.parse::<usize>().ok()).and_then(|(shift, number)| number.checked_mul(1 << shift));
    whole.ok_or_else(|| "a whole number and `KiB`, `MiB` or `GiB`, as in `64MiB`".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Prints a size in the largest unit that is not larger than it.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_with_a_known_unit_is_a_duration_or_a_size() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("36h"), Ok(Duration::from_secs(129_600)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!((bytes("64MiB"), bytes("64M"), bytes("1024")), (Ok(64 << 20), Ok(64 << 20), Ok(1 << 10)));
        for wrong in ["", "5", "s", "-5s", "1.5s", "18446744073709551615m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "MiB", "-1", "1.5M", "1T", "18446744073709551615G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_is_printed_in_its_largest_unit() {
        assert_eq!([1_023, 1_024, 1 << 20].map(size), ["1023 bytes", "1.0 KiB", "1.0 MiB"]);
    }
}
