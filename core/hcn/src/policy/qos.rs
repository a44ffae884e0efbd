use serde_json::{Map, Value};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};

const CODE: ErrorCode = ErrorCode::INVALID_POLICY;

/// Most bytes a second of an endpoint (hcn-api 5.4); HCN has the outgoing rate alone, the rest is ours.
/// Directions are the endpoint's own: outgoing is what it sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Qos {
    pub outgoing: Option<Bandwidth>,
    pub incoming: Option<Bandwidth>,
}

/// A rate, with how far it may be exceeded for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    pub bytes_per_second: u64,
    /// Absent: chosen from the rate.
    pub burst_bytes: Option<u64>,
}

/// The fields of a direction: its rate and its burst.
const OUTGOING: [&str; 2] = ["MaximumOutgoingBandwidthInBytes", "OutgoingBurstInBytes"];
const INCOMING: [&str; 2] = ["MaximumIncomingBandwidthInBytes", "IncomingBurstInBytes"];

impl Qos {
    /// The limits of a policy's settings, which stand at `path` of their document.
    ///
    /// # Errors
    /// When a field is none of them, or no number.
    pub fn from_settings(settings: &Value, path: &str) -> Result<Self, DocumentError> {
        let mut fields = Fields::of(settings, path, CODE)?;
        let outgoing = bandwidth(&mut fields, OUTGOING)?;
        let incoming = bandwidth(&mut fields, INCOMING)?;
        fields.finish()?;
        Ok(Self { outgoing, incoming })
    }

    pub(super) fn to_settings(self) -> Map<String, Value> {
        let mut settings = Map::new();
        for ([rate, burst], limit) in [(OUTGOING, self.outgoing), (INCOMING, self.incoming)] {
            let Some(limit) = limit else { continue };
            settings.insert(rate.into(), limit.bytes_per_second.into());
            if let Some(bytes) = limit.burst_bytes {
                settings.insert(burst.into(), bytes.into());
            }
        }
        settings
    }
}

/// 0 bytes a second, and an absent rate, are no limit.
fn bandwidth(
    fields: &mut Fields<'_>,
    [rate, burst]: [&'static str; 2],
) -> Result<Option<Bandwidth>, DocumentError> {
    let bytes_per_second = fields.number(&[rate], u64::MAX)?.filter(|rate| *rate > 0);
    let burst_bytes = fields.number(&[burst], u64::MAX)?.filter(|bytes| *bytes > 0);
    match bytes_per_second {
        Some(bytes_per_second) => Ok(Some(Bandwidth { bytes_per_second, burst_bytes })),
        None if burst_bytes.is_some() => Err(fields.error(burst, format!("a burst needs a rate: {rate}"))),
        None => Ok(None),
    }
}
