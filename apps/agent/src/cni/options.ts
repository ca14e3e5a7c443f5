import type { OptionSet } from "@axoneme/app";

/** What the agent does for the container runtime. */
export const cniOptions = {
  cniTimeout: {
    default: 10,
    doc: "seconds an ADD waits for its pod and its policy",
    unit: "s",
    liveness: "live",
    min: 1,
    max: 120,
  },
  cniConfDir: {
    default: "",
    doc: "directory for the CNI configuration, written once pods can be added, as /etc/cni/net.d; empty: not written",
    liveness: "restart",
  },
  cniWriteConf: {
    default: true,
    doc: "write the CNI configuration; false: the runtime stays with another network, and has ours taken away",
    liveness: "live",
  },
  cniBinDir: {
    default: "",
    doc: "directory the plugin is installed in, as /opt/cni/bin; empty: not installed",
    liveness: "restart",
  },
  cniExclusive: {
    default: false,
    doc: "rename the CNI configurations of others in cniConfDir to *.axoneme_bak",
    liveness: "restart",
  },
} as const satisfies OptionSet;
