use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use hns_hcn::{ErrorCode, Query};
use hns_net::Guid;
use serde_json::Value;

use crate::answer::Refusal;

/// The JSON of a request, with the place of the fault when it is none.
pub(crate) fn json(body: Result<Bytes, BytesRejection>) -> Result<Value, Refusal> {
    let body = body.map_err(|error| {
        Refusal::new(ErrorCode::INVALID_JSON, format!("the body cannot be read: {error}"))
            .with_status(error.status())
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(ErrorCode::INVALID_JSON, format!("the body is not JSON: {error}")))
}

/// The GUID in a path.
pub(crate) fn guid(text: &str) -> Result<Guid, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(ErrorCode::GUID_CONVERSION_FAILURE, format!("path: {error}"))
            .with_hint("look an object up by its name with ?query={\"Filter\":\"{\\\"Name\\\":\\\"..\\\"}\"}")
    })
}

/// `?query=` and `?ids=` of an enumeration.
pub(crate) struct Enumeration {
    pub query: Query,
    /// Answer with GUIDs alone.
    pub ids: bool,
}

pub(crate) fn enumeration(raw: Option<&str>) -> Result<Enumeration, Refusal> {
    let mut enumeration = Enumeration { query: Query::default(), ids: false };
    for (name, value) in pairs(raw.unwrap_or_default()) {
        match name.as_str() {
            "query" => enumeration.query = Query::parse(&value).map_err(Refusal::document("query"))?,
            "ids" => enumeration.ids = matches!(value.as_str(), "true" | "1" | ""),
            other => {
                let text = format!("unknown parameter {other}; known: query, ids");
                return Err(Refusal::new(ErrorCode::INVALID_PARAMETER, text));
            }
        }
    }
    Ok(enumeration)
}

/// `?follow=` of what can be followed, and takes nothing else in its query.
pub(crate) fn follow(raw: &str) -> Result<bool, Refusal> {
    let mut follow = false;
    for (name, value) in pairs(raw) {
        follow = match (name.as_str(), value.as_str()) {
            ("follow", "true" | "1" | "") => true,
            ("follow", "false" | "0") => false,
            _ => {
                let text = format!("parameter {name}={value}: expected follow=true or follow=false");
                return Err(Refusal::new(ErrorCode::INVALID_PARAMETER, text));
            }
        };
    }
    Ok(follow)
}

/// The decoded pairs of a URL's query (WHATWG URL, `application/x-www-form-urlencoded`).
pub(crate) fn pairs(raw: &str) -> impl Iterator<Item = (String, String)> {
    raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, digits.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Renders the objects that a query asks for, as documents or as GUIDs.
pub(crate) fn render(documents: Vec<Value>, enumeration: &Enumeration) -> Value {
    let wanted = documents.into_iter().filter(|document| enumeration.query.matches(document));
    if enumeration.ids { wanted.map(|document| document["ID"].clone()).collect() } else { wanted.collect() }
}
