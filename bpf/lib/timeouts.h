/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* After how much silence a flow is over: `idle_timeout` of core/vfp/src/flow.rs has the same. */
#ifndef HNS_TIMEOUTS_H
#define HNS_TIMEOUTS_H

#define SECONDS 1000000000ull

#define TIMEOUT_TCP_NEW (60 * SECONDS)
#define TIMEOUT_TCP_REPLIED (60 * SECONDS)
#define TIMEOUT_TCP_ESTABLISHED (7440 * SECONDS) /* RFC 5382 REQ-5 */
#define TIMEOUT_TCP_CLOSING (120 * SECONDS)
#define TIMEOUT_TCP_CLOSED (10 * SECONDS)
#define TIMEOUT_UDP_NEW (30 * SECONDS)
#define TIMEOUT_UDP_ESTABLISHED (180 * SECONDS)
#define TIMEOUT_ICMP (30 * SECONDS)
#define TIMEOUT_OTHER (600 * SECONDS)
#define TIMEOUT_FRAGMENT (60 * SECONDS) /* RFC 8200 section 4.5 */

/* An answered connection lasts that is so old or has so many packets: most are over before, and spare `established` two writes. */
#define LASTING_AGE (2 * SECONDS)
#define LASTING_PACKETS 16

/* `seen` is written no more often than this: it spares the cache line. */
#define SEEN_STEP (250 * 1000000ull)

#endif
