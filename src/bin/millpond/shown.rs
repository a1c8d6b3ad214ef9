//! What may be shown on a terminal: texts come from plugins, their files and their file names.

use millpond::printable;

/// A text of several lines. Its line breaks and tabs are kept.
pub fn shown(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// JSON as text: what may not be shown is written as an escape, which means the same.
pub fn shown_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON has no such character but a line's end.
        if c == '\n' || printable(c.encode_utf8(&mut [0; 4])) == *c.encode_utf8(&mut [0; 4]) {
            shown.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_tabs_stay_and_nothing_else_moves_the_cursor() {
        assert_eq!(shown("one\n\ttwo\u{1b}[2J\r\u{9b}31m\u{202e}"), "one\n\ttwo\\u{1b}[2J\\r\\u{9b}31m\\u{202e}");
    }

    #[test]
    fn json_means_the_same_after_it() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{202e}", "\u{e0041}", "\u{7f}\n\t\u{1b}", "é😀"] });
        let text = shown_json(&format!("{value:#}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(text.chars().all(|c| c == '\n' || *printable(&c.to_string()) == c.to_string()), "{text}");
    }
}
