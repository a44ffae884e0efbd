/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The frame's headers, read once. Checksums are the receiver's business. */
#ifndef HNS_PARSE_H
#define HNS_PARSE_H

#include "packet.h"

/* Enough for Ethernet and IPv6; what lies behind is read by bpf_skb_load_bytes, which does not need it linear. */
#define LINEAR_BYTES (ETH_HLEN + 40)
#define EXTENSION_HEADERS 6

/*
 * What is read of a transport's header. Copied directly when it is linear, which saves a call; `linear` is 0 when it is not
 * known to be.
 */
struct head {
	__u8 b[16];
} __attribute__((aligned(8)));

static __always_inline int read_head(struct __sk_buff *skb, const struct packet *packet, const void *linear, struct head *head,
				     __u32 bytes)
{
	if (linear) {
		__builtin_memcpy(head, linear, sizeof(*head));
		return 0;
	}
	return bpf_skb_load_bytes(skb, packet->transport, head, bytes);
}

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *packet, const void *linear, __u32 bytes)
{
	struct head head;
	__u32 length;

	if (bytes < 20 || read_head(skb, packet, linear, &head, 16))
		return REASON_MALFORMED;
	length = (head.b[12] >> 4) * 4;
	if (length < 20 || (!packet->fragment && length > bytes))
		return REASON_MALFORMED;
	packet->source_port = *(__be16 *)head.b;
	packet->destination_port = *(__be16 *)(head.b + 2);
	packet->tcp = head.b[13];
	return REASON_NONE;
}

/* UDP, SCTP, ICMP. */
static __always_inline int parse_others(struct __sk_buff *skb, struct packet *packet, const void *linear, __u32 bytes)
{
	__u8 protocol = packet->protocol;
	struct head head;

	if (bytes < (protocol == PROTOCOL_SCTP ? 12 : 8) || read_head(skb, packet, linear, &head, 8))
		return REASON_MALFORMED;
	if (protocol == IPPROTO_UDP) {
		__u32 length = bpf_ntohs(*(__be16 *)(head.b + 4));

		if (length < 8 || (!packet->fragment && length > bytes))
			return REASON_MALFORMED;
	}
	if (!is_icmp(protocol)) {
		packet->source_port = *(__be16 *)head.b;
		packet->destination_port = *(__be16 *)(head.b + 2);
		return REASON_NONE;
	}
	packet->icmp = head.b[0] << 8 | head.b[1];
	if (is_echo_request(protocol, head.b[0]) || is_echo_reply(protocol, head.b[0])) {
		packet->source_port = *(__be16 *)(head.b + 4);
		packet->destination_port = packet->source_port;
	}
	return REASON_NONE;
}

/* `packet->transport` and `packet->end` are known. */
static __always_inline int parse_transport(struct __sk_buff *skb, struct packet *packet, const void *linear)
{
	__u32 bytes = packet->end - packet->transport;

	if (packet->fragment == FRAGMENT_LATER)
		return REASON_NONE;
	if (packet->protocol == IPPROTO_TCP)
		return parse_tcp(skb, packet, linear, bytes);
	if (packet->protocol == IPPROTO_UDP || packet->protocol == PROTOCOL_SCTP || is_icmp(packet->protocol))
		return parse_others(skb, packet, linear, bytes);
	return REASON_NONE;
}

/* A later fragment that would overwrite TCP's flags (RFC 3128) is malformed. `place` counts 8 bytes. */
static __always_inline int is_overlapping(const struct packet *packet, __u32 place)
{
	return packet->protocol == IPPROTO_TCP && place && place < 3;
}

static __always_inline int is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_AH || protocol == IPPROTO_DSTOPTS || protocol == PROTOCOL_MOBILITY;
}

/* RFC 8200 section 4. An atomic fragment (RFC 6946) is a whole packet. */
static __always_inline int parse_extensions(struct __sk_buff *skb, struct packet *packet)
{
	__u32 offset = packet->transport, place = 0;
	__u8 header[8] __attribute__((aligned(8)));

#pragma clang loop unroll(disable)
	for (int i = 0; i <= EXTENSION_HEADERS; i++) {
		__u8 kind = packet->protocol;

		if (!is_extension(kind) || packet->fragment == FRAGMENT_LATER) {
			packet->transport = offset;
			return is_overlapping(packet, place) ? REASON_MALFORMED : REASON_NONE;
		}
		if (offset + 8 > packet->end || bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
			return REASON_MALFORMED;
		packet->protocol = header[0];
		if (kind == IPPROTO_FRAGMENT) {
			if (packet->fragment)
				return REASON_MALFORMED;
			place = (header[2] << 8 | header[3]) >> 3;
			packet->id = bpf_ntohl(*(__be32 *)(header + 4));
			if (place)
				packet->fragment = FRAGMENT_LATER;
			else if (header[3] & 1)
				packet->fragment = FRAGMENT_FIRST;
			offset += 8;
		} else if (kind == IPPROTO_AH) {
			offset += (header[1] + 2) * 4;
		} else {
			offset += (header[1] + 1) * 8;
		}
		if (offset > packet->end)
			return REASON_MALFORMED;
	}
	if (packet->fragment != FRAGMENT_LATER)
		return REASON_MALFORMED;
	packet->transport = offset;
	return is_overlapping(packet, place) ? REASON_MALFORMED : REASON_NONE;
}

/* The maps hold IPv4 addresses in this form, so it must not come from the wire (RFC 4038 section 4.2). */
static __always_inline int is_mapped(const struct addr *address)
{
	return !word(address, 0) && !word(address, 1) && word(address, 2) == bpf_htonl(0xffff);
}

/* fe80::/10 (RFC 4291 section 2.4). */
static __always_inline int is_link_local(const struct addr *address)
{
	return (word(address, 0) & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *packet, const struct iphdr *ip, void *end)
{
	const void *linear = 0;
	__u32 header = ip->ihl * 4;
	__u32 total = bpf_ntohs(ip->tot_len);
	__u16 fragment = bpf_ntohs(ip->frag_off);

	/* A TCP super-packet of more than 64 KiB says 0 (since Linux 6.3). */
	if (!total && skb->gso_size)
		total = skb->len - ETH_HLEN;
	if (ip->version != 4 || header < sizeof(*ip) || total < header || total + ETH_HLEN > skb->len)
		return REASON_MALFORMED;
	packet->family = FAMILY_IPV4;
	set_ipv4(&packet->source, ip->saddr);
	set_ipv4(&packet->destination, ip->daddr);
	packet->protocol = ip->protocol;
	packet->transport = ETH_HLEN + header;
	packet->end = ETH_HLEN + total;
	if (fragment & IPV4_FRAGMENT_OFFSET)
		packet->fragment = FRAGMENT_LATER;
	else if (fragment & IPV4_MORE_FRAGMENTS)
		packet->fragment = FRAGMENT_FIRST;
	packet->id = bpf_ntohs(ip->id);
	if (is_overlapping(packet, fragment & IPV4_FRAGMENT_OFFSET))
		return REASON_MALFORMED;
	if (header == sizeof(*ip) && (void *)(ip + 1) + sizeof(struct head) <= end)
		linear = ip + 1;
	return parse_transport(skb, packet, linear);
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *packet, const struct ipv6hdr *ip, void *end)
{
	const void *linear = 0;
	__u32 length = bpf_ntohs(ip->payload_len);
	int reason;

	if (!length && skb->gso_size)
		length = skb->len - LINEAR_BYTES;
	if (ip->version != 6 || length + LINEAR_BYTES > skb->len)
		return REASON_MALFORMED;
	packet->family = FAMILY_IPV6;
	packet->hops = ip->hop_limit;
	__builtin_memcpy(&packet->source, &ip->saddr, 16);
	__builtin_memcpy(&packet->destination, &ip->daddr, 16);
	if (is_mapped(&packet->source) || is_mapped(&packet->destination))
		return REASON_MALFORMED;
	packet->protocol = ip->nexthdr;
	packet->transport = LINEAR_BYTES;
	packet->end = LINEAR_BYTES + length;
	if (!is_extension(packet->protocol)) {
		if ((void *)(ip + 1) + sizeof(struct head) <= end)
			linear = ip + 1;
		return parse_transport(skb, packet, linear);
	}
	reason = parse_extensions(skb, packet);
	if (reason)
		return reason;
	return parse_transport(skb, packet, 0);
}

/* Of a tag's control information (IEEE 802.1Q). A tag without a number says a priority alone, and a receiver takes the frame for an
 * untagged one: nothing in it would have been asked for. */
#define VLAN_NUMBER 0x0fff

/* Fills a zeroed `packet`. A function of its own to the verifier: called from both programs, verified once. */
__noinline int parse(struct __sk_buff *skb, struct packet *packet)
{
	void *data = data_of(skb), *end = data_end_of(skb);
	struct ethhdr *ethernet = data;

	if (!packet)
		return REASON_MALFORMED;
	if (data + LINEAR_BYTES > end) {
		__u32 length = skb->len;

		bpf_skb_pull_data(skb, length < LINEAR_BYTES ? length : LINEAR_BYTES);
		data = data_of(skb);
		end = data_end_of(skb);
		ethernet = data;
		if (data + ETH_HLEN > end)
			return REASON_MALFORMED;
	}
	__builtin_memcpy(packet->to, ethernet->h_dest, 6);
	if (skb->vlan_present)
		return skb->vlan_tci & VLAN_NUMBER ? REASON_NONE : REASON_ETHERTYPE;
	switch (ethernet->h_proto) {
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		if (data + ETH_HLEN + 2 > end)
			return REASON_NONE;
		return *(__be16 *)(data + ETH_HLEN) & bpf_htons(VLAN_NUMBER) ? REASON_NONE : REASON_ETHERTYPE;
	case bpf_htons(ETH_P_IP):
		if (data + ETH_HLEN + sizeof(struct iphdr) > end)
			return REASON_MALFORMED;
		return parse_ipv4(skb, packet, data + ETH_HLEN, end);
	case bpf_htons(ETH_P_IPV6):
		if (data + LINEAR_BYTES > end)
			return REASON_MALFORMED;
		return parse_ipv6(skb, packet, data + ETH_HLEN, end);
	case bpf_htons(ETH_P_ARP):
		packet->family = FAMILY_ARP;
		return skb->len < ETH_HLEN + ARP_BYTES ? REASON_MALFORMED : REASON_NONE;
	default:
		return REASON_NONE;
	}
}

/*
 * What most packets are, TCP and UDP over IPv4 without options, whole and in one piece, as far as that is seen at once. 0: it is
 * for `parse` to say what it is, whatever was filled.
 */
static __always_inline int parse_plain(struct __sk_buff *skb, struct packet *packet)
{
	void *data = data_of(skb), *end = data_end_of(skb);
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + ETH_HLEN;
	const __u8 *head = data + ETH_HLEN + sizeof(*ip);
	__u32 total, bytes, length;

	if (head + sizeof(struct head) > (const __u8 *)end || ethernet->h_proto != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return 0;
	total = bpf_ntohs(ip->tot_len);
	if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET) || total < sizeof(*ip) ||
	    total + ETH_HLEN > skb->len)
		return 0;
	bytes = total - sizeof(*ip);
	if (ip->protocol == IPPROTO_TCP) {
		length = (head[12] >> 4) * 4;
		if (length < 20)
			return 0;
		packet->tcp = head[13];
	} else if (ip->protocol == IPPROTO_UDP) {
		length = bpf_ntohs(*(__be16 *)(head + 4));
		if (length < 8)
			return 0;
	} else {
		return 0;
	}
	if (length > bytes)
		return 0;
	__builtin_memcpy(packet->to, ethernet->h_dest, 6);
	packet->family = FAMILY_IPV4;
	packet->protocol = ip->protocol;
	set_ipv4(&packet->source, ip->saddr);
	set_ipv4(&packet->destination, ip->daddr);
	packet->source_port = *(__be16 *)head;
	packet->destination_port = *(__be16 *)(head + 2);
	packet->transport = ETH_HLEN + sizeof(*ip);
	packet->end = ETH_HLEN + total;
	packet->id = bpf_ntohs(ip->id);
	return 1;
}

#endif
