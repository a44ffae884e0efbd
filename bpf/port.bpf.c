/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The two programs of a switch port. `port_out` sits at the ingress of the port's host end and sees what comes from the
 * container; `port_in` at its egress and sees what goes to it. The layers run from the container outwards in `port_out`, from
 * the switch inwards in `port_in`. See README.md.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "layers/acl.h"
#include "layers/l2.h"
#include "layers/meter.h"
#include "layers/overlay.h"
#include "layers/security.h"
#include "lib/abi.h"
#include "lib/connect.h"
#include "lib/drop.h"
#include "lib/maps.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/ports.h"
#include "lib/watch.h"
#include "lib/wire.h"

/* linux/if_packet.h needs a C library. */
#define PACKET_FOR_US 0

static __always_inline void leave(struct __sk_buff *skb, const struct packet *packet, __u32 reason, __u32 target)
{
	skb->cb[CB_REASON] = reason;
	skb->cb[CB_TARGET] = target;
	skb->cb[CB_RULESET] = packet->ruleset;
	skb->cb[CB_POSITION] = packet->position;
}

static __always_inline int drop(struct __sk_buff *skb, const struct packet *packet, __u32 port, __u32 ifindex, int direction,
				int reason)
{
	struct loss loss = {};

	loss.port = port;
	loss.ifindex = ifindex;
	loss.reason = reason;
	loss.direction = direction;
	loss.ruleset = packet->ruleset;
	loss.position = packet->position;
	report(skb, &loss);
	leave(skb, packet, reason, 0);
	return TC_ACT_SHOT;
}

/* At a port that is known. `watches`: those that say the packet. */
static __always_inline int refuse(struct __sk_buff *skb, struct packet *packet, struct port *port, int direction, int reason,
				  __u32 watches)
{
	if (watches)
		show(skb, packet, port, watches, fate_of(direction, reason, ONWARD_NOWHERE, 0));
	return drop(skb, packet, port->id, port->ifindex, direction, reason);
}

static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	return parse_plain(skb, packet) ? REASON_NONE : parse(skb, packet);
}

/* Into the bridge. */
static __always_inline int pass(struct __sk_buff *skb, const struct packet *packet)
{
	skb->mark |= MARK_PASSED;
	leave(skb, packet, REASON_NONE, 0);
	return TC_ACT_OK;
}

/* The layers of a parsed packet to the container. `known`: layer acl has let it pass. A function of its own to the verifier. */
__noinline int half_in(struct __sk_buff *skb, struct packet *packet, struct port *port, int known)
{
	int reason = REASON_NONE;

	if (!packet || !port)
		return REASON_MALFORMED;
	if (!known && port->flags & PORT_STATEFUL && is_ip(packet) && !is_exempt(packet))
		reason = connect(skb, packet, port, DIR_IN);
	if (!reason)
		reason = security_in(packet, port);
	/* Last, so that nothing is charged that does not arrive. */
	if (!reason && port->flags & PORT_METER_IN)
		reason = meter(skb, port, DIR_IN);
	return reason;
}

/* The layers of a packet from the container behind the first one. */
static __always_inline int half_out(struct __sk_buff *skb, struct packet *packet, struct port *port)
{
	int reason = REASON_NONE;

	if (port->flags & PORT_STATEFUL && is_ip(packet) && !is_exempt(packet))
		reason = connect(skb, packet, port, DIR_OUT);
	if (!reason && port->flags & PORT_METER_OUT)
		reason = meter(skb, port, DIR_OUT);
	return reason;
}

/* Whether layer acl of both ports may be asked at once: nothing but it can drop the packet in between. */
static __always_inline int is_for_both(const struct packet *packet, const struct port *port, const struct port *target)
{
	__u32 both = port->flags & target->flags & PORT_STATEFUL;
	__u32 aside = (port->flags & (PORT_METER_OUT | PORT_QUIET)) | (target->flags & (PORT_BLOCKED | PORT_QUIET | PORT_PLAIN_REDIRECT));

	return both && !aside && is_ip(packet) && !packet->fragment && !is_icmp(packet->protocol);
}

/* Whether a packet for this port comes from another one of its network; as one too short to tell is taken. */
static __always_inline int is_from_neighbour(struct __sk_buff *skb, const struct port *port)
{
	void *data = data_of(skb);
	__u8 mac[6];

	if (data + ETH_HLEN > data_end_of(skb))
		return 1;
	__builtin_memcpy(mac, data + 6, 6);
	return neighbour(port, mac) != 0;
}

/* Whether a frame has been to the wire and comes to the port that has sent it. */
static __always_inline int is_back_home(struct __sk_buff *skb, const struct port *port)
{
	void *data = data_of(skb);

	return data + ETH_HLEN <= data_end_of(skb) && same_mac(data + 6, port->mac);
}

/* Whether a packet comes from the host or through it and lacks the mark of the host's rules, which do not see ARP. */
static __always_inline int is_unruled(struct __sk_buff *skb, const struct port *port)
{
	void *data;

	if (!(port->flags & PORT_RULED) || skb->mark & MARK_RULED)
		return 0;
	data = data_of(skb);
	if (data + ETH_HLEN <= data_end_of(skb) && *(__u8 *)(data + 12) == 0x08 && *(__u8 *)(data + 13) == 0x06)
		return 0;
	return !is_from_neighbour(skb, port);
}

/* Whether a packet is for nobody who is known to be on the port's network. Link-local addresses are not routed (RFC 4291 section
 * 2.5.6). */
static __always_inline int is_beyond(const struct packet *packet, const struct port *port)
{
	struct address_key key = {};

	if (!is_ip(packet))
		return 0;
	/* To groups and to everybody: nobody routes it. */
	if (packet->family == FAMILY_IPV4 ? packet->destination.b[12] >= 224 : packet->destination.b[0] == 0xff)
		return 0;
	if (packet->family == FAMILY_IPV6 && is_link_local(&packet->destination))
		return 0;
	key.network = port->network;
	key.addr = packet->destination;
	return !bpf_map_lookup_elem(&addresses, &key);
}

/* From an external switch to the host or to somebody on the wire; to a wire that sends everything back whoever it is for. */
static __always_inline int leave_by_adapter(struct __sk_buff *skb, struct packet *packet, struct port *port, __u32 watches)
{
	__u32 network = port->network;
	struct uplink *exit = bpf_map_lookup_elem(&exits, &network);
	int is_host, reason = REASON_NONE;

	if (!exit)
		return refuse(skb, packet, port, DIR_OUT, REASON_UNWIRED, watches);
	is_host = !(port->flags & PORT_REFLECTED) && same_mac(packet->to, exit->mac);
	if (watches)
		show(skb, packet, port, watches, fate_of(DIR_OUT, 0, is_host ? ONWARD_HOST : ONWARD_WIRE, 0));
	if (!is_host && exit->flags & UPLINK_ONE_MAC)
		reason = l2_out(skb, packet, exit);
	if (reason)
		return drop(skb, packet, port->id, skb->ifindex, DIR_OUT, reason);
	leave(skb, packet, REASON_NONE, exit->adapter);
	return send_to_adapter(skb, exit, is_host);
}

/* To the container of this host that the overlay's router leads to. Its `port_in` asks its layers, but does not see who sent it. */
static __always_inline int route_here(struct __sk_buff *skb, struct packet *packet, struct port *port, struct port *target,
				      struct overlay *overlay, __u32 watches)
{
	__u8 mac[6];

	if (target->flags & PORT_QUIET)
		return refuse(skb, packet, target, DIR_IN, REASON_QUIET, watches);
	__builtin_memcpy(mac, target->mac, sizeof(mac));
	if (put_stations(skb, mac, overlay->router))
		return refuse(skb, packet, port, DIR_OUT, REASON_MALFORMED, watches);
	if (watches)
		show(skb, packet, port, watches, fate_of(DIR_OUT, 0, ONWARD_PORT, target->ifindex));
	/* It comes from no station of a port, and no rule of the host's has seen it. */
	skb->mark |= MARK_RULED;
	leave(skb, packet, REASON_NONE, target->ifindex);
	return bpf_redirect(target->ifindex, 0);
}

/* From a port of an overlay to its router, and by that to other hosts. What is for everybody is for those of this host. A function of its
 * own to the verifier: the memory of `port_out` is in use while its layers run. */
__noinline int leave_by_overlay(struct __sk_buff *skb, struct packet *packet, struct port *port, __u32 watches)
{
	struct overlay *overlay;
	struct port *target;
	struct route *route;
	__u32 network;
	int reason, for_router, sent = 0;

	if (!packet || !port)
		return TC_ACT_SHOT;
	network = port->network;
	overlay = bpf_map_lookup_elem(&overlays, &network);
	if (!overlay)
		return refuse(skb, packet, port, DIR_OUT, REASON_UNWIRED, watches);
	if (is_answered(skb, packet, overlay, network)) {
		if (watches)
			show(skb, packet, port, watches, fate_of(DIR_OUT, 0, ONWARD_ANSWER, 0));
		skb->mark |= MARK_RULED;
		leave(skb, packet, REASON_NONE, port->ifindex);
		return bpf_redirect(port->ifindex, 0);
	}
	if (packet->to[0] & 1) {
		if (watches)
			show(skb, packet, port, watches, fate_of(DIR_OUT, 0, ONWARD_SWITCH, 0));
		return pass(skb, packet);
	}
	for_router = same_mac(packet->to, overlay->router);
	target = for_router && is_ip(packet) ? resident(network, &packet->destination) : 0;
	route = is_ip(packet) && !target ? route_of(network, &packet->destination) : 0;
	if (packet->family == FAMILY_FOREIGN ||
	    (!for_router && !(route && route->flags & ROUTE_ON_LINK && same_mac(packet->to, route->station))))
		return refuse(skb, packet, port, DIR_OUT, REASON_UNROUTED, watches);
	if ((target || route) && port->flags & PORT_QUIET)
		return refuse(skb, packet, port, DIR_OUT, REASON_QUIET, watches);
	if (target)
		return route_here(skb, packet, port, target, overlay, watches);
	if (!route && !(overlay->flags & OVERLAY_HOSTED))
		return refuse(skb, packet, port, DIR_OUT, REASON_UNROUTED, watches);
	if (!route) {
		if (watches)
			show(skb, packet, port, watches, fate_of(DIR_OUT, 0, ONWARD_SWITCH, 0));
		return pass(skb, packet);
	}
	if (watches)
		show(skb, packet, port, watches, fate_of(DIR_OUT, 0, ONWARD_TUNNEL, 0));
	reason = put_mac(skb, 0, route->station);
	/* On one link each knows the other's own. */
	if (!reason && !(route->flags & ROUTE_ON_LINK))
		reason = put_mac(skb, MAC_BYTES, overlay->router);
	leave(skb, packet, REASON_NONE, overlay->tunnel);
	skb->cb[CB_BEYOND] = route->vni;
	if (!reason && overlay->flags & OVERLAY_DIRECT)
		sent = send_wrapped(skb, overlay, route);
	if (sent > 0)
		return sent;
	if (!reason)
		reason = sent < 0 ? REASON_MALFORMED : mark_for_tunnel(skb, overlay, route);
	if (reason)
		return drop(skb, packet, port->id, skb->ifindex, DIR_OUT, reason);
	return bpf_redirect(overlay->tunnel, 0);
}

/* The short way to a port of the same network, and into the bridge for everything else. `known`: the target's layer acl, too, has
 * let it pass. */
static __always_inline int forward(struct __sk_buff *skb, struct packet *packet, struct port *port, struct port *target, int known,
				   __u32 watches)
{
	int reason;

	/* Another container may be a router. The host is none, also where it has a seat on the network, and it takes what is sent to a
	 * group of stations for itself. */
	if (port->flags & PORT_CONFINED && (!target || target->flags & PORT_PLAIN_REDIRECT) && is_beyond(packet, port))
		return refuse(skb, packet, port, DIR_OUT, REASON_CONFINED, watches);
	if (!target && port->flags & PORT_EXTERNAL &&
	    (!(packet->to[0] & 1) || (port->flags & PORT_REFLECTED && !is_of_the_link(packet->to))))
		return leave_by_adapter(skb, packet, port, watches);
	if (!target && port->flags & PORT_OVERLAY)
		return leave_by_overlay(skb, packet, port, watches);
	if (target && port->flags & PORT_QUIET)
		return refuse(skb, packet, port, DIR_OUT, REASON_QUIET, watches);
	if (watches)
		show(skb, packet, port, watches,
		     fate_of(DIR_OUT, 0, target ? ONWARD_PORT : ONWARD_SWITCH, target ? target->ifindex : 0));
	if (!target)
		return pass(skb, packet);
	if (target->flags & PORT_QUIET)
		return refuse(skb, packet, target, DIR_IN, REASON_QUIET, watches);
	if (target->flags & PORT_PLAIN_REDIRECT) {
		/* Its `port_in` asks its layers. */
		leave(skb, packet, REASON_NONE, target->ifindex);
		return bpf_redirect(target->ifindex, 0);
	}
	if (target->flags & (known ? PORT_METER_IN : PORT_READS_IN)) {
		reason = target->flags & PORT_BLOCKED ? REASON_BLOCKED : half_in(skb, packet, target, known);
		if (reason)
			return refuse(skb, packet, target, DIR_IN, reason, watches);
	}
	if (watches)
		show(skb, packet, target, watches, fate_of(DIR_IN, 0, ONWARD_CONTAINER, 0));
	leave(skb, packet, REASON_NONE, target->ifindex);
	return bpf_redirect_peer(target->ifindex, 0);
}

SEC("classifier")
int port_out(struct __sk_buff *skb)
{
	struct port *port, *target = 0;
	struct packet packet = {};
	__u32 ifindex = skb->ifindex, watches;
	int reason, known;

	packet.position = POSITION_FALLBACK;
	port = port_at(ifindex);
	if (!port)
		return drop(skb, &packet, 0, ifindex, DIR_OUT, REASON_UNKNOWN_PORT);
	watches = watches_on(skb);
	reason = port->flags & PORT_BLOCKED ? REASON_BLOCKED : read_packet(skb, &packet);
	if (!reason)
		reason = security_out(skb, &packet, port);
	if (reason)
		return refuse(skb, &packet, port, DIR_OUT, reason, watches);
	if (!(packet.to[0] & 1) && !(port->flags & PORT_REFLECTED))
		target = neighbour(port, packet.to);
	/* Who watches is told of each port's rules by itself. */
	known = !watches && target && is_for_both(&packet, port, target) && pass_known(&packet, port, target);
	if (!known)
		reason = half_out(skb, &packet, port);
	if (reason)
		return refuse(skb, &packet, port, DIR_OUT, reason, watches);
	return forward(skb, &packet, port, target, known, watches);
}

SEC("classifier")
int port_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	__u32 ifindex = skb->ifindex, watches;
	struct port *port;
	int reason;

	packet.position = POSITION_FALLBACK;
	port = port_at(ifindex);
	if (!port)
		return drop(skb, &packet, 0, ifindex, DIR_IN, REASON_UNKNOWN_PORT);
	watches = watches_on(skb);
	if (port->flags & PORT_REFLECTED && is_back_home(skb, port))
		return refuse(skb, &packet, port, DIR_IN, REASON_REFLECTED, watches);
	if (!(port->flags & PORT_BLOCKED) && is_unruled(skb, port))
		return refuse(skb, &packet, port, DIR_IN, REASON_UNRULED, watches);
	/* Where the vNIC is in this namespace, what it receives goes on without what it met on its way there. */
	if (port->flags & PORT_PLAIN_REDIRECT)
		skb->mark &= ~MARK_RULED;
	if (port->flags & PORT_READS_IN) {
		reason = port->flags & PORT_BLOCKED ? REASON_BLOCKED : read_packet(skb, &packet);
		if (!reason && port->flags & PORT_QUIET && is_from_neighbour(skb, port))
			reason = REASON_QUIET;
		if (!reason)
			reason = half_in(skb, &packet, port, 0);
		if (reason)
			return refuse(skb, &packet, port, DIR_IN, reason, watches);
	}
	if (watches)
		show(skb, &packet, port, watches, fate_of(DIR_IN, 0, ONWARD_CONTAINER, 0));
	/* Through the gate. */
	skb->priority = PRIORITY_PASSED;
	leave(skb, &packet, REASON_NONE, 0);
	return TC_ACT_OK;
}

/* From beyond the host to a container: through the layers of its port, and into its namespace. */
static __always_inline int deliver(struct __sk_buff *skb, __u32 ifindex)
{
	struct packet packet = {};
	struct port *port = port_at(ifindex);
	__u32 watches;
	int reason;

	packet.position = POSITION_FALLBACK;
	if (!port)
		return drop(skb, &packet, 0, ifindex, DIR_IN, REASON_UNKNOWN_PORT);
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return drop(skb, &packet, port->id, ifindex, DIR_IN, REASON_MALFORMED);
	if (port->flags & PORT_PLAIN_REDIRECT) {
		/* Its `port_in` asks its layers. */
		skb->mark |= MARK_RULED;
		leave(skb, &packet, REASON_NONE, ifindex);
		return bpf_redirect(ifindex, 0);
	}
	watches = watches_on(skb);
	if (port->flags & PORT_READS_IN) {
		reason = port->flags & PORT_BLOCKED ? REASON_BLOCKED : read_packet(skb, &packet);
		if (!reason)
			reason = half_in(skb, &packet, port, 0);
		if (reason)
			return refuse(skb, &packet, port, DIR_IN, reason, watches);
	}
	if (watches)
		show(skb, &packet, port, watches, fate_of(DIR_IN, 0, ONWARD_CONTAINER, 0));
	/* The adapter took it for somebody else's. */
	bpf_skb_change_type(skb, PACKET_FOR_US);
	leave(skb, &packet, REASON_NONE, ifindex);
	return bpf_redirect_peer(ifindex, 0);
}

#include "tunnel.h"
#include "uplink.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
