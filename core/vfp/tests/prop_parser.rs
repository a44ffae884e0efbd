//! Laws of the parser.

#![allow(clippy::unwrap_used, reason = "what cannot be built fails the test")]

use hns_vfp::generate::{Random, board, story};
use hns_vfp::packet::Packet;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Packet::parse(&bytes);
    }

    #[test]
    fn any_bytes_behind_an_ip_header_are_read_or_refused(
        v4 in any::<bool>(),
        protocol in prop::sample::select(vec![0u8, 1, 6, 17, 43, 44, 51, 58, 60, 132, 135]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let length = u16::try_from(rest.len()).unwrap();
        let mut frame = vec![2; 12];
        if v4 {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([0xfd; 32]);
        }
        frame.extend(&rest);
        if let Ok(packet) = Packet::parse(&frame) {
            let ip = packet.ip().unwrap();
            prop_assert!(ip.header < ip.payload && ip.payload <= ip.end && ip.end <= frame.len());
        }
    }

    #[test]
    fn what_follows_the_ip_packet_changes_nothing(seed in any::<u64>(), padding in 1usize..60) {
        let mut random = Random::new(seed);
        let board = board(&mut random, &[1, 2, 3, 4]);
        for shot in story(&mut random, &board, 4) {
            let Ok(packet) = Packet::parse(&shot.frame) else { continue };
            let mut padded = shot.frame.clone();
            padded.resize(padded.len() + padding, 0xee);
            prop_assert_eq!(Packet::parse(&padded), Ok(packet));
        }
    }
}
