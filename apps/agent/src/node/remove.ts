import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Netlink } from "@axoneme/netlink";
import { removeCni } from "../cni/files.ts";
import type { AgentConfig } from "../options.ts";
import { hostDeviceName, removeDevice, tunnelDeviceName } from "./host-devices.ts";

/**
 * Takes everything of ours off a node where no agent runs any more. With their pins the programs on devices and
 * cgroups end, and the maps with them; pods that are there keep their devices and have no network beyond the node.
 */
export async function removeNode({ cniConfDir, cniBinDir, bpffs, runDir }: AgentConfig): Promise<void> {
  removeCni({ confDir: cniConfDir, binDir: cniBinDir });
  rmSync(bpffs, { recursive: true, force: true });
  const netlink = Netlink.open();
  try {
    for (const name of [hostDeviceName, tunnelDeviceName]) await removeDevice(netlink, name);
  } finally {
    netlink.close();
  }
  for (const name of entriesOf(runDir)) rmSync(name, { recursive: true, force: true });
}

/** The directory itself may be a mount. */
function entriesOf(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}
