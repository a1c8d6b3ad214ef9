//! Makes text safe to print on a terminal. The text can come from plugins, their files and their file names.

use millpond::printable;

/// Replaces control characters by visible escapes. Line breaks and tabs are kept.
pub fn shown(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Replaces control characters in JSON by JSON escapes, so that the JSON keeps its meaning.
pub fn shown_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings the only such character in JSON is the line break.
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
    fn line_breaks_and_tabs_are_kept_and_other_control_characters_are_escaped() {
        assert_eq!(shown("one\n\ttwo\u{1b}[2J\r\u{9b}31m\u{202e}"), "one\n\ttwo\\u{1b}[2J\\r\\u{9b}31m\\u{202e}");
    }

    #[test]
    fn escaped_json_keeps_its_meaning() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{202e}", "\u{e0041}", "\u{7f}\n\t\u{1b}", "é😀"] });
        let text = shown_json(&format!("{value:#}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(text.chars().all(|c| c == '\n' || *printable(&c.to_string()) == c.to_string()), "{text}");
    }
}
