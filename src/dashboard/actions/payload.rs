//! The payload that an action gives, as JSON or as its text.

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::api::Problem;
use super::super::json::one_line;

/// The payload, if one is given.
pub(in crate::dashboard) fn given(json: Option<Value>, text: Option<String>) -> Result<Option<Box<RawValue>>, Problem> {
    let text = match (json, text) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Problem::invalid("give `payload` or `payload_text`, not both")),
        (Some(json), None) => json.to_string(),
        (None, Some(text)) => {
            let read = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            read.map_err(|error| Problem::invalid(format!("the payload is no JSON: {error}")))?;
            one_line(&text)
        }
    };
    let payload = RawValue::from_string(text).map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(Some(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_the_digits_of_numbers() {
        let text = "{ \"b\": 123456789012345678901234567890,\n  \"a\": 1.50 }";
        let kept = given(None, Some(text.to_owned())).unwrap().unwrap();
        assert_eq!(kept.get(), r#"{"b":123456789012345678901234567890,"a":1.50}"#);
        assert_eq!(given(Some(Value::from(7)), None).unwrap().unwrap().get(), "7");
        assert!(given(None, None).unwrap().is_none());
    }

    #[test]
    fn a_payload_is_given_once_and_is_json() {
        assert!(given(Some(Value::Null), Some("1".to_owned())).is_err());
        for text in ["", "{", "text", "1 2"] {
            let problem = given(None, Some(text.to_owned())).unwrap_err();
            assert!(problem.detail.starts_with("the payload is no JSON"), "{text:?}: {problem}");
        }
    }
}
