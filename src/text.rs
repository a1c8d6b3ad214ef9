//! Texts from outside of the crate: how long they may be, and how they are made safe to print.

mod nearest;

use std::borrow::Cow;

pub(crate) use nearest::nearest;

/// The limit of a name or message from outside in one of the crate's errors, in bytes. Names in a WebAssembly file can
/// have 100,000.
pub(crate) const TOLD_BYTES_MAX: usize = 1_024;

/// Returns the text with all characters escaped, as in `\u{1b}`, that a terminal does not simply show: control
/// characters (escape sequences begin with one, and a line break could forge a line of a log), characters that change
/// the direction of writing, and invisible characters. All other characters are unchanged.
///
/// Names, reasons, errors and log lines of a job can come from anywhere. The errors of this crate and the program
/// `millpond` escape them with this function; an application that prints them itself should do the same.
///
/// ```
/// use millpond::printable;
///
/// assert_eq!(printable("naïve café 😀"), "naïve café 😀");
/// assert_eq!(printable("\u{1b}[2Jdone\n"), r"\u{1b}[2Jdone\n");
/// assert_eq!(printable("invoice\u{202e}fdp.exe"), r"invoice\u{202e}fdp.exe");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(|c| !is_printable(c)) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    for c in text[first..].chars() {
        match is_printable(c) {
            true => shown.push(c),
            false => shown.extend(c.escape_default()),
        }
    }
    Cow::Owned(shown)
}

/// A text for use in an error: printable, and cut to its limit.
pub(crate) fn told(text: &str) -> Cow<'_, str> {
    if text.len() <= TOLD_BYTES_MAX {
        return printable(text);
    }
    let kept = &text[..char_boundary(text, TOLD_BYTES_MAX)];
    Cow::Owned(format!("{}…", printable(kept)))
}

/// The last boundary of a character at or before this byte; the text's length if that is less. `str::floor_char_boundary`
/// does the same, from Rust 1.91 on.
pub(crate) fn char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The text, cut to at most `bytes_max` bytes; a text that is cut ends in an ellipsis. It holds no more memory than
/// that.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(char_boundary(&text, bytes_max - '…'.len_utf8()));
        text.push('…');
    }
    if text.capacity() > bytes_max {
        text.shrink_to_fit();
    }
    text
}

fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    !c.is_control() && !turns && !ends_line && !is_invisible(c)
}

/// Characters that are invisible, so that two texts that look the same can be different. Joiners and variation
/// selectors are not among them, because many scripts and emoji need them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'
        | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped() {
        let harmful = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}').chain('\u{202a}'..='\u{202e}');
        for c in harmful.chain(['\u{2028}', '\u{2029}', '\u{2066}', '\u{2069}', '\u{200b}', '\u{feff}', '\u{e0041}']) {
            let text = format!("a{c}b");
            let shown = printable(&text);
            assert!(shown.starts_with("a\\") && shown.ends_with('b') && !shown.contains(c), "{c:?}: {shown}");
            assert_eq!(printable(&shown), shown, "{c:?}");
        }
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["", "plain", "tilde~ \"quotes\" back\\slash", "日本語", "עברית", "नमस्ते क्‍ष", "👩‍👩‍👧 ❤️", "e\u{301}"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(shown) if shown == text), "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_within_its_limit_and_at_a_character() {
        assert_eq!(cut("short".into(), 5), "short");
        assert_eq!(cut("longer".into(), 5), "lo…");
        for len in 4..40 {
            let text = cut("é".repeat(100), len);
            assert!(text.len() <= len && text.ends_with('…'), "{len}: {text}");
            assert!(text.capacity() <= len, "{len}: {}", text.capacity());
        }
        let mut roomy = String::with_capacity(1 << 20);
        roomy.push_str("short");
        let kept = cut(roomy, 1_024);
        assert!(kept == "short" && kept.capacity() <= 1_024, "{}", kept.capacity());
        let long = "\u{1b}".repeat(100_000);
        assert!(told(&long).len() < 10_000 && told(&long).ends_with('…'));
    }
}
