use std::fmt;

/// An HRESULT as HNS gives it: facility 0x3b of Microsoft's HCN error list, or a generic Windows code.
/// Source: the public HCN reference (`HCNHResult`), restated in the error reference of the documentation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

macro_rules! codes {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        impl ErrorCode {
            $(#[doc = $text] pub const $name: Self = Self($value);)*

            /// Every code this daemon can give, with its name and what it means.
            pub const ALL: &[(Self, &str, &str)] = &[$((Self::$name, stringify!($name), $text)),*];
        }
    };
}

codes! {
    NETWORK_NOT_FOUND = 0x803B_0001, "no such network";
    ENDPOINT_NOT_FOUND = 0x803B_0002, "no such endpoint";
    SUBNET_NOT_FOUND = 0x803B_0005, "the network has no subnet for this endpoint";
    ADAPTER_NOT_FOUND = 0x803B_0006, "the adapter is not there, or cannot be used";
    POLICY_NOT_FOUND = 0x803B_0008, "no such policy on the object";
    INVALID_NETWORK = 0x803B_000A, "bad or incomplete network document";
    INVALID_NETWORK_TYPE = 0x803B_000B, "the network type is unknown or not available";
    INVALID_ENDPOINT = 0x803B_000C, "bad or incomplete endpoint document";
    INVALID_POLICY = 0x803B_000D, "bad policy settings";
    INVALID_POLICY_TYPE = 0x803B_000E, "a policy type that makes no sense here";
    INVALID_REMOTE_ENDPOINT_OPERATION = 0x803B_000F, "not valid for a remote endpoint";
    NETWORK_ALREADY_EXISTS = 0x803B_0010, "a network of this name or id exists";
    PORT_ALREADY_EXISTS = 0x803B_0013, "the port is taken";
    ENDPOINT_ALREADY_ATTACHED = 0x803B_0014, "the endpoint is attached already";
    REQUEST_UNSUPPORTED = 0x803B_0015, "the request is not supported";
    MAPPING_NOT_SUPPORTED = 0x803B_0016, "port mappings are not supported on this network";
    DEGRADED_OPERATION = 0x803B_0017, "the object is degraded";
    SHARED_SWITCH_MODIFICATION = 0x803B_0018, "the switch is shared by other networks, or is the administrator's";
    GUID_CONVERSION_FAILURE = 0x803B_0019, "not a GUID";
    INVALID_JSON = 0x803B_001B, "malformed JSON";
    INVALID_JSON_REFERENCE = 0x803B_001C, "the document refers to an object that is not there";
    INVALID_IP = 0x803B_001E, "an address is invalid or in no subnet of the network";
    MANAGER_STOPPED = 0x803B_0020, "the service is stopping";
    ENDPOINT_NAMESPACE_ALREADY_EXISTS = 0x803B_002B, "the endpoint is in a namespace already";
    ENTITY_HAS_REFERENCES = 0x803B_002C, "other objects refer to this one";
    INVALID_INTERNAL_PORT = 0x803B_002D, "the internal port is invalid";
    NAMESPACE_ATTACH_FAILED = 0x803B_002E, "the endpoint could not be put into the namespace";
    ADDR_INVALID_OR_RESERVED = 0x803B_002F, "the address is invalid, reserved or in use";
    INVALID_PREFIX = 0x803B_0030, "the address prefix is invalid";
    INVALID_SUBNET = 0x803B_0032, "the subnet is invalid";
    INVALID_IP_SUBNET = 0x803B_0033, "the IP subnet is invalid";
    ENDPOINT_NOT_ATTACHED = 0x803B_0034, "the endpoint is not attached";
    INTERFACEPARAMETERS_ALREADY_APPLIED = 0x803B_0036, "interface parameters are set already";
    ELEMENT_NOT_FOUND = 0x8007_0490, "element not found (namespaces, load balancers, routes)";
    INVALID_PARAMETER = 0x8007_0057, "the parameter is incorrect";
    ACCESS_DENIED = 0x8007_0005, "access denied";
    BUSY = 0x8007_00AA, "as many as can do the same at one time";
    NOT_IMPLEMENTED = 0x8000_4001, "not implemented";
    FAIL = 0x8000_4005, "the host refused; the text says what";
}

impl ErrorCode {
    /// The name as HCN's reference spells it, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, ..)| *code == self).map_or("UNKNOWN", |(_, name, _)| name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}", self.name())
    }
}
