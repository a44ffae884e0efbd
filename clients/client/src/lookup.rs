use std::fmt;

use hns_net::Guid;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::ClientError;
use crate::query::filter_query;

/// The shortest beginning of an id that counts as one; anything shorter is more likely a name with a typo.
const ID_PREFIX_MIN: usize = 3;

/// The kinds of objects of the v2 face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Network,
    Endpoint,
    Namespace,
}

impl Kind {
    /// Where the kind lives: `/v2/networks`.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Network => "/v2/networks",
            Self::Endpoint => "/v2/endpoints",
            Self::Namespace => "/v2/namespaces",
        }
    }

    /// HCN's code for an unknown one (hcn-api 7.2, and 7.3 for namespaces).
    pub const fn not_found_code(self) -> u32 {
        match self {
            Self::Network => 0x803B_0001,
            Self::Endpoint => 0x803B_0002,
            Self::Namespace => 0x8007_0490,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Endpoint => "endpoint",
            Self::Namespace => "namespace",
        })
    }
}

/// The id of a document that the daemon made.
pub(crate) fn id_of(document: &Value) -> &str {
    document.get("ID").and_then(Value::as_str).unwrap_or_default()
}

impl Client {
    /// All objects of a kind, in order of creation.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>, ClientError> {
        self.listed(kind, None).await
    }

    /// The objects of a kind whose properties equal those of `filter`, such as `{"Name":"web"}`.
    pub async fn list_where(&self, kind: Kind, filter: &Value) -> Result<Vec<Value>, ClientError> {
        self.listed(kind, Some(filter)).await
    }

    /// The one object that `reference` names: by its id, its name, or an unambiguous beginning of its id.
    pub async fn find(&self, kind: Kind, reference: &str) -> Result<Value, ClientError> {
        if let Ok(id) = reference.parse::<Guid>() {
            return self.get(&format!("{}/{id}", kind.path())).await;
        }
        let mut found = self.list_where(kind, &json!({"Name": reference})).await?;
        if found.is_empty() && may_begin_an_id(reference) {
            let beginning = reference.to_ascii_uppercase();
            found = self.list(kind).await?;
            found.retain(|document| id_of(document).to_ascii_uppercase().starts_with(&beginning));
        }
        match found.len() {
            0 => Err(ClientError::NotFound { kind, reference: reference.to_owned() }),
            1 => Ok(found.remove(0)),
            _ => {
                let ids = found.iter().map(|document| id_of(document).to_owned()).collect();
                Err(ClientError::Ambiguous { kind, reference: reference.to_owned(), ids })
            }
        }
    }

    /// The id of [`Self::find`]. An id in full is taken as it is, without asking.
    pub async fn find_id(&self, kind: Kind, reference: &str) -> Result<String, ClientError> {
        match reference.parse::<Guid>() {
            Ok(id) => Ok(id.to_string()),
            Err(_) => self.find(kind, reference).await.map(|document| id_of(&document).to_owned()),
        }
    }

    /// Whether an object with exactly this id is there.
    pub async fn has(&self, kind: Kind, id: &str) -> Result<bool, ClientError> {
        match self.list_where(kind, &json!({"ID": id})).await {
            Ok(found) => Ok(!found.is_empty()),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn listed(&self, kind: Kind, filter: Option<&Value>) -> Result<Vec<Value>, ClientError> {
        let path = match filter {
            Some(filter) => format!("{}?{}", kind.path(), filter_query(filter)),
            None => kind.path().to_owned(),
        };
        self.array(&path).await
    }
}

fn may_begin_an_id(reference: &str) -> bool {
    reference.len() >= ID_PREFIX_MIN && reference.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
