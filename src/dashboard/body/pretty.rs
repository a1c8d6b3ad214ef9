//! JSON with line breaks. It is changed nowhere else: numbers keep their digits, and objects the order of their fields.

/// A text of JSON with line breaks, cut to about so many bytes, and whether it was cut.
pub(super) fn pretty(json: &str, bytes_max: usize) -> (String, bool) {
    let mut shown = String::new();
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if shown.len() + c.len_utf8() > bytes_max {
            return (shown, true);
        }
        if in_text {
            shown.push(c);
            in_text = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                shown.push(c);
            }
            '{' | '[' => {
                shown.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => shown.push(end),
                    None => {
                        depth += 1;
                        break_line(&mut shown, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut shown, depth);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                break_line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => shown.push(c),
        }
    }
    (shown, false)
}

/// Levels that are indented, at most: a payload can be nested deeply.
const INDENTED_MAX: usize = 32;

fn break_line(shown: &mut String, depth: usize) {
    shown.push('\n');
    (0..depth.min(INDENTED_MAX)).for_each(|_| shown.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_means_the_same_as_before() {
        for json in [
            r#"{"a":{},"b":[],"c":[ ],"d":"{\"x\":[1,2]}, \\","e":[1,{"f":null}],"g":"é, : {"}"#,
            r#""text""#,
            "12.50",
            "[[[1]]]",
            "{ \"a\" :\n1 }",
        ] {
            let (shown, is_cut) = pretty(json, 1_000);
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!((read(&shown), is_cut), (read(json), false), "{shown}");
            assert_eq!(pretty(&shown, 1_000).0, shown);
        }
        assert_eq!(pretty(r#"{"a":[1,{}]}"#, 1_000).0, "{\n  \"a\": [\n    1,\n    {}\n  ]\n}");
    }

    #[test]
    fn a_long_text_is_cut() {
        let (shown, is_cut) = pretty(&format!("[{}1]", "1,".repeat(100_000)), 1_000);
        assert!(is_cut && shown.len() <= 1_010, "{}", shown.len());
        let (shown, _) = pretty(&"[".repeat(10_000), 1_000_000);
        assert!(shown.len() < 1_000_000, "{}", shown.len());
    }
}
