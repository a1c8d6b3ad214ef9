//! Numbers, sizes and durations as the pages show them to people.
//!
//! ```
//! use millpond_dashboard::amounts::{bytes, number, per_second, seconds};
//!
//! assert_eq!([number(1_234_567), bytes(1_536)], ["1,234,567", "1.5 KiB"]);
//! assert_eq!([seconds(200.0), per_second(12.5)], ["3 m 20 s", "12.5/s"]);
//! ```

/// A number with a separator before each three digits: `1,234,567`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in its largest unit, each of 1,024 of the one below: `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

/// A duration, without its sign: `340 ms`, `12 s`, `3 m 20 s`, `2 h 5 m`, `4 d 1 h`.
pub fn seconds(seconds: f64) -> String {
    let seconds = seconds.abs();
    if seconds < 0.000_95 {
        return format!("{:.0} µs", seconds * 1e6);
    }
    if seconds < 0.01 {
        return format!("{:.1} ms", seconds * 1e3);
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 9.95 && seconds.fract() > 0.049 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (large, small) = match whole {
        0..60 => return format!("{whole} s"),
        60..3_600 => ((whole / 60, "m"), (whole % 60, "s")),
        3_600..86_400 => ((whole / 3_600, "h"), (whole / 60 % 60, "m")),
        _ => ((whole / 86_400, "d"), (whole / 3_600 % 24, "h")),
    };
    if small.0 == 0 {
        format!("{} {}", large.0, large.1)
    } else {
        format!("{} {} {} {}", large.0, large.1, small.0, small.1)
    }
}

/// A rate, given per second: `12.5/s`, `1,250/s`; below a tenth per second, per minute: `3.1/m`.
pub fn per_second(rate: f64) -> String {
    if rate <= 0.0 {
        "0/s".to_owned()
    } else if rate < 0.1 {
        format!("{:.1}/m", rate * 60.0)
    } else if rate < 100.0 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", number(rate.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_exact_enough() {
        let numbers = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        numbers.iter().for_each(|(given, text)| assert_eq!(number(*given), *text));
        let sizes = [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (u64::MAX, "16777216.0 TiB")];
        sizes.iter().for_each(|(given, text)| assert_eq!(bytes(*given), *text));
        let durations = [
            (0.0, "0 µs"),
            (0.000_4, "400 µs"),
            (0.001_5, "1.5 ms"),
            (0.34, "340 ms"),
            (1.0, "1 s"),
            (1.26, "1.3 s"),
            (12.0, "12 s"),
            (59.7, "1 m"),
            (200.0, "3 m 20 s"),
            (7_500.0, "2 h 5 m"),
            (349_200.0, "4 d 1 h"),
        ];
        durations.iter().for_each(|(given, text)| assert_eq!(seconds(*given), *text));
        let rates = [(0.0, "0/s"), (0.05, "3.0/m"), (12.5, "12.5/s"), (1_250.4, "1,250/s")];
        rates.iter().for_each(|(given, text)| assert_eq!(per_second(*given), *text));
    }
}
