/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A packet and what was decided about it: parsed once, then handed from layer to layer.
 *
 * Programs read packets directly, but write them through helpers only: a direct write would make the kernel copy the head of
 * every cloned packet before the program runs, of those too that are not rewritten.
 */
#ifndef HNS_PACKET_H
#define HNS_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define PROTOCOL_SCTP 132
#define PROTOCOL_MOBILITY 135

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_UNREACHABLE 3
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMP_EXCEEDED 11
#define ICMP_PARAMETER 12

#define ICMP6_UNREACHABLE 1
#define ICMP6_PARAMETER 4
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129
#define MLD_QUERY 130
#define MLD_REPORT 131
#define MLD_DONE 132
#define ND_ROUTER_SOLICITATION 133
#define ND_ROUTER_ADVERTISEMENT 134
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_REDIRECT 137
#define MLD_REPORT_2 143

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff

enum family {
	FAMILY_FOREIGN = 0, /* another ethertype, or a VLAN tag */
	FAMILY_ARP = 1,
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

enum fragment_kind {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2,
};

#define ARP_BYTES 28

struct packet {
	struct addr source;
	struct addr destination;
	__u8 to[6]; /* destination MAC */
	__u8 family; /* enum family */
	__u8 protocol; /* of the transport; of a later fragment what its header says */
	__be16 source_port; /* of ICMP echo both are the identifier; 0 without ports */
	__be16 destination_port;
	__u16 transport; /* offset of its header in the frame */
	__u16 icmp; /* type << 8 | code */
	__u32 end; /* offset of the end of the IP datagram in the frame; what follows is padding */
	__u32 id; /* of a fragmented datagram */
	__u8 tcp; /* flags */
	__u8 fragment; /* enum fragment_kind */
	__u8 hops; /* hop limit of IPv6 */
	/* decided */
	__u8 asked; /* ASKED(..) of the last port that asked its layer acl */
	__u32 ruleset;
	__u32 position;
	__u32 observed; /* position of a rule that is only watched and would have blocked */
};

/* What was asked, of the rules of which direction, and the state of a known connection. */
#define ASKED(ASKED, BY, STATE) ((ASKED) | (BY) << 3 | (STATE) << 4)

static __always_inline __u32 word(const struct addr *address, int index)
{
	return ((const __u32 *)address->b)[index];
}

static __always_inline int same_address(const struct addr *left, const struct addr *right)
{
	return !((word(left, 0) ^ word(right, 0)) | (word(left, 1) ^ word(right, 1)) | (word(left, 2) ^ word(right, 2)) |
		 (word(left, 3) ^ word(right, 3)));
}

static __always_inline int is_unspecified(const struct addr *address)
{
	return !(word(address, 0) | word(address, 1) | word(address, 2) | word(address, 3));
}

/* ::ffff:a.b.c.d */
static __always_inline void set_ipv4(struct addr *address, __be32 ipv4)
{
	__u32 *words = (__u32 *)address->b;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = ipv4;
}

static __always_inline int same_mac(const __u8 *left, const __u8 *right)
{
	const __u16 *a = (const __u16 *)left, *b = (const __u16 *)right;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]));
}

static __always_inline int is_ip(const struct packet *packet)
{
	return packet->family >= FAMILY_IPV4;
}

/* By number alone, whatever the version of IP. */
static __always_inline int is_icmp(__u8 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static __always_inline int is_echo_request(__u8 protocol, __u8 type)
{
	return type == (protocol == IPPROTO_ICMP ? ICMP_ECHO_REQUEST : ICMP6_ECHO_REQUEST);
}

static __always_inline int is_echo_reply(__u8 protocol, __u8 type)
{
	return type == (protocol == IPPROTO_ICMP ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY);
}

/* Errors that quote another packet: unreachable, too big, time exceeded, parameter problem. */
static __always_inline int is_icmp_error(__u8 protocol, __u8 type)
{
	if (protocol == IPPROTO_ICMP)
		return type == ICMP_UNREACHABLE || type == ICMP_EXCEEDED || type == ICMP_PARAMETER;
	return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER;
}

/*
 * The compiler likes to fold ctx + offset into one register for both loads, which the verifier refuses ("dereference of
 * modified ctx ptr"): it does not look into assembly.
 */
static __always_inline void *data_of(struct __sk_buff *skb)
{
	void *data;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(data) : "r"(skb), "i"(offsetof(struct __sk_buff, data)));
	return data;
}

static __always_inline void *data_end_of(struct __sk_buff *skb)
{
	void *end;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(end) : "r"(skb), "i"(offsetof(struct __sk_buff, data_end)));
	return end;
}

#endif
