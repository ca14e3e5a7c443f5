import { hostPrefix, type Ip, ipEqual } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { type Ipcache, reserved } from "@axoneme/identity";
import type { NodeAddresses } from "./addresses.ts";
import { writeHostRows } from "./setup.ts";

/** The node's own addresses are the host, whichever device has them, and as long as it has them. */
export async function followHostAddresses(
  addresses: NodeAddresses,
  ipcache: Ipcache,
  kernel: Kernel,
): Promise<void> {
  let known: readonly Ip[] = [];
  addresses.onChange = (changed) => {
    const now = changed.map(({ ip }) => ip);
    for (const ip of known) {
      if (!now.some((other) => ipEqual(ip, other))) ipcache.delete(hostPrefix(ip), "local", "node");
    }
    for (const ip of now) ipcache.upsert(hostPrefix(ip), "local", "node", { identity: reserved.host });
    known = now;
    writeHostRows(kernel, changed);
  };
  await addresses.start();
}
