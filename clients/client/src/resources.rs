//! One method for each thing the API does to a network, an endpoint or a namespace. Arguments called `id` are ids in
//! full; [`Client::find_id`] makes them from names.

use serde_json::{Value, json};

use crate::client::Client;
use crate::error::ClientError;
use crate::lookup::Kind;

/// What a Modify of policies does with those it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRequest {
    Add,
    Remove,
    Update,
    Reset,
}

impl PolicyRequest {
    const fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Remove => "Remove",
            Self::Update => "Update",
            Self::Reset => "Reset",
        }
    }
}

impl Client {
    pub async fn networks(&self) -> Result<Vec<Value>, ClientError> {
        self.list(Kind::Network).await
    }

    pub async fn network(&self, reference: &str) -> Result<Value, ClientError> {
        self.find(Kind::Network, reference).await
    }

    pub async fn create_network(&self, document: &Value) -> Result<Value, ClientError> {
        self.create(Kind::Network, document).await
    }

    pub async fn endpoints(&self) -> Result<Vec<Value>, ClientError> {
        self.list(Kind::Endpoint).await
    }

    pub async fn endpoints_of(&self, network_id: &str) -> Result<Vec<Value>, ClientError> {
        self.list_where(Kind::Endpoint, &json!({"HostComputeNetwork": network_id})).await
    }

    pub async fn endpoint(&self, reference: &str) -> Result<Value, ClientError> {
        self.find(Kind::Endpoint, reference).await
    }

    pub async fn create_endpoint(&self, document: &Value) -> Result<Value, ClientError> {
        self.create(Kind::Endpoint, document).await
    }

    pub async fn endpoint_stats(&self, id: &str) -> Result<Value, ClientError> {
        self.get(&format!("{}/{id}/stats", Kind::Endpoint.path())).await
    }

    /// What an endpoint's container shows of it that is not as it should be.
    pub async fn check_endpoint(&self, id: &str) -> Result<Value, ClientError> {
        self.get(&format!("{}/{id}/check", Kind::Endpoint.path())).await
    }

    pub async fn namespaces(&self) -> Result<Vec<Value>, ClientError> {
        self.list(Kind::Namespace).await
    }

    pub async fn namespace(&self, reference: &str) -> Result<Value, ClientError> {
        self.find(Kind::Namespace, reference).await
    }

    pub async fn create_namespace(&self, document: &Value) -> Result<Value, ClientError> {
        self.create(Kind::Namespace, document).await
    }

    /// Makes the endpoint a member of the namespace: its interface appears there before this returns.
    pub async fn attach(&self, endpoint_id: &str, namespace_id: &str) -> Result<Value, ClientError> {
        self.modify(Kind::Namespace, namespace_id, "Endpoint", "Add", json!({"EndpointId": endpoint_id}))
            .await
    }

    pub async fn detach(&self, endpoint_id: &str, namespace_id: &str) -> Result<Value, ClientError> {
        self.modify(Kind::Namespace, namespace_id, "Endpoint", "Remove", json!({"EndpointId": endpoint_id}))
            .await
    }

    /// Changes policies of a live endpoint. Returns the endpoint with what was chosen for it, such as a port.
    pub async fn modify_policies(
        &self,
        endpoint_id: &str,
        request: PolicyRequest,
        policies: &[Value],
    ) -> Result<Value, ClientError> {
        let settings = json!({"Policies": policies});
        self.modify(Kind::Endpoint, endpoint_id, "Policy", request.name(), settings).await
    }

    /// Changes policies of a network: rules of each of its endpoints, and sets of addresses that rules name.
    pub async fn modify_network_policies(
        &self,
        network_id: &str,
        request: PolicyRequest,
        policies: &[Value],
    ) -> Result<Value, ClientError> {
        let settings = json!({"Policies": policies});
        self.modify(Kind::Network, network_id, "Policy", request.name(), settings).await
    }

    /// Changes what the ports of an endpoint, or of a network's endpoints, do where no rule says anything.
    pub async fn modify_params(
        &self,
        kind: Kind,
        id: &str,
        request: PolicyRequest,
        params: &Value,
    ) -> Result<Value, ClientError> {
        self.modify(kind, id, "AdditionalParams", request.name(), params.clone()).await
    }

    pub async fn create(&self, kind: Kind, document: &Value) -> Result<Value, ClientError> {
        self.post(kind.path(), Some(document)).await
    }

    pub async fn remove(&self, kind: Kind, id: &str) -> Result<(), ClientError> {
        self.delete(&format!("{}/{id}", kind.path())).await.map(drop)
    }

    pub async fn modify(
        &self,
        kind: Kind,
        id: &str,
        resource: &str,
        request: &str,
        settings: Value,
    ) -> Result<Value, ClientError> {
        let document = json!({"ResourceType": resource, "RequestType": request, "Settings": settings});
        self.post(&format!("{}/{id}/modify", kind.path()), Some(&document)).await
    }

    /// What the daemon finds about its host: `[{"Check","Level","Detail","Hint"}]`.
    pub async fn doctor(&self) -> Result<Vec<Value>, ClientError> {
        self.array("/v2/doctor").await
    }

    pub async fn version(&self) -> Result<Value, ClientError> {
        self.get("/v2/version").await
    }
}
