//! JSON as text, which keeps the digits of all numbers and the order of all fields.

/// JSON without the spaces and line breaks outside of its strings.
///
/// ```
/// use millpond_dashboard::json::one_line;
///
/// assert_eq!(one_line("{ \"a b\": [1.50,\n 12345678901234567890123] }"), r#"{"a b":[1.50,12345678901234567890123]}"#);
/// ```
pub fn one_line(json: &str) -> String {
    let (mut in_text, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        if in_text {
            in_text = is_escaped || *c != '"';
            is_escaped = !is_escaped && *c == '\\';
            return true;
        }
        in_text = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(is_kept).collect()
}
