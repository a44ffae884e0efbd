/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a link, or from a station, to the record of its port. */
#ifndef HNS_PORTS_H
#define HNS_PORTS_H

#include "maps.h"
#include "packet.h"

/* The port whose host end this is, or 0. Its record stays as it is until the program ends. */
static __always_inline struct port *port_at(__u32 ifindex)
{
	struct port *port;
	__u32 *place, slot;

	if (ifindex < LOW_IFINDEXES)
		place = bpf_map_lookup_elem(&slots, &ifindex);
	else
		place = bpf_map_lookup_elem(&high_slots, &ifindex);
	if (!place)
		return 0;
	slot = *(volatile __u32 *)place;
	if (!slot)
		return 0;
	port = bpf_map_lookup_elem(&ports, &slot);
	return port && port->ifindex == ifindex ? port : 0;
}

/* The other port of the same network whose station this is, or 0. */
static __always_inline struct port *neighbour(const struct port *port, const __u8 *mac)
{
	struct station_key key = {};
	struct port *other;
	__u32 *station;

	key.network = port->network;
	__builtin_memcpy(key.mac, mac, 6);
	station = bpf_map_lookup_elem(&stations, &key);
	if (!station)
		return 0;
	other = port_at(*(volatile __u32 *)station);
	if (!other || other->id == port->id || other->network != key.network || !same_mac(other->mac, key.mac))
		return 0;
	return other;
}

#endif
