import { formatIp, formatPrefix, ipKey, type Prefix } from "@axoneme/base";
import {
  type BackendRow,
  type ExistingRows,
  type FrontendKey,
  type LbChange,
  Scope,
  ServiceFlag,
  type ServiceRow,
} from "../src/index.ts";

/** Text of a key for people. */
export const keyText = (key: FrontendKey) =>
  `${formatIp(key.addr)}:${key.port}/${key.proto}${["", "/i", "/o"][key.scope]}`;

/** The service maps. After each single write, nothing a service row names may be missing. */
export class Maps {
  readonly services = new Map<string, { key: FrontendKey; row: ServiceRow }>();
  readonly slots = new Map<number, number>();
  readonly backends = new Map<number, BackendRow>();
  readonly ranges = new Map<string, { serviceId: number; prefix: Prefix }>();
  readonly skips = new Map<string, { serviceId: number; client: Uint8Array }>();
  /** Time, for the quarantine of ranges. */
  now = 0;
  /** Ranges no row names any more, with the time that became so. */
  #freed: { offset: number; end: number; at: number }[] = [];
  /** Socket of each backend id there ever was. */
  readonly #backendIdsEver = new Map<number, string>();

  apply(changes: readonly LbChange[]): void {
    for (const change of changes) {
      this.#write(change);
      this.check();
    }
  }

  #write(change: LbChange): void {
    switch (change.op) {
      case "put-backend":
        this.#putBackend(change.id, change.row);
        break;
      case "put-slots":
        this.#putSlots(change.offset, change.backendIds);
        break;
      case "put-service":
        this.#flip(change.key, change);
        break;
      case "delete-service":
        if (!this.services.has(keyText(change.key))) throw new Error(`${keyText(change.key)}: deleted twice`);
        this.#flip(change.key, undefined);
        break;
      case "put-range":
        this.ranges.set(`${change.serviceId} ${formatPrefix(change.prefix)}`, change);
        break;
      case "delete-range":
        this.ranges.delete(`${change.serviceId} ${formatPrefix(change.prefix)}`);
        break;
      case "put-skip":
        this.skips.set(`${change.serviceId} ${formatIp(change.client)}`, change);
        break;
      case "delete-skip":
        this.skips.delete(`${change.serviceId} ${formatIp(change.client)}`);
        break;
      case "delete-backend":
        if (!this.backends.delete(change.id)) throw new Error(`backend ${change.id}: deleted twice`);
        break;
    }
  }

  #putBackend(id: number, row: BackendRow): void {
    const socket = `${row.serviceId} ${ipKey(row.addr)} ${row.port} ${row.proto}`;
    const before = this.#backendIdsEver.get(id);
    if (before !== undefined && before !== socket) throw new Error(`backend id ${id} was used again`);
    this.#backendIdsEver.set(id, socket);
    this.backends.set(id, row);
  }

  #flip(key: FrontendKey, next: { key: FrontendKey; row: ServiceRow } | undefined): void {
    const before = this.services.get(keyText(key));
    if (next === undefined) this.services.delete(keyText(key));
    else this.services.set(keyText(key), next);
    if (before === undefined || before.row.slots === 0) return;
    const { slotsOff: offset, slots } = before.row;
    if ([...this.services.values()].some(({ row }) => row.slotsOff === offset && row.slots > 0)) return;
    this.#freed.push({ offset, end: offset + slots, at: this.now });
  }

  #putSlots(offset: number, backendIds: Uint32Array | readonly number[]): void {
    for (const { key, row } of this.services.values()) {
      if (row.slotsOff < offset + backendIds.length && offset < row.slotsOff + row.slots)
        throw new Error(`slots of ${keyText(key)} are overwritten while in use`);
    }
    this.#freed = this.#freed.filter(({ at }) => at + 1000 > this.now);
    for (const range of this.#freed)
      if (range.offset < offset + backendIds.length && offset < range.end)
        throw new Error(`slots ${range.offset} to ${range.end} are used again too early`);
    for (const [slot, id] of backendIds.entries()) this.slots.set(offset + slot, id);
  }

  check(): void {
    for (const { key, row } of this.services.values()) {
      const text = keyText(key);
      const has = (scope: number) => this.services.has(keyText({ ...key, scope }));
      if (row.flags & ServiceFlag.twoScopes && !has(Scope.internal))
        throw new Error(`${text}: the internal row is missing`);
      if (row.flags & ServiceFlag.skip && row.flags & ServiceFlag.clusterIp && !has(Scope.original))
        throw new Error(`${text}: the original row is missing`);
      for (let slot = 0; slot < row.slots; slot++) {
        const id = this.slots.get(row.slotsOff + slot);
        if (id === undefined) throw new Error(`${text}: slot ${slot} of ${row.slotsOff} is missing`);
        if (!this.backends.has(id)) throw new Error(`${text}: backend ${id} is missing`);
      }
    }
  }

  rows(): ExistingRows {
    const slots = new Uint32Array(Math.max(0, ...this.slots.keys()) + 1);
    for (const [slot, id] of this.slots) slots[slot] = id;
    return {
      services: [...this.services.values()].map(({ key, row }) => ({ key, row })),
      slots,
      backends: [...this.backends].map(([id, row]) => ({ id, row })),
      ranges: [...this.ranges.values()],
      skips: [...this.skips.values()],
    };
  }

  /** What the maps mean, without ids and offsets. */
  meaning(): object {
    const used = new Set<number>();
    const services = [...this.services.values()].map(({ key, row }) => {
      used.add(row.serviceId);
      const list = Array.from({ length: row.slots }, (_, slot) => {
        const found = this.backends.get(this.slots.get(row.slotsOff + slot) ?? 0);
        return found && `${formatIp(found.addr)}:${found.port} ${found.state}${found.flags}`;
      });
      if (row.algorithm === 0) list.sort();
      const { serviceId, slotsOff: _, ...rest } = row;
      const own = (rows: Map<string, { serviceId: number }>) =>
        [...rows]
          .flatMap(([text, entry]) => (entry.serviceId === serviceId ? text.split(" ")[1] : []))
          .sort();
      return JSON.stringify([keyText(key), rest, list, own(this.ranges), own(this.skips)]);
    });
    const backends = [...this.backends.values()].map(({ serviceId: _, ...row }) => JSON.stringify(row));
    const loose = [...this.ranges.values(), ...this.skips.values(), ...this.backends.values()];
    return {
      services: services.sort(),
      backends: backends.sort(),
      loose: loose.filter(({ serviceId }) => !used.has(serviceId)).length,
    };
  }
}
