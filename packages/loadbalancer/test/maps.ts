import { formatIp, formatPrefix, ipKey, type Prefix } from "@axoneme/base";
import {
  type BackendRow,
  type ExistingRows,
  type FrontendKey,
  type LbChange,
  Scope,
  ServiceFlag,
  type ServiceRow,
  type SlotBackend,
  type SlotSource,
  slotEntries,
  slotsTaken,
} from "../src/index.ts";

/** Text of a key for people. */
export const keyText = (key: FrontendKey) =>
  `${formatIp(key.addr)}:${key.port}/${key.proto}${["", "/i", "/o"][key.scope]}`;

type Slot = (SlotBackend & { readonly serviceId: number }) | Uint16Array;
type PutSlots = Extract<LbChange, { op: "put-slots" }>;

/** The service maps. After each single write, nothing a service row names may be missing. */
export class Maps {
  readonly services = new Map<string, { key: FrontendKey; row: ServiceRow }>();
  readonly slots = new Map<number, Slot>();
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
        this.#putSlots(change);
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
    const { slotsOff: offset } = before.row;
    if ([...this.services.values()].some(({ row }) => row.slotsOff === offset && row.slots > 0)) return;
    this.#freed.push({ offset, end: offset + slotsTaken(before.row), at: this.now });
  }

  #putSlots({ offset, serviceId, backends, table }: PutSlots): void {
    const slots: Slot[] = backends.map((backend) => ({ ...backend, serviceId }));
    for (let entry = 0; entry < (table?.length ?? 0); entry += slotEntries)
      slots.push(table?.slice(entry, entry + slotEntries) ?? new Uint16Array());
    const end = offset + slots.length;
    for (const { key, row } of this.services.values()) {
      if (row.slotsOff < end && offset < row.slotsOff + slotsTaken(row))
        throw new Error(`slots of ${keyText(key)} are overwritten while in use`);
    }
    this.#freed = this.#freed.filter(({ at }) => at + 1000 > this.now);
    for (const range of this.#freed)
      if (range.offset < end && offset < range.end)
        throw new Error(`slots ${range.offset} to ${range.end} are used again too early`);
    for (const [i, slot] of slots.entries()) this.slots.set(offset + i, slot);
  }

  /** What a client that gets this choice of a row is sent to: as the datapath looks it up. */
  #chosen({ slotsOff, count, algorithm }: ServiceRow, choice: number): Slot | undefined {
    if (algorithm === 0) return this.slots.get(slotsOff + choice);
    const entries = this.slots.get(slotsOff + count + Math.floor(choice / slotEntries));
    const index = entries instanceof Uint16Array ? entries[choice % slotEntries] : undefined;
    return index === undefined ? undefined : this.slots.get(slotsOff + index);
  }

  check(): void {
    for (const { key, row } of this.services.values()) {
      const text = keyText(key);
      const has = (scope: number) => this.services.has(keyText({ ...key, scope }));
      if (row.flags & ServiceFlag.twoScopes && !has(Scope.internal))
        throw new Error(`${text}: the internal row is missing`);
      if (row.flags & ServiceFlag.skip && row.flags & ServiceFlag.clusterIp && !has(Scope.original))
        throw new Error(`${text}: the original row is missing`);
      for (let choice = 0; choice < row.slots; choice++) this.#checkChoice(text, row, choice);
    }
  }

  /** A slot has to say what its backend's row says. */
  #checkChoice(text: string, row: ServiceRow, choice: number): void {
    const slot = this.#chosen(row, choice);
    if (slot === undefined || slot instanceof Uint16Array)
      throw new Error(`${text}: choice ${choice} of ${row.slotsOff} is missing`);
    const backend = this.backends.get(slot.id);
    if (backend === undefined) throw new Error(`${text}: backend ${slot.id} is missing`);
    const own = slot.serviceId === row.serviceId && backend.serviceId === row.serviceId;
    if (!own || formatIp(backend.addr) !== slot.address || backend.port !== slot.port)
      throw new Error(`${text}: the slot of backend ${slot.id} is another's`);
  }

  rows(): ExistingRows {
    const at = (offset: number) => this.slots.get(offset);
    const source: SlotSource = {
      ids: (offset, count) =>
        Uint32Array.from({ length: count }, (_, i) => {
          const slot = at(offset + i);
          return slot === undefined || slot instanceof Uint16Array ? 0 : slot.id;
        }),
      table: (offset, entries) =>
        Uint16Array.from({ length: entries }, (_, i) => {
          const slot = at(offset + Math.floor(i / slotEntries));
          return slot instanceof Uint16Array ? (slot[i % slotEntries] ?? 0) : 0;
        }),
    };
    return {
      services: [...this.services.values()].map(({ key, row }) => ({ key, row })),
      slots: source,
      slotsUsed: Math.max(-1, ...this.slots.keys()) + 1,
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
      const list = Array.from({ length: row.slots }, (_, choice) => {
        const slot = this.#chosen(row, choice);
        const found = slot instanceof Uint16Array ? undefined : this.backends.get(slot?.id ?? 0);
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
