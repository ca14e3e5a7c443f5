import { supportedVersions } from "@axoneme/endpoint";

/** Runtimes take the first file by name. */
export const conflistName = "05-axoneme.conflist";

/** The program's name in the directory of plugins, and the `type` in configurations. */
export const pluginName = "axoneme-cni";

/**
 * The network configuration list (CNI specification, section 1) for an agent that listens on `socket`. A runtime that
 * knows `cniVersions` takes the newest it speaks, and asks STATUS and GC from 1.1.0 on; older ones, containerd 1.6
 * among them, refuse a `cniVersion` they have not heard of.
 */
export function conflist(socket: string): string {
  const plugin = {
    type: pluginName,
    axonSocket: socket,
    capabilities: { portMappings: true, bandwidth: true },
  };
  const list = {
    cniVersion: "0.3.1",
    cniVersions: [...supportedVersions].reverse().filter((version) => version !== "0.3.0"),
    name: "axoneme",
    plugins: [plugin],
  };
  return `${JSON.stringify(list, null, 2)}\n`;
}
