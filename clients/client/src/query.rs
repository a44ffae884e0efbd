use serde_json::{Value, json};

/// The query string that asks for the objects whose properties equal those of `filter`.
pub(crate) fn filter_query(filter: &Value) -> String {
    let query = json!({"SchemaVersion": {"Major": 2, "Minor": 0}, "Filter": filter.to_string()});
    format!("query={}", percent_encode(&query.to_string()))
}

/// Encodes all but the characters that no place of a URL gives a meaning (RFC 3986, 2.3).
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay_as_they_are() {
        assert_eq!(percent_encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(
            percent_encode(r#"{"a b":"é/?&=%+"}"#),
            "%7B%22a%20b%22%3A%22%C3%A9%2F%3F%26%3D%25%2B%22%7D"
        );
    }

    #[test]
    fn a_filter_is_a_document_inside_a_string() {
        let query = filter_query(&json!({"Name": "nat"}));
        assert_eq!(
            query,
            format!(
                "query={}",
                percent_encode(r#"{"SchemaVersion":{"Major":2,"Minor":0},"Filter":"{\"Name\":\"nat\"}"}"#)
            )
        );
    }
}
