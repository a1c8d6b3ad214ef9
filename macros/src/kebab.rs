//! The default name of a kind: the name of its type in kebab case.

/// `WelcomeMail` becomes `welcome-mail`, and `HTTPRequest` becomes `http-request`.
pub fn kebab_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut kebab = String::new();
    for (at, char) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let is_followed_by_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        let begins_word =
            char.is_uppercase() && before.is_some_and(|before| !before.is_uppercase() || is_followed_by_lower);
        if (begins_word || *char == '_') && !kebab.is_empty() && !kebab.ends_with('-') {
            kebab.push('-');
        }
        if *char != '_' {
            kebab.extend(char.to_lowercase());
        }
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_of_a_types_name_is_one_of_the_kinds_name() {
        for (name, kebab) in [
            ("Welcome", "welcome"),
            ("WelcomeMail", "welcome-mail"),
            ("HTTPRequest", "http-request"),
            ("ParseHTTP", "parse-http"),
            ("ImportV2", "import-v2"),
            ("OAuth2Token", "o-auth2-token"),
            ("Snake_Case", "snake-case"),
            ("_Hidden", "hidden"),
            ("A", "a"),
        ] {
            assert_eq!(kebab_case(name), kebab);
        }
    }
}
