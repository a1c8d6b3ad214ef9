//! Numbers and times as people read them.

/// A number with separators: `1,234,567`.
pub use millpond::dashboard::amounts::number as count;
use millpond::dashboard::api::Time;

/// A duration in its largest unit: `3m`, `1.5s`, `12ms`.
pub fn seconds(seconds: f64) -> String {
    match seconds.abs() {
        0.0 => "0s".to_owned(),
        below if below < 0.001 => format!("{:.0}us", seconds * 1e6),
        below if below < 1.0 => format!("{:.1}ms", seconds * 1e3),
        below if below < 60.0 => format!("{seconds:.1}s"),
        below if below < 3_600.0 => format!("{:.0}m", seconds / 60.0),
        below if below < 172_800.0 => format!("{:.1}h", seconds / 3_600.0),
        _ => format!("{:.0}d", seconds / 86_400.0),
    }
}

/// How long ago a time was, or when it will be: `3m ago`, `in 2.0h`.
pub fn age(time: Time, now: Time) -> String {
    let past = now.seconds_since(time);
    if past >= 0.0 { format!("{} ago", seconds(past)) } else { format!("in {}", seconds(-past)) }
}

/// A time with how long ago it was.
pub fn moment(time: Time, now: Time) -> String {
    format!("{time} ({})", age(time, now))
}

/// A text of at most so many characters.
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_legible() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.000_2, 0.031, 1.5, 90.0, 7_200.0, 900_000.0].map(seconds),
            ["0s", "200us", "31.0ms", "1.5s", "2m", "2.0h", "10d"]
        );
        assert_eq!([age(Time(0), Time(5_000)), age(Time(5_000), Time(0))], ["5.0s ago", "in 5.0s"]);
        assert_eq!([cut("größe", 3), cut("größe", 5)], ["grö…", "größe"]);
    }
}
