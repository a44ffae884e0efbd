use hns_net::Guid;
use serde_json::{Value, json};

/// HCN notifications (hcn-api 2.5), by their public numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationType {
    NetworkPreCreate,
    NetworkCreate,
    NetworkPreDelete,
    NetworkDelete,
    NamespaceCreate,
    NamespaceDelete,
    NetworkEndpointAttached,
    NetworkEndpointDetached,
}

impl NotificationType {
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::NetworkPreCreate => 0x01,
            Self::NetworkCreate => 0x02,
            Self::NetworkPreDelete => 0x03,
            Self::NetworkDelete => 0x04,
            Self::NamespaceCreate => 0x05,
            Self::NamespaceDelete => 0x06,
            Self::NetworkEndpointAttached => 0x09,
            Self::NetworkEndpointDetached => 0x10,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPreCreate => "NetworkPreCreate",
            Self::NetworkCreate => "NetworkCreate",
            Self::NetworkPreDelete => "NetworkPreDelete",
            Self::NetworkDelete => "NetworkDelete",
            Self::NamespaceCreate => "NamespaceCreate",
            Self::NamespaceDelete => "NamespaceDelete",
            Self::NetworkEndpointAttached => "NetworkEndpointAttached",
            Self::NetworkEndpointDetached => "NetworkEndpointDetached",
        }
    }
}

/// One notification: the object it is about, and for endpoints their network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub kind: NotificationType,
    pub id: Guid,
    pub network: Option<Guid>,
}

impl Notification {
    /// One line of `GET /v2/events`. `Revision` is where a reader resumes.
    #[must_use]
    pub fn to_v2(&self, revision: u64) -> Value {
        let mut data = json!({ "ID": self.id.to_string(), "Flags": 0 });
        if let Some(network) = self.network {
            data["Data"] = json!({ "HostComputeNetwork": network.to_string() });
        }
        json!({
            "Revision": revision,
            "Type": self.kind.name(),
            "NotificationType": self.kind.number(),
            "Notification": data,
        })
    }
}
