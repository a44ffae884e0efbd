/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs share with the daemon: the keys and values of the maps. The same structs stand in core/abi in Rust; a test
 * compares size and offset of every field with the BTF of the built object.
 *
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), so that one key and one walk
 * serve both families. Ports of transport protocols are in network order, everything else in the machine's.
 * No struct has padding that is not named: a key is compared byte by byte.
 */
#ifndef HNS_ABI_H
#define HNS_ABI_H

#include <linux/types.h>

/* Set in skb->mark of a packet that a port's program let out into the bridge. A packet loses its mark when it changes
 * namespace, so a container cannot set it. The table `bridge hns` drops what lacks it and clears it otherwise. */
#define MARK_PASSED 0x20000000

/* Set in skb->mark of a packet that the host's own rules (table inet hns) let in to a switch, or that the host sends there
 * itself: whoever flushes the rules closes the ports. */
#define MARK_RULED 0x40000000

/* Set in skb->mark of a packet that our programs send to an adapter, in either direction, and cleared by the adapter's: what
 * comes by once more is passed over. */
#define MARK_WIRED 0x10000000

/* Written into skb->priority of a packet that a port's program let in to its container: the class of the gate
 * (drivers/datapath/src/gate.rs) in which it passes. A packet loses its priority, too, when it changes namespace. */
#define PRIORITY_PASSED 0x04670001

struct addr {
	__u8 b[16];
} __attribute__((aligned(4)));

/* How a packet runs relative to the endpoint: HCN's Direction. */
enum direction {
	DIR_IN = 0, /* to the endpoint */
	DIR_OUT = 1, /* from it */
};

/* Why a packet was dropped: one list for C, Rust, metrics and the documentation (core/abi/src/reason.rs). */
enum reason {
	REASON_NONE = 0,
	/* security */
	REASON_UNKNOWN_PORT = 1, /* no record of this port in `ports` */
	REASON_BLOCKED = 2, /* the port's policy could not be programmed */
	REASON_MALFORMED = 3, /* headers cut short, or lengths that contradict each other */
	REASON_ETHERTYPE = 4, /* neither ARP, IPv4 nor IPv6; or tagged */
	REASON_SPOOFED_MAC = 5,
	REASON_SPOOFED_IP = 6,
	REASON_SPOOFED_ARP = 7,
	REASON_SPOOFED_ND = 8,
	REASON_ROGUE_RA = 9, /* router advertisement or redirect from a container */
	REASON_ROGUE_DHCP = 10, /* DHCP server's message from a container */
	REASON_QUIET = 11, /* between a quiet port and another of its network */
	REASON_UNRULED = 12, /* from the host or through it, and our table has not let it pass */
	REASON_LOOPBACK = 13, /* to a loopback address */
	REASON_CONFINED = 14, /* beyond a network that has no way out */
	REASON_UNWIRED = 15, /* the adapter of its external switch, or the overlay, is not known */
	REASON_UNROUTED = 16, /* no host of the overlay is known to have the destination */
	REASON_UNKNOWN_VNI = 18, /* by the tunnel, with a number that no network here has */
	REASON_REFLECTED = 19, /* its own, back from the wire of an external switch */
	REASON_SPOOFED_TUNNEL = 17, /* by the tunnel, from a host that the source is not known to be on */
	REASON_UNENCRYPTED = 24, /* by a tunnel in clear, for an overlay that is encrypted */
	/* acl */
	REASON_ACL_OUT = 20,
	REASON_ACL_IN = 21,
	REASON_FRAGMENT = 22, /* a later fragment whose first one was not seen */
	REASON_OBSERVED = 23, /* not dropped: a rule that is only watched would have */
	/* meter */
	REASON_METER_OUT = 60,
	REASON_METER_IN = 61,
	REASON_MAX = 64,
};

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* Elements of the maps. Hashes and tries do not preallocate (LRU hashes do). */
#define PORTS_MAX 65536
#define LOW_IFINDEXES 65536 /* those below are indexes of `slots` */
#define ADDRESSES_MAX 262144
#define UPLINKS_MAX 16384
#define EXITS_MAX 8192
#define OVERLAYS_MAX 8192
#define VNIS_MAX 65536
#define ROUTES_MAX 262144 /* prefixes on other hosts, of all overlays */
#define HEARD_MAX 16384
#define RULESETS_MAX 131072
#define CLASSES_MAX 2097152 /* of addresses, and of ports */
#define SET_SPACES_MAX 8192 /* networks with address sets */
#define SET_CLASSES_MAX 2097152 /* addresses in sets, and once more while they change */
#define SET_ROWS_MAX 1048576
#define HITS_MAX 262144
#define DIRECTORY_MAX 4194304
#define CHUNKS_MAX 262144
#define RULE_ENTRIES_MAX 1048576
#define EMBRYONIC_MAX 65536
#define ESTABLISHED_MAX 524288
#define STRAYS_MAX 16384
#define FLOWS_OF_A_PORT_MAX 65536 /* in `established` */
#define FRAGMENTS_MAX 16384
#define METERS_MAX 131072
#define DROPS_MAX 65536
#define EVENTS_BYTES 1048576
#define WATCHES_MAX 16 /* no more than `watching` has bits */
#define SIGHTINGS_BYTES 1048576

/* ---- ports ------------------------------------------------------------------------------------------------------- */

enum port_flag {
	PORT_BLOCKED = 1 << 0,
	PORT_GUARD_SPOOF = 1 << 1, /* source MAC, IP, ARP and ND must be the endpoint's */
	PORT_GUARD_RA = 1 << 2,
	PORT_GUARD_DHCP = 1 << 3,
	PORT_STATEFUL = 1 << 4, /* has rules: its connections are tracked */
	PORT_QUIET = 1 << 5, /* DisableInterComputeCommunication: talks to no other port of its network */
	PORT_PLAIN_REDIRECT = 1 << 6, /* captured, or its vNIC is in our own namespace: no bpf_redirect_peer */
	PORT_METER_IN = 1 << 7,
	PORT_METER_OUT = 1 << 8,
	PORT_MORE_ADDRESSES = 1 << 9, /* beyond own[]: in `addresses` */
	PORT_RULED = 1 << 10, /* on a switch with a host port: what the host forwards to it must bear MARK_RULED */
	PORT_CONFINED = 1 << 11, /* on a network without a way out: speaks to `addresses` of its network only */
	PORT_EXTERNAL = 1 << 12, /* on an external switch: what is for no port of it goes to the adapter */
	PORT_OVERLAY = 1 << 15, /* on an overlay: what is for no port of this host goes into the tunnel */
	PORT_REFLECTED = 1 << 16, /* on an external switch whose wire sends everything back: all that leaves it goes there */
	PORT_BEHIND_HOST4 = 1 << 13, /* the host routes for it: what comes for its addresses by the one MAC is the host's to forward */
	PORT_BEHIND_HOST6 = 1 << 14, /* the same of IPv6, but for addresses of the link */
	/* A port with none of these takes what comes, unread. */
	PORT_READS_IN = PORT_BLOCKED | PORT_STATEFUL | PORT_QUIET | PORT_METER_IN,
};

#define PORT_OWN_ADDRESSES 4

/*
 * `ports`: array, by slot; mapped by the daemon. A record never changes while a slot leads to it: a change of policy writes another
 * one and then its slot. `slots`: array of __u32 by the ifindex of the host end, `high_slots`: hash of the same for those from
 * LOW_IFINDEXES on. Slot 0: no port.
 */
struct port {
	__u32 id; /* the daemon's number of this port, never given twice while the maps live */
	__u32 ifindex; /* of the host end */
	__u32 network; /* the daemon's number of its network */
	__u32 generation; /* raised with every change of policy */
	__u32 flags; /* enum port_flag */
	__u32 zero;
	__u32 ruleset[2]; /* by direction; 0: no rules, `fallback` decides */
	__u8 fallback[2]; /* by direction: enum action when no rule matches */
	__u8 mac[6];
	__u64 adopt_until; /* ns of CLOCK_MONOTONIC: until then TCP connections that are older than the rules are taken over */
	struct addr own[PORT_OWN_ADDRESSES]; /* :: when absent */
};

/* `addresses`: hash; value __u32 ifindex of the port that owns the address. Every address of every port of a network, on an external
 * switch the link-local one that its MAC gives as well, and of a network without a way out those that the host has on it. Where a
 * network shares the adapter's MAC with the host, the host's own addresses there are a second network's: its number and OF_THE_HOST. */
#define OWNER_HOST 0
#define OWNER_ROUTER 0xffffffff /* the address at which an overlay's own router answers */
#define OF_THE_HOST 0x80000000

struct address_key {
	__u32 network;
	struct addr addr;
};

/* `stations`: hash; value __u32 ifindex. The MACs of a network's ports. */
struct station_key {
	__u32 network;
	__u8 mac[6];
	__u16 zero;
};

/* ---- uplinks ----------------------------------------------------------------------------------------------------- */

/* `uplinks`: hash, value struct uplink: by the adapter and the VLAN of a frame (0: untagged), and by the bridge's port. */
struct uplink_key {
	__u32 ifindex;
	__u32 vlan;
};

enum uplink_flag {
	UPLINK_ONE_MAC = 1 << 0, /* no MAC but the adapter's is on its wire */
	UPLINK_REFLECTED = 1 << 1, /* with that: what goes out comes back, and is let in then alone */
};

/* Where an external switch meets its adapter. `exits`: the same by the number of the switch. */
struct uplink {
	__u32 adapter; /* ifindex */
	__u32 vlan; /* 0: none */
	__u32 port; /* ifindex of the bridge's port that stands for the wire */
	__u32 network; /* the daemon's number of the switch, as in struct port */
	__u8 mac[6]; /* the adapter's, which is the host's on that LAN */
	__u16 flags; /* enum uplink_flag */
};

/* ---- overlays ---------------------------------------------------------------------------------------------------- */

enum overlay_flag {
	OVERLAY_HOSTED = 1 << 0, /* the host has a port on it, with its router's MAC: what is for nobody else is for the host */
	OVERLAY_DIRECT = 1 << 1, /* small packets go past the VXLAN device */
};

/* `overlays`: hash, key __u32 network. */
struct overlay {
	__u32 tunnel; /* ifindex of the VXLAN device */
	__u8 router[6]; /* MAC of the router of this host's part: HCN's distributed router */
	__u16 flags; /* enum overlay_flag */
	struct addr provider; /* of this host: where the tunnel ends */
	__be16 udp_port;
	__u16 zero;
};

/* `tunnel_ends`: hash; value __u32 tunnel: whose small packets are taken at the adapter already. */
struct tunnel_end {
	__be32 provider; /* of this host */
	__be16 udp_port;
	__u16 zero;
};

/* UDP ports that packets of tunnels come from (RFC 7348 section 5): from the first up to, and without, the second. */
#define TUNNEL_SOURCES 49152
#define TUNNEL_SOURCES_END 65535

/* `vnis`: hash; value __u32 network: whose frames come out of a tunnel. */
struct vni_key {
	__u32 tunnel;
	__u32 vni;
};

/* `heard`: LRU hash, key struct address_key, of the address where another host's tunnels end; value __u64, ns of CLOCK_MONOTONIC: when
 * something came from there that was taken, to HEARD_EVERY. */
#define HEARD_EVERY 1000000000

/* `routes`: LPM trie: which host has a prefix of an overlay. prefixlen counts from `network`. */
struct route_key {
	__u32 prefixlen;
	__u32 network;
	struct addr addr;
};

enum route_flag {
	ROUTE_ON_LINK = 1 << 0, /* one endpoint, on one link with those of this host: each knows the other's MAC */
};

struct route {
	struct addr provider;
	__u32 vni;
	__u8 station[6]; /* MAC of that host's router, or of the endpoint */
	__u16 flags; /* enum route_flag */
};

/* ---- rules ------------------------------------------------------------------------------------------------------- */

enum action {
	ACTION_BLOCK = 0,
	ACTION_ALLOW = 1,
	ACTION_PASS = 2, /* of a tier: go on at rule_entry.next */
	ACTION_OBSERVE = 3, /* would block, and is only watched: go on at rule_entry.next */
};

#define CHUNK_WORDS 8
#define CHUNK_BITS 512
#define RULES_MAX 16384 /* positions of one ruleset */
#define CHUNKS_PER_ROW (RULES_MAX / CHUNK_BITS)
#define TIERS_MAX 1024 /* of one ruleset, with rules that are watched: a walk goes on once for each */

enum dimension {
	DIM_LOCAL = 0,
	DIM_REMOTE = 1,
	DIM_LOCAL_PORT = 2,
	DIM_REMOTE_PORT = 3,
	DIM_LOCAL_SETS = 4, /* of rulesets that name address sets: the sets that the address is in */
	DIM_REMOTE_SETS = 5,
	DIMENSIONS = 6,
};

/* `rulesets`: hash, key __u32 ruleset; an entry never changes. A row is `chunks` consecutive entries of `directory`. */
struct ruleset {
	__u32 chunks; /* words of 512 positions */
	__u32 first; /* position: 0, which the verifier must not know (layers/acl.h) */
	__u32 miss[DIMENSIONS]; /* row of each dimension when its map has no entry */
	__u32 sets; /* the place of its network in `set_spaces`; 0: no rule names a set */
};

/* `address_classes`: LPM trie; value __u32 row. prefixlen counts from `space`. */
struct address_class_key {
	__u32 prefixlen;
	__u32 space; /* ruleset << 1 | dimension (DIM_LOCAL, DIM_REMOTE) */
	struct addr addr;
};

/* `port_classes`: LPM trie; value __u32 row. For TCP, UDP, SCTP the port; for ICMP and ICMPv6 type << 8 | code in
 * DIM_LOCAL_PORT and 0 in DIM_REMOTE_PORT; for others 0. */
struct port_class_key {
	__u32 prefixlen;
	__u32 space; /* ruleset << 1 | (dimension - DIM_LOCAL_PORT) */
	__u8 protocol;
	__u8 zero;
	__be16 port;
};

/* `set_spaces`: array of __u32, set_class_key.space by network; mapped by the daemon. One write of it moves all rulesets of the network
 * to other classes.
 * `set_classes`: LPM trie; value __u32 class, the number of the combination of a network's sets that an address is in. prefixlen
 * counts from `space`. */
struct set_class_key {
	__u32 prefixlen;
	__u32 space;
	struct addr addr;
};

/* `set_rows`: hash; value __u32 row. */
struct set_row_key {
	__u32 space; /* ruleset << 1 | (dimension - DIM_LOCAL_SETS) */
	__u32 class;
};

/* `directory`: array of __u32, numbers of chunks; mapped by the daemon. Row 0 is all zeros.
 * `chunks`: array of struct chunk; mapped by the daemon. Chunk 0 is all zeros. */
struct chunk {
	__u64 w[CHUNK_WORDS];
};

/* `rules`: hash. */
struct rule_key {
	__u32 ruleset;
	__u32 position;
};

struct rule_entry {
	__u32 action; /* enum action */
	__u32 next; /* ACTION_PASS: the first position of the next tier; ACTION_OBSERVE: the next one */
};

/* `hits`: hash; value __u64, how many packets a rule of a port decided on: new connections, and every packet that was dropped. Ports
 * share rulesets, and count for themselves. Of rules that decided nothing there is none. */
struct hit_key {
	__u32 port; /* struct port.id */
	__u32 ruleset;
	__u32 position;
};

/* ---- flows ------------------------------------------------------------------------------------------------------- */

/*
 * A connection is one entry, whichever way its packets run and however many ports know it: in `established` (hash) once it lasts,
 * in `embryonic` (LRU hash) else. Its two ends stand in an order of their own; a port that tracks it has the side of the end that
 * is local to it. A port that finds its side taken by another one has an entry of its own in `strays` (LRU hash).
 * Of ICMP echo both numbers are the identifier; of protocols without ports both are 0.
 */
struct flow_key {
	__u32 network;
	__u32 port; /* of `strays`: struct port.id; else 0 */
	__u8 protocol;
	__u8 zero[3];
	struct addr addr[2];
	__be16 number[2]; /* port of the transport protocol */
};

enum flow_state {
	FLOW_NEW = 0, /* seen in the original direction only */
	FLOW_REPLIED = 1, /* TCP: SYN+ACK seen */
	FLOW_ESTABLISHED = 2, /* TCP: handshake done; others: seen in both directions */
	FLOW_CLOSING = 3, /* TCP: FIN seen one way */
	FLOW_CLOSED = 4, /* TCP: FIN seen both ways, or RST */
};

enum flow_flag {
	FLOW_FIN_IN = 1 << 0,
	FLOW_FIN_OUT = 1 << 1,
	FLOW_ADOPTED = 1 << 2, /* first seen in its midst */
};

/* What one port remembers. */
struct flow_side {
	__u64 seen; /* ns of CLOCK_MONOTONIC, of the last packet */
	__u64 packets[2]; /* by direction */
	__u32 port; /* struct port.id; 0: nobody's */
	__u32 generation;
	__u32 position; /* of the rule that let it pass; ~0: the fallback */
	__u8 origin; /* enum direction of the first packet */
	__u8 state; /* enum flow_state */
	__u16 flags; /* enum flow_flag */
	__u16 icmp; /* type << 8 | code of the first packet */
	__u16 zero[3];
};

struct flow {
	__u64 opened; /* ns of CLOCK_MONOTONIC, of the first packet */
	struct flow_side side[2]; /* by the place of its local end in the key */
};

/* `tallies`: hash, key __u32 struct port.id, value __u64: how many entries of `established` have a side of the port. What the programs miss
 * the daemon puts right. */

/* `fragments`: LRU hash: datagrams whose first fragment may pass, for the others. */
struct fragment_key {
	__u32 port;
	__u32 id; /* IPv4: 16 bits, IPv6: 32 bits */
	__u8 direction;
	__u8 protocol;
	__u8 zero[2];
	struct addr source;
	struct addr destination;
};

struct fragment {
	__u64 seen;
	__u32 generation; /* of the rules that let it */
	__u32 zero;
};

/* ---- meter --------------------------------------------------------------------------------------------------------- */

/* `meters`: hash, key struct meter_key: a token bucket as a theoretical arrival time (GCRA, ITU-T I.371). */
struct meter_key {
	__u32 port;
	__u32 direction;
};

struct meter {
	__u64 arrival; /* ns: when the bucket would be full again */
	__u64 picoseconds_per_byte;
	__u64 burst; /* ns worth of bytes that may come at once */
};

/* ---- what the daemon reads ----------------------------------------------------------------------------------------- */

/* `drops`: per-processor hash, value __u64 packets. */
struct drop_key {
	__u32 port;
	__u16 reason;
	__u16 direction;
};

#define EVENT_HEADER 96

/* `events`: ring buffer. At most EVENTS_PER_SECOND a processor; the counters miss nothing. */
#define EVENTS_PER_SECOND 512

struct drop_event {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u32 port;
	__u32 ifindex;
	__u16 reason;
	__u16 direction;
	__u32 ruleset;
	__u32 position; /* ~0: the fallback */
	__u32 length; /* of the packet */
	__u32 captured; /* bytes in header[] */
	__u32 zero;
	__u8 header[EVENT_HEADER];
};

/* ---- watched connections ------------------------------------------------------------------------------------------- */

/* `watching`: array of one __u32, the places of `watches` that count, as bits; mapped by the daemon. 0: nobody watches.
 * `watches`: array of struct watch; mapped by the daemon. One that counts does not change. A packet is of the connection that it says,
 * or of its other direction. */
struct watch {
	struct addr source; /* ::: any */
	struct addr destination;
	__be16 source_port; /* 0: any */
	__be16 destination_port;
	__u8 protocol; /* 0: any */
	__u8 zero[3];
};

/* What layer acl of a port was asked about a packet. */
enum asked {
	ASKED_NOTHING = 0,
	ASKED_RULES = 1,
	ASKED_KNOWN = 2, /* of a connection that the port knows */
	ASKED_RELATED = 3, /* an ICMP error about such a one */
	ASKED_FRAGMENT = 4, /* a later fragment */
};

/* Where a packet goes from a port. */
enum onward {
	ONWARD_NOWHERE = 0, /* it is dropped */
	ONWARD_CONTAINER = 1, /* the port's own */
	ONWARD_PORT = 2, /* another one of its network, by the short way */
	ONWARD_SWITCH = 3, /* into the bridge */
	ONWARD_HOST = 4, /* by the adapter of an external switch */
	ONWARD_WIRE = 5,
	ONWARD_TUNNEL = 6, /* to another host of the overlay */
	ONWARD_ANSWER = 7, /* back to the container: the overlay's router answers */
};

/* `sightings`: ring buffer. At most SIGHTINGS_PER_SECOND a processor. */
#define SIGHTINGS_PER_SECOND 4096

struct sighting {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u32 port; /* struct port.id */
	__u32 ifindex;
	__u32 watches; /* the places of `watches` that say it, as bits */
	__u32 target; /* ONWARD_PORT: ifindex of that one */
	__u16 reason; /* of a drop */
	__u8 direction;
	__u8 onward; /* enum onward */
	__u8 asked; /* enum asked; the rest of the line counts with it alone */
	__u8 by; /* enum direction: whose rules were, or had been, asked */
	__u8 state; /* enum flow_state of a known connection */
	__u8 zero;
	__u32 ruleset;
	__u32 position; /* ~0: the fallback */
	__u32 observed; /* of a rule that is only watched and would have blocked; ~0: none */
	__u32 missed; /* how many were not sent by this processor since the last one that was */
	__u32 length; /* of the packet */
	__u32 captured; /* bytes in header[] */
	__u8 header[EVENT_HEADER];
};

/* Left in skb->cb by every run, for tests through the kernel's test-run call. */
enum decision_slot {
	CB_REASON = 0,
	CB_TARGET = 1, /* ifindex of a redirect, 0: to the stack or the bridge */
	CB_RULESET = 2,
	CB_POSITION = 3,
	CB_BEYOND = 4, /* of a redirect to an adapter: enum beyond; into a tunnel: the VNI */
};

/* Who is behind an adapter. */
enum beyond {
	BEYOND_WIRE = 1,
	BEYOND_HOST = 2,
	BEYOND_BOTH = 3,
};

#endif
