/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ABI between the datapath and user space: every struct that crosses the
 * boundary, and nothing else. TypeScript codecs are generated from the BTF of
 * these types (packages/abi); a test fails when the two drift apart.
 *
 * Conventions
 *  - An address is always 16 bytes. IPv4 is stored v4-mapped (::ffff:a.b.c.d,
 *    RFC 4291 2.5.5.2), so that every map and every code path exists once.
 *  - `__be16`/`__be32` fields are in network byte order, all others in host order.
 *  - Structs carry explicit padding; padding is zero.
 *  - Times named `*_s` are seconds of CLOCK_MONOTONIC, `*_ns` nanoseconds of it.
 */
#ifndef AXON_ABI_H
#define AXON_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/*
 * Fields of the version after this one, as far as tests of upgrades need one: rows of pinned maps are converted by the
 * names of their fields (docs/decisions/0033). Fields may come, go, move and get wider. Where a field keeps its name
 * and means something else, the struct counts up: AX_MEANING.
 */
#ifdef AX_NEXT_VERSION
#define AX_NEXT(_field) _field
#else
#define AX_NEXT(_field)
#endif
#define AX_MEANING(_n) __attribute__((btf_decl_tag("axon:meaning:" #_n)))

struct ax_addr {
	union {
		__u8 b[16];
		__u32 w[4];
	};
};

/* ---- reserved numeric identities (as in the field) ------------------------ */
enum ax_identity {
	AX_ID_UNKNOWN = 0,
	AX_ID_HOST = 1,
	AX_ID_WORLD = 2,
	AX_ID_UNMANAGED = 3,
	AX_ID_HEALTH = 4,
	AX_ID_INIT = 5,
	AX_ID_REMOTE_NODE = 6,
	AX_ID_KUBE_APISERVER = 7,
	AX_ID_INGRESS = 8,
	AX_ID_WORLD_IPV4 = 9,
	AX_ID_WORLD_IPV6 = 10,
	AX_ID_FIRST_POD = 256,
};

/* ---- ax_config: one row, array map, the node's run-time configuration ----- */
enum ax_config_flags {
	AX_CFG_IPV4 = 1 << 0,
	AX_CFG_IPV6 = 1 << 1,
	AX_CFG_TUNNEL = 1 << 2,        /* VXLAN between nodes; native routing when clear */
	AX_CFG_MASQUERADE4 = 1 << 3,
	AX_CFG_MASQUERADE6 = 1 << 4,
	AX_CFG_POLICY_AUDIT = 1 << 5,  /* report instead of drop */
	AX_CFG_SERVICES = 1 << 6,      /* Services are served for packets from outside of the node */
	AX_CFG_DSR_IPIP = 1 << 7,      /* packets of direct server return are wrapped in IPIP / IP6IP6 */
	AX_CFG_XDP = 1 << 8,           /* the native device has the XDP balancer too */
	AX_CFG_XDP_REDIRECT = 1 << 9,  /* what it sends leaves by redirect to the same device, not by XDP_TX */
	AX_CFG_PROCESSES = 1 << 10,    /* records name the processes that own pods' sockets */
	AX_CFG_CIDR_NOT_PODS = 1 << 11, /* rules on prefixes pass over pods, whatever their addresses */
	AX_CFG_CIDR_NOT_NODES = 1 << 12, /* and over nodes, this one too, and API servers */
};

struct ax_config {
	/*
	 * Raised by the agent AFTER every change to endpoints, policy, ipcache or
	 * routing. A conntrack entry whose `epoch` differs takes the slow path
	 * again (policy, next hop) at its next packet. Read it BEFORE any of these
	 * maps: a decision then never carries an epoch newer than its inputs.
	 */
	__u32 epoch;
	__u32 flags;               /* enum ax_config_flags */
	__u32 device_ifindex;      /* the node's native device (0: none) */
	__u32 tunnel_ifindex;      /* the VXLAN device (0: none) */
	struct ax_addr node_ip4;   /* v4-mapped; zero when absent. Masquerade source too */
	struct ax_addr node_ip6;
	__u16 nat_port_min;        /* host order, inclusive: sources of translated packets */
	__u16 nat_port_max;
	__u16 mtu;                 /* of pods' packets that leave the node (less the tunnel); larger ones go to the stack, 0: no check */
	__u8 aggregation;          /* enum ax_aggregation */
	__u8 pad;
	__u32 report_interval_s;   /* trace events of a live connection, per direction */
	__u32 ct_timeout_tcp_s;    /* 8000 */
	__u32 ct_timeout_tcp_syn_s;/* 60 */
	__u32 ct_timeout_tcp_fin_s;/* 10 */
	__u32 ct_timeout_any_s;    /* 60 */
	__u32 ct_timeout_svc_s;    /* 8000: translated-service TCP affinity of a connection */
	__u16 tunnel_port;         /* host order; pods may not speak to it themselves (0: 8472) */
	__u16 nat_cpus;            /* possible CPUs, among which the ports of source NAT are cut (0: 1) */
	__u32 hash_seed;           /* of Maglev look-ups: the same on all nodes of the cluster */
	__u8 device_mac[6];        /* of the native device: frames for others are not XDP's; zero: all are taken */
	__u16 proxy_port;          /* host order, the first of AX_PROXY_PORTS of the DNS proxy; 0: none, its rows deny */
	struct ax_addr proxy_ip4;  /* where it listens; zero when absent */
	struct ax_addr proxy_ip6;
	__u32 host_policy_id;      /* rows in ax_policy for this node itself; 0: no policy selects it */
};

/* A pod may ask as many servers at a time from one port of its own: each has a port of the proxy. */
#define AX_PROXY_PORTS 4

enum ax_aggregation { AX_AGG_NONE = 0, AX_AGG_LOWEST = 1, AX_AGG_LOW = 2, AX_AGG_MEDIUM = 3, AX_AGG_MAX = 4 };

/* ---- ax_endpoints: hash, address -> local endpoint ------------------------ */
enum ax_ep_flags {
	AX_EP_HOST = 1 << 0,       /* an address of this node: deliver to the stack */
	AX_EP_NO_MASQ = 1 << 1,    /* never masquerade this endpoint */
	AX_EP_AUDIT = 1 << 2,      /* policy reports, does not drop */
	AX_EP_NODEPORT = 1 << 3,   /* an address of this node on which NodePorts and host ports are served */
};

struct ax_endpoint {
	__u32 ifindex;     /* host side of the pod's veth; 0 for AX_EP_HOST */
	__u32 identity;
	__u32 policy_id;   /* rows in ax_policy; 0 = no policy selects it: allow */
	__u16 id;          /* endpoint id, 1..65535 */
	__u16 flags;       /* enum ax_ep_flags */
	__u8 mac[6];       /* pod side */
	__u8 host_mac[6];  /* host side */
	__u32 pad;
};

/* ---- ax_ipcache: LPM, prefix -> identity and where it lives ---------------- */
struct ax_ipcache_key {
	__u32 prefixlen;        /* 0..128; IPv4 prefixes are 96 + length */
	struct ax_addr addr;
};

enum ax_ipcache_flags {
	AX_IPC_DIRECT = 1 << 0, /* node_ip is on the native device's link: usable as next hop */
};

struct ax_ipcache_entry {
	AX_NEXT(__u32 next;)
	__u32 identity;
	__u32 flags;            /* enum ax_ipcache_flags */
	struct ax_addr node_ip; /* node that hosts it: tunnel endpoint, native next hop; zero = none */
};

/* ---- ax_nomasq: LPM, destinations that are never masqueraded --------------- */
/* key struct ax_ipcache_key, value __u32 (unused, 1) */

/* ---- ax_cidrs: LPM, prefixes that rules name -> number ---------------------- */
/*
 * key struct ax_ipcache_key, value __u32: what rules on prefixes know an address by, whoever owns it; that of
 * the longest prefix counts. An address in none has the number of its family's world (enum ax_identity).
 */

/* ---- ax_policy: hash, rows of all distinct policies ------------------------ */
/*
 * A distinct policy (the same rule set, whoever uses it) has one id and is
 * stored once. A row's `shape` is the length of its L4 prefix: 0 any protocol,
 * 8 one protocol any port, 9..24 one protocol and a port prefix of shape-8 bits.
 * ax_policy_heads says which shapes occur, so that a look-up probes only those:
 * constant cost, whatever the number of policies.
 */
enum ax_dir { AX_INGRESS = 0, AX_EGRESS = 1 };

struct ax_policy_key {
	__u32 policy_id;
	__u32 identity;   /* of the peer; 0 = any */
	__u32 cidr;       /* of the peer's address, see ax_cidrs; 0 = any */
	__be16 port;      /* destination port masked to the shape; ICMP: type */
	__u8 proto;       /* 0 for shape 0 */
	__u8 shape;       /* bits 0..4 shape 0..24, bit 7 direction (enum ax_dir) */
};

enum ax_policy_verdict { AX_PV_ALLOW = 0, AX_PV_DENY = 1, AX_PV_DEFAULT_DENY = 2, AX_PV_AUDIT = 3 };

struct ax_policy_row {
	AX_NEXT(__u32 next;)
	__u32 precedence; /* higher wins; on a tie the longer shape, then identity and prefix, identity, prefix, anybody */
	__u32 rule_id;    /* names the rule that decided, in events */
	__u16 proxy_port; /* 0 = none; with AX_PV_ALLOW: to the DNS proxy, and this is its set of rules */
	__u8 verdict;     /* enum ax_policy_verdict */
	__u8 pad;
};

/* ---- ax_policy_heads: hash, (policy id << 1 | direction) -> head ----------- */
enum ax_policy_flags {
	AX_PF_LAYERED = 1 << 0, /* rows are final answers: for who is named twice, by identity and by prefix, one row of both */
};

struct ax_policy_head {
	__u32 shapes_both;   /* bit n: a row of shape n with an identity and a prefix exists */
	__u32 shapes_exact;  /* bit n: a row of shape n with an identity alone exists */
	__u32 shapes_cidr;   /* bit n: a row of shape n with a prefix alone exists */
	__u32 shapes_any;    /* bit n: a row of shape n about everybody exists */
	__u32 default_rule;  /* rule id reported when no row matches */
	__u8 default_verdict;/* AX_PV_ALLOW (direction not enforced) or AX_PV_DEFAULT_DENY */
	__u8 flags;          /* enum ax_policy_flags */
	__u8 pad[2];
};

/* ---- services --------------------------------------------------------------- */
/*
 * ax_services: frontend -> Service port. Outer array of one element, so that user space can put a larger
 * hash in its place (as ax_backends and ax_slots). A port served on all addresses of the node has one
 * row, under the unspecified address of its family; it is looked up when the exact one is not there.
 */
struct ax_svc_key {
	struct ax_addr addr;
	__be16 port;
	__u8 proto;
	__u8 scope;     /* enum ax_svc_scope */
};

enum ax_svc_scope {
	AX_SCOPE_EXTERNAL = 0,
	AX_SCOPE_INTERNAL = 1, /* for clients of this node, with AX_SVC_TWO_SCOPES on the external row */
	AX_SCOPE_ORIGINAL = 2, /* for clients that a local redirect leaves alone, with AX_SVC_SKIP */
};

enum ax_svc_flags {
	AX_SVC_CLUSTERIP = 1 << 0,
	AX_SVC_NODEPORT = 1 << 1,
	AX_SVC_LOADBALANCER = 1 << 2,
	AX_SVC_EXTERNALIP = 1 << 3,
	AX_SVC_HOSTPORT = 1 << 4,
	AX_SVC_AFFINITY = 1 << 5,
	AX_SVC_TWO_SCOPES = 1 << 6,
	AX_SVC_SOURCE_RANGES = 1 << 7,  /* the client has to be in ax_src_ranges */
	AX_SVC_LOCAL_ONLY = 1 << 8,     /* the list has backends of this node only */
	AX_SVC_LOCAL_REDIRECT = 1 << 9,
	AX_SVC_SKIP = 1 << 10,          /* clients in ax_lrp_skip look at the original */
	AX_SVC_LOOPBACK_ONLY = 1 << 11, /* a host port on 127.0.0.1: sockets only */
	AX_SVC_TOPOLOGY = 1 << 12,      /* the list was narrowed to the node's zone; for people */
};

enum ax_svc_algorithm { AX_LB_RANDOM = 0, AX_LB_MAGLEV = 1 };
enum ax_svc_forwarding { AX_FWD_SNAT = 0, AX_FWD_DSR = 1 };

struct ax_svc {
	AX_NEXT(__u32 next; __u32 next_pad;)
	__u32 service_id;       /* names the Service's port whatever its frontends: affinity, source ranges */
	__u32 slots_off;        /* the range of ax_slots: a fresh one for every change, so that this row flips all */
	__u32 slots;            /* what is chosen among: count, or the entries of a Maglev table */
	__u32 count;            /* usable backends, with which the range begins; 0: reject */
	__u32 affinity_timeout_s;
	__u16 flags;            /* enum ax_svc_flags */
	__u8 algorithm;         /* enum ax_svc_algorithm */
	__u8 forwarding;        /* enum ax_svc_forwarding */
};

/*
 * ax_slots: array, in ranges: all that a new connection needs to know of a backend. What may change while a backend
 * lives is in ax_backends alone. Behind the backends of a Maglev list stands its table: numbers of backends in the list
 * (__u16), AX_SLOT_ENTRIES a slot. A freed range rests before it is used again: nobody reads it then.
 */
struct ax_slot {
	struct ax_addr addr;
	__be16 port;
	__u16 pad;
	__u32 id;               /* of its row in ax_backends */
	__u32 pad2;
	__u32 service_id;       /* last: 0 in a slot of a table, which nobody then takes for a backend */
};

#define AX_SLOT_ENTRIES (offsetof(struct ax_slot, service_id) / sizeof(__u16))

enum ax_backend_flags { AX_BE_LOCAL = 1 << 0 /* an endpoint of this node */ };

/* ax_backends: hash, backend id -> address. A removed backend's row is deleted: a connection that remembers
 * it selects again. An id belongs to one address and port of one Service port, and is never used again. */
struct ax_backend {
	struct ax_addr addr;
	__be16 port;
	__u8 proto;
	__u8 state;             /* 0 active, 1 terminating */
	__u32 service_id;
	__u8 flags;             /* enum ax_backend_flags */
	__u8 pad[3];
};

/* ax_affinity: LRU hash, client -> the backend it had */
struct ax_affinity_key {
	struct ax_addr client;
	__u32 service_id;
};

struct ax_affinity {
	AX_NEXT(__u32 next; __u32 next_pad;)
	__u32 backend_id;
	__u32 last_s;
};

/* ax_src_ranges: LPM, who may use a Service; value __u32 (unused, 1) */
struct ax_src_range_key {
	__u32 prefixlen;        /* 32 for service_id + 0..128 */
	__u32 service_id;
	struct ax_addr addr;
};

/* ax_lrp_skip: hash, clients whose packets a local redirect leaves alone; value __u32 (unused, 1) */
struct ax_skip_key {
	struct ax_addr client;
	__u32 service_id;
};

/* ax_netns: hash, cookie of a pod's network namespace -> its addresses; zero when absent */
struct ax_netns {
	struct ax_addr ip4;
	struct ax_addr ip6;
};

/* ax_sock: socket storage, where a connected socket was sent to instead of what it dialled */
struct ax_sock {
	struct ax_addr frontend;
	struct ax_addr backend;
	__be16 frontend_port;
	__be16 backend_port;
	__u32 backend_id;
	__u32 service_id;
	__u8 proto;
	__u8 scope;             /* enum ax_svc_scope of the row that was used */
	__u16 pad;
};

/* ---- processes that own sockets of pods -------------------------------------- */
/*
 * A number names one program image of one process: a process that calls exec gets another with its next socket. Numbers
 * count up and are not used again; 0: not known. Socket storage (ax_owner) carries the number of who made the socket;
 * conntrack, of who answered a SYN, for accepted sockets.
 */
#define AX_PROCESS_COMM 16
#define AX_PROCESS_PATH 160
#define AX_PROCESS_ARGS 256
#define AX_PROCESS_CGROUP 96

enum ax_process_flags {
	AX_PROC_PATH_CUT = 1 << 0,     /* path has not all components */
	AX_PROC_MOUNTED = 1 << 1,      /* path begins at a mount below the process's root */
	AX_PROC_ARGS_CUT = 1 << 2,
};

/* ax_processes: hash, number -> the process, written at its first socket. User space removes the rows of dead ones */
struct ax_process {
	__u64 noted_ns;        /* CLOCK_MONOTONIC; 0: the row is being written */
	__u64 start_ns;        /* CLOCK_BOOTTIME at which the process was forked */
	__u64 netns;           /* cookie */
	__u32 pid;             /* in the host's namespace */
	__u32 uid;
	__u32 flags;           /* enum ax_process_flags */
	__u32 path_len;        /* bytes of path, args, cgroup in use */
	__u32 args_len;
	__u32 cgroup_len;
	__u8 comm[AX_PROCESS_COMM];
	__u8 path[AX_PROCESS_PATH];   /* of the executable: names, the last one first, each ends in NUL */
	__u8 args[AX_PROCESS_ARGS];   /* as the process shows them, each ends in NUL */
	__u8 cgroup[AX_PROCESS_CGROUP]; /* name of its cgroup: the container, NUL at its end */
};

/* ax_process_ids: LRU hash, pid -> the number that its present image has */
struct ax_process_id {
	__u64 start_ns;
	__u32 exec_id;
	__u32 id;
};

/* ax_process_seq: array of one row */
struct ax_process_seq {
	__u32 last;            /* the number given last */
	__u32 unnoted;         /* processes that found no room in ax_processes */
};

/* ax_sock_rev: LRU hash, socket-level reverse translation of unconnected UDP (recvmsg) */
struct ax_sock_rev_key {
	__u64 cookie;
	struct ax_addr addr;    /* backend; in ax_sock_fwd: frontend */
	__be16 port;
	__u8 pad[6];
};

struct ax_sock_rev {
	struct ax_addr addr;    /* frontend */
	__be16 port;
	__u16 pad;
	__u32 backend_id;
};

/* ax_sock_fwd: LRU hash, key as ax_sock_rev with the frontend, value __u32 backend id: a socket's datagrams stay with it */

/* ax_svc_flows: hash, a translated packet flow. Key: the packet as the client sent it */
struct ax_flow_key {
	struct ax_addr saddr;
	struct ax_addr daddr;
	__be16 sport;           /* ICMP: echo id in both */
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

enum ax_flow_kind {
	AX_FLOW_LOCAL = 0,      /* destination only; the connection's entry in ax_ct knows the rest */
	AX_FLOW_SNAT = 1,       /* forwarded to another node under (nat_addr, nat_port) */
	AX_FLOW_DSR = 2,        /* forwarded to another node, which answers the client */
	AX_FLOW_HOST = 3,       /* to this node's own stack; the reverse row in ax_nat names the frontend */
};

enum ax_flow_flags {
	AX_FLOW_SEEN_REPLY = 1 << 0, /* or the client sent more than what opened it */
	AX_FLOW_FIN_CLIENT = 1 << 1,
	AX_FLOW_FIN_BACKEND = 1 << 2,
	AX_FLOW_CLOSED = 1 << 3,
};

struct ax_svc_flow {
	AX_NEXT(__u32 next; __u32 next_pad;)
	__u32 backend_id;
	__u32 expires_s;
	struct ax_addr nat_addr;/* AX_FLOW_SNAT: the source the backend sees */
	__be16 nat_port;
	__u8 kind;              /* enum ax_flow_kind */
	__u8 pad;
	__u32 flags;            /* enum ax_flow_flags */
	__u64 way;              /* of XDP to the backend: lib/way.h */
};

/* ---- ax_ct: hash, connection tracking: one entry a connection ---------------- */
/*
 * The key is normalised: side a is the smaller of (address, port), so that both
 * directions find the same entry with one look-up.
 */
struct ax_ct_key {
	struct ax_addr a;
	struct ax_addr b;
	__be16 aport;           /* ICMP echo: the id in both */
	__be16 bport;
	__u8 proto;
	__u8 pad[3];
};

enum ax_ct_flags {
	AX_CT_INITIATOR_B = 1 << 0,  /* side b sent the first packet */
	AX_CT_SEEN_REPLY = 1 << 1,
	AX_CT_FIN_A = 1 << 2,
	AX_CT_FIN_B = 1 << 3,
	AX_CT_CLOSED = 1 << 4,       /* RST, or FIN both ways */
	AX_CT_AUDITED = 1 << 5,      /* let through by audit mode */
	AX_CT_REFUSED = 1 << 6,      /* re-evaluated after a policy change and refused */
	AX_CT_MASQUERADE = 1 << 7,   /* packets of the initiator leave with the node's address */
	AX_CT_LOOPBACK = 1 << 8,     /* a pod reached itself through a Service, under the loopback source */
	AX_CT_DSR = 1 << 9,          /* another node forwarded it; replies go straight to the client */
	AX_CT_PROXIED = 1 << 10,     /* the DNS proxy asks in the initiator's name; frontend is its socket */
};

/* How packets TO a side leave this node */
enum ax_ct_path {
	AX_PATH_UNKNOWN = 0,  /* decide again */
	AX_PATH_PEER = 1,     /* bpf_redirect_peer(ifindex) */
	AX_PATH_STACK = 2,    /* up the host stack */
	AX_PATH_NEIGH = 3,    /* bpf_redirect_neigh(ifindex, nexthop) */
	AX_PATH_TUNNEL = 4,   /* tunnel to nexthop */
	AX_PATH_DIRECT = 5,   /* as NEIGH, but nexthop is the node that hosts the side: TTL is kept */
	AX_PATH_PROXY = 6,    /* up the host stack to the DNS proxy, in the place of nexthop and nexthop_port */
};

struct ax_ct_side {
	__u32 ifindex;        /* device that leads to this side */
	__u32 identity;
	__u32 rule_id;        /* this side's policy decision: its egress if initiator, else its ingress */
	__u32 last_report_s;
	struct ax_addr nexthop;/* AX_PATH_NEIGH, AX_PATH_DIRECT, AX_PATH_TUNNEL, AX_PATH_PROXY */
	__u16 ep_id;          /* local endpoint id; 0 = not local */
	__u8 path;            /* enum ax_ct_path: packets to this side */
	__u8 tcp_flags;       /* OR of the TCP flags this side sent */
	__be16 nexthop_port;  /* AX_PATH_PROXY */
	__u16 proxy_rules;    /* AX_PATH_PROXY: proxy_port of the policy row */
	__u32 process;        /* that owns this side's socket, a local pod's; 0: not known (yet) */
};

struct ax_ct {
	AX_NEXT(__u32 next;)
	__u32 epoch;          /* ax_config.epoch of the last full decision */
	__u32 expires_s;
	__u32 flags;          /* enum ax_ct_flags */
	__u32 created_s;
	struct ax_addr frontend; /* replies to the initiator are translated back to this */
	__be16 frontend_port;    /* 0 = none */
	__u16 pad;
	struct ax_ct_side side[2]; /* 0 = a, 1 = b */
};

/* ---- ax_proxy_pods: hash, endpoint -> its address, in whose name the DNS proxy asks; the proxy writes it ---- */
struct ax_proxy_pod_key {
	__u32 ep_id;
	__u32 family;           /* AF_INET, AF_INET6 */
};

/* ---- ax_nat: hash, source NAT; two rows a mapping ---------------------------- */
/* forward row: key = original packet, value = new source (of a Service's flow: in ax_svc_flows instead).
 * reverse row: key = the reply as it arrives, value = original source (new destination). A Service's flow
 * to this node's own stack has one too, under the reply as the stack sends it. */
struct ax_nat_key {
	struct ax_addr saddr;
	struct ax_addr daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 reverse;           /* 0 forward, 1 reverse */
	__u16 pad;
};

struct ax_nat {
	AX_NEXT(__u32 next; __u32 next_pad;)
	struct ax_addr addr;
	struct ax_addr frontend;/* reverse row of a Service's flow: the source the client expects */
	__be16 port;
	__be16 frontend_port;   /* 0: of no Service */
	__u32 expires_s;
	__u64 way;              /* of XDP to addr: lib/way.h */
};

/* ---- ax_nat_stat: per-CPU array of one row, what the port pools did ------------- */
struct ax_nat_stat {
	__u64 allocated;
	__u64 own;              /* of those: with the port the client had */
	__u64 listed;           /* from the list of ports freed lately */
	__u64 stolen;           /* from another CPU's range */
	__u64 steps;            /* candidates that were taken already */
	__u64 in_use;           /* candidates on which the host itself has a socket */
	__u64 no_port;          /* refused: none of the candidates was free */
	__u64 table_full;       /* refused: no room for the row */
};

/* ---- ax_l2: hash, addresses this node answers ARP and neighbour solicitations for ----- */
struct ax_l2_key {
	struct ax_addr addr;
	__u32 ifindex;
};

struct ax_l2 {
	__u64 answered;         /* requests so far */
	__u8 mac[6];
	__u8 pad[2];
};

/* ---- ax_deny: LPM (key struct ax_ipcache_key), sources dropped at the edge; value __u32 (unused, 1) ---- */

/* ---- ct_gc: context of the garbage collection run (BPF_PROG_RUN) ------------------ */
struct ax_gc_ctx {
	struct ax_addr flush;   /* also delete what touches this address; zero = expired rows only */
	__u32 now_s;            /* CLOCK_MONOTONIC; 0 = the program looks itself */
	__u32 ct_seen;          /* out: rows looked at and deleted */
	__u32 ct_deleted;
	__u32 nat_seen;
	__u32 nat_deleted;
	__u32 flow_seen;
	__u32 flow_deleted;
	__u32 pad;
};

/* ---- ax_frags: LRU hash, ports of a fragmented datagram ----------------------- */
struct ax_frag_key {
	struct ax_addr saddr;
	struct ax_addr daddr;
	__u32 id;
	__u8 proto;
	__u8 pad[3];
};

struct ax_frag_ports {
	__be16 sport;
	__be16 dport;
};

/* ---- ax_metrics: per-CPU array, index = reason << 2 | direction ----------------- */
/* reason 0 = forwarded; direction 0 = ingress, 1 = egress, 2 = service. Size 1024. */
enum ax_metric_index {
	AX_METRIC_EVENTS_LOST = 1023, /* records the full ring buffer refused, and their bytes */
};

struct ax_metric {
	__u64 packets;
	__u64 bytes;
};

/* ---- events: ring buffer ax_events ------------------------------------------------ */
enum ax_event_type {
	AX_EV_DROP = 1,
	AX_EV_TRACE = 4,
	AX_EV_POLICY_VERDICT = 5,
	AX_EV_TRACE_SOCK = 7,
};

/* sub-types of AX_EV_TRACE: the field's observation points */
enum ax_trace_point {
	AX_TO_ENDPOINT = 0, AX_TO_PROXY = 1, AX_TO_HOST = 2, AX_TO_STACK = 3, AX_TO_OVERLAY = 4,
	AX_FROM_ENDPOINT = 5, AX_FROM_PROXY = 6, AX_FROM_HOST = 7, AX_FROM_STACK = 8,
	AX_FROM_OVERLAY = 9, AX_FROM_NETWORK = 10, AX_TO_NETWORK = 11,
};

enum ax_trace_reason { AX_TR_NEW = 0, AX_TR_ESTABLISHED = 1, AX_TR_REPLY = 2, AX_TR_RELATED = 3, AX_TR_UNKNOWN = 5 };

enum ax_event_flags {
	AX_EVF_EGRESS = 1 << 0,          /* the egress decision of src is in rule_egress */
	AX_EVF_INGRESS = 1 << 1,         /* the ingress decision of dst is in rule_ingress */
	AX_EVF_IPV6 = 1 << 2,
	AX_EVF_AUDIT_EGRESS = 1 << 3,    /* would have been denied */
	AX_EVF_AUDIT_INGRESS = 1 << 4,
	AX_EVF_DENIED_EGRESS = 1 << 5,
	AX_EVF_DENIED_INGRESS = 1 << 6,
	AX_EVF_TRANSLATED = 1 << 7,      /* orig_daddr/orig_dport is what the client dialled */
};

/*
 * One record, one size. A connection inside a node yields ONE verdict record
 * that carries both decisions; readers expand it to the field's two events, and to the
 * trace event of a new connection (its subtype says where the packet went). Where
 * no policy is enforced a new connection is a trace record. A refused packet is
 * a drop record with AX_EVF_DENIED_*: readers derive the denied verdict from it.
 * After a policy change a connection may be refused by a packet of its responder: then
 * src is the responder, rule_egress still the initiator's. ICMP has ports 0.
 */
struct ax_event {
	__u64 time_ns;       /* CLOCK_MONOTONIC (bpf_ktime_get_ns) */
	__u8 type;           /* enum ax_event_type */
	__u8 subtype;        /* drop: reason (130..); trace and verdict: enum ax_trace_point */
	__u8 reason;         /* enum ax_trace_reason */
	__u8 flags;          /* enum ax_event_flags */
	__u8 proto;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 len;           /* of the packet, from L2 */
	__u32 ifindex;
	__u32 src_identity;
	__u32 dst_identity;
	__u16 src_ep;        /* local endpoint ids; 0 = not local */
	__u16 dst_ep;
	__be16 sport;
	__be16 dport;
	struct ax_addr saddr;
	struct ax_addr daddr;
	__u32 rule_egress;
	__u32 rule_ingress;
	struct ax_addr orig_daddr; /* before service translation, when AX_EVF_TRANSLATED */
	__be16 orig_dport;
	__u16 cpu;
	__u8 smac[6];
	__u8 dmac[6];
	__u32 src_process;   /* that own the sockets of local pods; 0 = not known */
	__u32 dst_process;
};

/* drop reasons: numbers of the field's flow.DropReason */
enum ax_drop {
	AX_DROP_INVALID_SOURCE_IP = 132,
	AX_DROP_POLICY = 133,              /* no rule allows it */
	AX_DROP_INVALID = 134,             /* malformed packet */
	AX_DROP_CT_INVALID_HDR = 135,
	AX_DROP_CT_UNKNOWN_PROTO = 137,
	AX_DROP_UNKNOWN_L3 = 139,
	AX_DROP_WRITE = 141,
	AX_DROP_STALE_OR_UNROUTABLE = 151,
	AX_DROP_CT_CREATE_FAILED = 155,
	AX_DROP_INVALID_EXTHDR = 156,
	AX_DROP_NO_SERVICE = 158,
	AX_DROP_NO_TUNNEL_ENDPOINT = 160,
	AX_DROP_NO_CONFIG = 165,
	AX_DROP_NAT_NO_MAPPING = 167,
	AX_DROP_NAT_UNSUPPORTED = 168,
	AX_DROP_FIB = 169,
	AX_DROP_ENCAP_PROHIBITED = 170,
	AX_DROP_FRAG_NOT_FOUND = 175,
	AX_DROP_NOT_IN_SRC_RANGE = 177,
	AX_DROP_POLICY_DENY = 181,         /* an explicit deny rule */
	AX_DROP_TTL_EXCEEDED = 196,
	AX_DROP_EP_NOT_READY = 203,
};

#endif
