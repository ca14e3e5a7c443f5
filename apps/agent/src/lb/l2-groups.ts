import { errorText, formatIp, type Ip, ipKey, isV4, type Logger } from "@axoneme/base";
import type { L2Address } from "@axoneme/loadbalancer";
import { isErrno, type Netlink, Scope } from "@axoneme/netlink";

/** Where neighbours ask for an IPv6 address: ff02::1:ff and its last three bytes (RFC 4291 2.7.1). */
export function solicitedNode(address: Ip): Ip {
  const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0);
  group.set(address.subarray(13), 13);
  return group;
}

/**
 * Memberships in the groups in which neighbours ask for announced IPv6 addresses. A device drops what is for a group
 * that nobody has joined, and a switch that listens to MLD does not even send it: no program would see the question. The kernel
 * holds a membership as an address of the device (IFA_F_MCAUTOJOIN), so that it outlives the agent as the rows do.
 */
export class SolicitedGroups {
  readonly #netlink: Netlink;
  readonly #log: Logger;
  /** Addresses by their group and device: some share one. */
  readonly #users = new Map<string, Set<string>>();
  /** Changes are made one after the other. */
  #done: Promise<void> = Promise.resolve();

  constructor(netlink: Netlink, log: Logger) {
    this.#netlink = netlink;
    this.#log = log;
  }

  /** For addresses that are answered for from now on. */
  join(entries: Iterable<L2Address>): void {
    for (const { address, ifindex } of entries) {
      if (isV4(address)) continue;
      const group = solicitedNode(address);
      const key = `${ifindex} ${ipKey(group)}`;
      const users = this.#users.get(key);
      this.#users.set(key, (users ?? new Set()).add(ipKey(address)));
      if (users === undefined) this.#change("join", group, ifindex, "EEXIST");
    }
  }

  /** For addresses that are not any more. */
  leave(entries: Iterable<L2Address>): void {
    for (const { address, ifindex } of entries) {
      if (isV4(address)) continue;
      const group = solicitedNode(address);
      const key = `${ifindex} ${ipKey(group)}`;
      const users = this.#users.get(key);
      if (!users?.delete(ipKey(address)) || users.size > 0) continue;
      this.#users.delete(key);
      this.#change("leave", group, ifindex, "EADDRNOTAVAIL");
    }
  }

  /** Resolves when all that was asked for so far is done. */
  settled(): Promise<void> {
    return this.#done;
  }

  #change(what: "join" | "leave", group: Ip, index: number, harmless: string): void {
    const prefix = { ip: group, length: 128 };
    const address = { index, prefix, scope: Scope.link, noDad: true, noPrefixRoute: true, autoJoin: true };
    this.#done = this.#done
      .then(() => (what === "join" ? this.#netlink.addrAdd(address) : this.#netlink.addrDel(address)))
      .catch((error: unknown) => {
        // A device that is gone has no members either.
        if (isErrno(error, harmless) || (what === "leave" && isErrno(error, "ENODEV"))) return;
        this.#log.warn(
          { err: errorText(error), group: formatIp(group), ifindex: index },
          `could not ${what} the group in which neighbours ask for an announced IPv6 address`,
        );
      });
  }
}
