//! Folding: errors that differ only in numbers and ids become one text.

/// The longest text in quotation marks that can be an id.
const QUOTED_BYTES_MAX: usize = 128;

/// A word of hexadecimal digits that is at least this long is an id.
const HEX_LEN_MIN: usize = 8;

/// A word of letters and digits that is at least this long, and has some of both, is an id.
const MIXED_LEN_MIN: usize = 16;

/// Digits that such a word has at least.
const MIXED_DIGITS_MIN: usize = 3;

/// The text with `#` in place of numbers and ids. Folding it again changes nothing.
pub(in crate::dashboard) fn fold(text: &str) -> String {
    let mut folded = Folded(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((quoted, after)) = quoted_id(rest) {
            folded.0.push(c);
            folded.number();
            folded.0.push_str(&quoted[quoted.len() - 1..]);
            rest = after;
            continue;
        }
        if !is_of_word(c) {
            folded.0.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        if let Some(after) = after_address(rest) {
            folded.number();
            rest = after;
            continue;
        }
        let (word, after) = rest.split_at(rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()));
        folded.word(word);
        rest = after;
    }
    folded.0
}

struct Folded(String);

impl Folded {
    /// A number after a number and a separator belongs to it: `10.0.0.1:5432` is one `#`.
    fn number(&mut self) {
        let is_continued = ["#.", "#,", "#:"].iter().any(|end| self.0.ends_with(end));
        match is_continued {
            true => drop(self.0.pop()),
            false => self.0.push('#'),
        }
    }

    fn word(&mut self, word: &str) {
        if is_uuid(word) {
            return self.number();
        }
        for part in word.split_inclusive(['-', '_']) {
            let bare = part.trim_end_matches(['-', '_']);
            match is_id(bare) {
                true => self.number(),
                false => self.digits(bare),
            }
            self.0.push_str(&part[bare.len()..]);
        }
    }

    fn digits(&mut self, part: &str) {
        let mut was_digit = false;
        for c in part.chars() {
            match (c.is_ascii_digit(), was_digit) {
                (true, false) => self.number(),
                (true, true) => {}
                (false, _) => self.0.push(c),
            }
            was_digit = c.is_ascii_digit();
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The text in quotation marks at the beginning, with its marks, and what follows it; only if it can be an id: it has a
/// digit and no space.
fn quoted_id(text: &str) -> Option<(&str, &str)> {
    let mark = text.chars().next().filter(|c| ['"', '\'', '`'].contains(c))?;
    let inside = text.get(1..)?;
    let len = inside.find(mark).filter(|len| *len <= QUOTED_BYTES_MAX)?;
    let quoted = &inside[..len];
    let is_id = quoted.contains(|c: char| c.is_ascii_digit()) && !quoted.contains(char::is_whitespace);
    is_id.then(|| text.split_at(len + 2))
}

/// What follows the e-mail address at the beginning of the text, if there is one.
fn after_address(text: &str) -> Option<&str> {
    let end_of = |text: &str, more: &[char]| text.find(|c| !is_of_word(c) && !more.contains(&c)).unwrap_or(text.len());
    let host = text[end_of(text, &['.', '+'])..].strip_prefix('@')?;
    let len = host[..end_of(host, &['.'])].trim_end_matches('.').len();
    (len > 0).then(|| &host[len..])
}

fn is_uuid(word: &str) -> bool {
    let lens = word.split('-').map(str::len);
    lens.eq([8, 4, 4, 4, 12]) && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn is_id(part: &str) -> bool {
    let hex = part.strip_prefix("0x").unwrap_or(part);
    let is_prefixed = hex.len() < part.len() && !hex.is_empty();
    let digits = part.chars().filter(char::is_ascii_digit).count();
    let is_hex = hex.chars().all(|c| c.is_ascii_hexdigit()) && digits > 0;
    let is_mixed = part.len() >= MIXED_LEN_MIN && digits >= MIXED_DIGITS_MIN;
    is_hex && (is_prefixed || hex.len() >= HEX_LEN_MIN) || is_mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ids_are_folded_and_words_are_kept() {
        for (text, folded) in [
            ("order 17 was refused", "order # was refused"),
            ("<ada.l+x7@mill.example>: user unknown", "<#>: user unknown"),
            ("mail to bob@mill.example. It failed", "mail to #. It failed"),
            ("an @ alone, a@ and @b", "an @ alone, a@ and @b"),
            ("order-17 took 30.5s, 31ms", "order-# took #s, #ms"),
            ("connect 10.0.0.1:5432: refused", "connect #: refused"),
            ("user 9f3c2a1b77de", "user #"),
            ("at 0x7ffe and 0xdead", "at # and #"),
            ("job 123e4567-e89b-12d3-a456-426614174000 is gone", "job # is gone"),
            ("no customer \"cus_9s6XKzkNRiz8i3\"", "no customer \"#\""),
            ("no field `name` in 'order 7'", "no field `name` in 'order #'"),
            ("can't read 'a7'", "can't read '#'"),
            ("token V1StGXR8Z5jdHi6B expired", "token # expired"),
            ("deadbeef and facade are words", "deadbeef and facade are words"),
            ("1,000,000 rows", "# rows"),
            ("a_1_b-2-", "a_#_b-#-"),
            ("größe 5 → 6", "größe # → #"),
            ("unclosed \"7", "unclosed \"#"),
            ("\"", "\""),
            ("", ""),
            ("0x", "#x"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
            assert_eq!(fold(folded), folded, "{text}");
        }
    }
}
