import { isV4Prefix, parsePrefix } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { type Ipcache, isLocalIdentity, type LocalIdentities, worldOf } from "@axoneme/identity";

/** What no other entry names is the world. */
export function announceWorld(ipcache: Ipcache, dualStack: boolean): void {
  for (const text of ["0.0.0.0/0", "::/0"]) {
    const prefix = parsePrefix(text);
    ipcache.upsert(prefix, "unspec", "world", { identity: worldOf(isV4Prefix(prefix), dualStack).id });
  }
}

/** Prefixes keep their numbers over a restart: rows of live policies name them. */
export function restoreIdentities(kernel: Kernel, identities: LocalIdentities): void {
  for (const [key, number] of kernel.maps.cidrs.entries()) {
    if (isLocalIdentity(number)) identities.restore({ ip: key.addr.slice(), length: key.prefixlen }, number);
  }
  for (const [key, { identity }] of kernel.maps.ipcache.entries()) {
    if (isLocalIdentity(identity))
      identities.restore({ ip: key.addr.slice(), length: key.prefixlen }, identity);
  }
}
