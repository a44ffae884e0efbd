use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hns_hcn::{DocumentError, ErrorCode};
use hns_reconciler::EngineError;
use serde_json::json;

/// A request that was refused: HNS's error document, and the HTTP status that says the same.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    text: String,
    hint: Option<String>,
}

impl Refusal {
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { status: status_of(code), code, text: text.into(), hint: None }
    }

    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole answer as bytes, for a peer whose request nobody reads. Version 1.0 says that the connection ends.
    pub fn into_http(self) -> Vec<u8> {
        let (status, body) = (self.status, self.render().to_string());
        let length = body.len();
        format!(
            "HTTP/1.0 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    fn render(self) -> serde_json::Value {
        let mut body = json!({ "Success": false, "Error": self.text, "ErrorCode": self.code.0 });
        if let Some(hint) = self.hint {
            body["Hint"] = json!(hint);
        }
        body
    }

    /// A document that cannot be read, with the name of the object it describes.
    pub fn document(object: &'static str) -> impl Fn(DocumentError) -> Self {
        move |error| Self::new(error.code, format!("{object} document: {error}"))
    }
}

/// Which HTTP status goes with a code; `HTTP 409` means that the host's state stands in the way.
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::NETWORK_NOT_FOUND
        | ErrorCode::ENDPOINT_NOT_FOUND
        | ErrorCode::POLICY_NOT_FOUND
        | ErrorCode::ELEMENT_NOT_FOUND => StatusCode::NOT_FOUND,
        ErrorCode::NETWORK_ALREADY_EXISTS
        | ErrorCode::PORT_ALREADY_EXISTS
        | ErrorCode::ENDPOINT_ALREADY_ATTACHED
        | ErrorCode::ENDPOINT_NAMESPACE_ALREADY_EXISTS
        | ErrorCode::ENDPOINT_NOT_ATTACHED
        | ErrorCode::ENTITY_HAS_REFERENCES
        | ErrorCode::NAMESPACE_ATTACH_FAILED
        | ErrorCode::ADDR_INVALID_OR_RESERVED => StatusCode::CONFLICT,
        ErrorCode::ACCESS_DENIED => StatusCode::FORBIDDEN,
        ErrorCode::NOT_IMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::MANAGER_STOPPED | ErrorCode::BUSY => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::FAIL => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            // Some errors are their source; a sentence is said once.
            if !text.ends_with(&source.to_string()) {
                text = format!("{text}: {source}");
            }
            cause = source.source();
        }
        if error.is_internal() {
            tracing::error!(code = %error.code(), "{text}");
        }
        let mut refusal = Self::new(error.code(), text);
        refusal.hint = error.hint().map(str::to_owned);
        if error.is_internal() {
            refusal.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        refusal
    }
}

impl From<hns_model::ModelError> for Refusal {
    fn from(error: hns_model::ModelError) -> Self {
        EngineError::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.render())).into_response()
    }
}
