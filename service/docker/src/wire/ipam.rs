use std::collections::BTreeMap;

use serde::Deserialize;

use super::or_default;

#[derive(Debug, Deserialize)]
pub(crate) struct RequestPool {
    /// Empty: choose one.
    #[serde(rename = "Pool", default, deserialize_with = "or_default")]
    pub pool: String,
    /// `--ip-range`.
    #[serde(rename = "SubPool", default, deserialize_with = "or_default")]
    pub sub_pool: String,
    /// `--ipam-opt`.
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, String>,
    #[serde(rename = "V6", default, deserialize_with = "or_default")]
    pub v6: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ReleasePool {
    #[serde(rename = "PoolID")]
    pub pool: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub pool: String,
    /// Empty: choose one.
    #[serde(rename = "Address", default, deserialize_with = "or_default")]
    pub address: String,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ReleaseAddress {
    #[serde(rename = "PoolID")]
    pub pool: String,
    #[serde(rename = "Address", default, deserialize_with = "or_default")]
    pub address: String,
}
