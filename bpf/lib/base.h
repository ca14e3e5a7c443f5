/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every program starts from: UAPI, maps, and the state of one packet's
 * way through a program (struct ax_work) in a per-CPU row, so that the 512 bytes of
 * stack are never the limit. The tc programs run with bottom halves off: nothing
 * else of ours uses the row meanwhile.
 */
#ifndef AXON_LIB_BASE_H
#define AXON_LIB_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <axon/maps.h>

#define AX_INLINE static __always_inline
/* A subprogram of its own: the verifier walks it once, whatever the number of callers. */
#define AX_GLOBAL __noinline __weak __attribute__((visibility("default")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/* The packet, as helpers for sockets take it: XDP programs define AX_XDP before anything else. */
#ifdef AX_XDP
typedef struct xdp_md ax_ctx;
#else
typedef struct __sk_buff ax_ctx;
#endif

#define EEXIST 17

#define AF_INET 2
#define AF_INET6 10

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

enum ax_pkt_flags {
	AX_P_FIRST_FRAG = 1 << 0,
	AX_P_LATER_FRAG = 1 << 1,  /* ports come from ax_frags */
	AX_P_ICMP_ERROR = 1 << 2,  /* the tuple of interest is in the payload */
	AX_P_ND = 1 << 3,          /* neighbour or router discovery that no router has forwarded */
};

/* One packet, parsed. Addresses and ports in packet order. */
struct ax_pkt {
	struct ax_addr saddr;
	struct ax_addr daddr;
	__be16 sport;           /* ICMP echo: the id in both */
	__be16 dport;
	__u8 proto;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u16 l4_off;           /* from the Ethernet header */
	__u8 family;            /* AF_INET, AF_INET6 */
	__u8 flags;             /* enum ax_pkt_flags */
	__u32 frag_id;
	__u8 hops;              /* IPv6 hop limit, unless parse_plain was enough */
	__u8 pad[3];
};

/* One end of a packet, resolved from the maps. */
struct ax_party {
	struct ax_addr nexthop;
	__u32 identity;
	__u32 policy_id;        /* 0: no policy of ours applies to this end */
	__u32 ifindex;
	__u16 ep_id;
	__u16 ep_flags;         /* enum ax_ep_flags */
	__u8 path;              /* enum ax_ct_path: packets TO this end */
	__u8 local;             /* a pod of this node */
	__u8 in_cluster;        /* a pod of the cluster, wherever */
	__u8 pad;
	__be16 nexthop_port;    /* AX_PATH_PROXY */
	__u16 proxy_rules;      /* AX_PATH_PROXY */
};

/* What an event says beyond the packet itself. */
struct ax_note {
	__u32 src_identity;
	__u32 dst_identity;
	__u32 rule_egress;
	__u32 rule_ingress;
	struct ax_addr orig_daddr;     /* what the client dialled, with AX_EVF_TRANSLATED */
	__be16 orig_dport;
	__u16 src_ep;
	__u16 dst_ep;
	__u8 type;
	__u8 subtype;
	__u8 reason;
	__u8 flags;
	__u8 pad[2];
	__u32 src_process;             /* 0: ask its socket */
	__u32 dst_process;
};

/* Where the flow of a Service goes: see edge.h. */
struct ax_edge {
	struct ax_addr backend;
	struct ax_addr source;         /* AX_FLOW_SNAT */
	__be16 backend_port;
	__be16 source_port;
	__u32 backend_id;
	__u8 kind;                     /* enum ax_flow_kind */
	__u8 forwarding;               /* enum ax_svc_forwarding of the row, for a new flow */
	__u8 fresh;                    /* this packet opened it */
	__u8 pad;
};

#define AX_QUOTE 128                   /* bytes of a packet that an error of ours quotes */

/* Whom a row is about, in the order in which ties are broken */
#define AX_ROW_BOTH 0   /* this identity at addresses in this prefix */
#define AX_ROW_EXACT 1  /* this identity */
#define AX_ROW_CIDR 2   /* addresses in this prefix */
#define AX_ROW_ANY 3
#define AX_ROW_KINDS 4

struct ax_decision {
	__u32 precedence;
	__u32 rule_id;
	__u16 proxy;
	__u8 verdict;
	__u8 rank; /* 0: nothing found; else the shape + 1 */
};

struct ax_work {
	struct ax_pkt pkt;
	struct ax_party src;
	struct ax_party dst;
	struct ax_note note;
	struct ax_ct_key key;
	struct ax_ct ct;               /* a new entry being made */
	struct ax_addr to;             /* address of a translation in progress */
	struct ax_addr frontend;       /* what the client dialled, with frontend_port */
	struct ax_flow_key flow_key;
	struct ax_svc_key svc_key;
	struct ax_nat_key nat_key;
	struct ax_nat_key nat_reverse;
	struct ax_nat nat;
	struct ax_ipcache_key lpm;
	struct ax_policy_key policy_key;
	struct ax_decision found[AX_ROW_KINDS];
	__u32 asked_identity;          /* of the peer, in the look-up in progress */
	__u32 asked_cidr;              /* and what rules on prefixes know its address by; 0: nothing */
	struct bpf_fib_lookup fib;
	struct ax_pkt inner;           /* the packet an ICMP error is about */
	struct ax_edge edge;
	__u64 way;                     /* what the packet's row knows of the way to its destination: way.h */
	__u8 answer[8 + AX_QUOTE];     /* an ICMP error being made */
	__u32 epoch;
	__u32 now_s;
	__u32 tunnel_identity;         /* overlay: what the sender's node said */
	__u32 side;                    /* of the packet's source: 0 = a, 1 = b */
	__u32 len;                     /* of the packet, from L2 */
	__u32 hairpin;                 /* a pod through a Service to itself */
	__u32 dsr;                     /* its source was told by the node that forwarded it */
	__u32 may_redirect;            /* straight from the pod that asks */
	__u32 proxied;                 /* AX_CT_PROXIED: of the DNS proxy, in a pod's name */
	__u32 proxy_rules;             /* of the row that sends it to the proxy, with AX_TO_THE_PROXY */
	__be16 to_port;
	__be16 frontend_port;          /* 0: no Service */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct ax_work);
	__uint(max_entries, 1);
} ax_scratch SEC(".maps");

AX_INLINE struct ax_work *work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ax_scratch, &zero);
}

AX_INLINE struct ax_config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ax_config, &zero);
}

#endif
