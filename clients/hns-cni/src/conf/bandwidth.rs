//! The capability `bandwidth`: limits of one container in bits, as a QOS policy, whose numbers are bytes.

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::object::Object;

/// One direction, as the conventions document names it and as the policy does. Ingress is what reaches the container.
struct Direction {
    rate: &'static str,
    burst: &'static str,
    policy_rate: &'static str,
    policy_burst: &'static str,
}

const DIRECTIONS: [Direction; 2] = [
    Direction {
        rate: "ingressRate",
        burst: "ingressBurst",
        policy_rate: "MaximumIncomingBandwidthInBytes",
        policy_burst: "IncomingBurstInBytes",
    },
    Direction {
        rate: "egressRate",
        burst: "egressBurst",
        policy_rate: "MaximumOutgoingBandwidthInBytes",
        policy_burst: "OutgoingBurstInBytes",
    },
];

/// The bursts that kubelets, containerd and CRI-O write for a pod's annotation, which names a rate alone: taken at its word, each
/// would let a quarter of a gigabyte or more pass before the limit counts.
const UNSAID: [u64; 4] =
    [i32::MAX.unsigned_abs() as u64, u32::MAX as u64, u32::MAX as u64 * 8 - 1, u32::MAX as u64 * 8];

/// The policy, or nothing where no limit is asked for: runtimes fill in zeroes.
pub(super) fn policy(mut limits: Object<'_>) -> Result<Option<Value>, Failure> {
    let mut settings = Map::new();
    for direction in &DIRECTIONS {
        let rate = limits.number(direction.rate)?.filter(|bits| *bits > 0);
        let burst = limits.number(direction.burst)?.filter(|bits| *bits > 0);
        let Some(rate) = rate else {
            match burst {
                None => continue,
                Some(_) => {
                    let problem = format!("a burst needs a rate: {}", direction.rate);
                    return Err(limits.invalid(direction.burst, problem));
                }
            }
        };
        settings.insert(direction.policy_rate.to_owned(), bytes(rate).into());
        if let Some(burst) = burst.filter(|bits| !UNSAID.contains(bits)) {
            settings.insert(direction.policy_burst.to_owned(), bytes(burst).into());
        }
    }
    limits.finish("the capability has ingressRate, ingressBurst, egressRate and egressBurst")?;
    Ok((!settings.is_empty()).then(|| json!({"Type": "QOS", "Settings": settings})))
}

/// Whole bytes, never more than what was allowed, unless that is less than one: none would be no limit.
fn bytes(bits: u64) -> u64 {
    (bits / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Found;

    fn read(limits: &Value) -> Result<Option<Value>, Failure> {
        let path = "runtimeConfig.bandwidth".to_owned();
        policy(Object::of(&Found { path, key: "bandwidth", value: limits }).unwrap())
    }

    #[test]
    fn bits_of_the_container_become_bytes_of_its_endpoint() {
        let cases = [
            (
                json!({"ingressRate": 8_000_000, "ingressBurst": 1_600_000, "egressRate": 16_000, "egressBurst": 80}),
                json!({"MaximumIncomingBandwidthInBytes": 1_000_000, "IncomingBurstInBytes": 200_000,
                    "MaximumOutgoingBandwidthInBytes": 2_000, "OutgoingBurstInBytes": 10}),
            ),
            (
                json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": 15}),
                json!({"MaximumOutgoingBandwidthInBytes": 1}),
            ),
            // No limit is what a rate of 0 would be.
            (json!({"IngressRate": 1}), json!({"MaximumIncomingBandwidthInBytes": 1})),
            (
                json!({"ingressRate": 800, "ingressBurst": 4_294_967_295_u64}),
                json!({"MaximumIncomingBandwidthInBytes": 100}),
            ),
            (
                json!({"egressRate": 800, "egressBurst": 34_359_738_359_u64}),
                json!({"MaximumOutgoingBandwidthInBytes": 100}),
            ),
            (
                json!({"egressRate": u64::MAX, "egressBurst": 4_294_967_296_u64}),
                json!({"MaximumOutgoingBandwidthInBytes": u64::MAX / 8, "OutgoingBurstInBytes": 536_870_912}),
            ),
        ];
        for (limits, settings) in cases {
            assert_eq!(
                read(&limits).unwrap(),
                Some(json!({"Type": "QOS", "Settings": settings})),
                "{limits}"
            );
        }
        for nothing in [json!({}), json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": null})] {
            assert_eq!(read(&nothing).unwrap(), None);
        }
    }

    #[test]
    fn limits_that_make_no_sense_are_refused_by_their_place() {
        for (limits, code, said) in [
            (json!({"ingressBurst": 8}), 7, "ingressBurst: a burst needs a rate: ingressRate"),
            (json!({"egressRate": -1}), 7, "egressRate: expected a whole number"),
            (json!({"egressRate": "1M"}), 7, "egressRate: expected a whole number"),
            (json!({"egressRate": 8, "shapedSubnets": ["10.0.0.0/8"]}), 2, "shapedSubnets = "),
        ] {
            let failure = read(&limits).unwrap_err();
            assert_eq!(failure.code(), code, "{failure}");
            let said = format!("runtimeConfig.bandwidth.{said}");
            assert!(failure.to_string().starts_with(&said), "{failure}");
        }
    }
}
