import { ipKey } from "@axoneme/base";
import type { BackendRow, ExistingRows, FrontendKey, LbChange, ServiceRow } from "../src/index.ts";

const text = (key: FrontendKey) => `${ipKey(key.addr)} ${key.port} ${key.proto} ${key.scope}`;

/** The four maps. After each single write, nothing a service row names may be missing. */
export class Maps {
  readonly services = new Map<string, { key: FrontendKey; row: ServiceRow }>();
  readonly slots = new Map<string, { slotsId: number; slot: number; backendId: number }>();
  readonly backends = new Map<number, BackendRow>();
  readonly frontends = new Map<number, FrontendKey>();
  readonly backendIdsEver = new Map<number, string>();

  apply(changes: readonly LbChange[]): void {
    for (const change of changes) {
      this.#write(change);
      this.check();
    }
  }

  #write(change: LbChange): void {
    if (change.op === "put-backend") {
      const { addr, port, proto } = change.row;
      const socket = text({ addr, port, proto, scope: 0 });
      const before = this.backendIdsEver.get(change.id);
      if (before !== undefined && before !== socket)
        throw new Error(`backend id ${change.id} was used again`);
      this.backendIdsEver.set(change.id, socket);
      this.backends.set(change.id, change.row);
    } else if (change.op === "put-slot") this.slots.set(`${change.slotsId}/${change.slot}`, change);
    else if (change.op === "put-frontend") this.frontends.set(change.id, change.key);
    else if (change.op === "put-service") this.services.set(text(change.key), change);
    else if (change.op === "delete-service") this.services.delete(text(change.key));
    else if (change.op === "delete-frontend") this.frontends.delete(change.id);
    else if (change.op === "delete-backend") this.backends.delete(change.id);
    else for (let slot = 0; slot < change.count; slot++) this.slots.delete(`${change.slotsId}/${slot}`);
  }

  check(): void {
    for (const { key, row } of this.services.values()) {
      if (!this.frontends.has(row.frontendId))
        throw new Error(`${text(key)}: frontend ${row.frontendId} is missing`);
      for (let slot = 0; slot < row.count; slot++) {
        const found = this.slots.get(`${row.slotsId}/${slot}`);
        if (found === undefined) throw new Error(`${text(key)}: slot ${slot} of ${row.slotsId} is missing`);
        if (!this.backends.has(found.backendId))
          throw new Error(`${text(key)}: backend ${found.backendId} is missing`);
      }
    }
  }

  rows(): ExistingRows {
    return {
      services: [...this.services.values()].map(({ key, row }) => ({ key, row })),
      slots: [...this.slots.values()].map(({ slotsId, slot, backendId }) => ({ slotsId, slot, backendId })),
      backends: [...this.backends].map(([id, row]) => ({ id, row })),
      frontends: [...this.frontends].map(([id, key]) => ({ id, key })),
    };
  }

  /** What the maps mean, without ids; what no service row leads to is in `loose`. */
  meaning(): object {
    const used = { slots: new Set<string>(), backends: new Set<number>(), frontends: new Set<number>() };
    const services = [...this.services.values()].map(({ key, row }) => {
      used.frontends.add(row.frontendId);
      const list = Array.from({ length: row.count }, (_, slot) => {
        used.slots.add(`${row.slotsId}/${slot}`);
        const id = this.slots.get(`${row.slotsId}/${slot}`)?.backendId ?? 0;
        used.backends.add(id);
        return JSON.stringify(this.backends.get(id));
      });
      return JSON.stringify([key, row.flags, row.affinityTimeoutS, list]);
    });
    return {
      services: services.sort(),
      backends: [...this.backends.values()].map((row) => JSON.stringify(row)).sort(),
      looseSlots: this.slots.size - used.slots.size,
      looseFrontends: this.frontends.size - used.frontends.size,
    };
  }
}
