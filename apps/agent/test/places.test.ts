/** Who is where, against a list of all addresses: whatever the order of changes, the engine knows exactly the pairs there are. */
import { formatIp, Lpm, type Prefix, parseIp, parsePrefix } from "@axoneme/base";
import { Ipcache } from "@axoneme/identity";
import { isMatchedByCidr } from "@axoneme/policy";
import fc from "fast-check";
import { expect, test } from "vitest";
import { AddressPlaces } from "../src/state/places.ts";

const texts = ["0.0.0.0/0", "10.0.0.0/28", "10.0.0.0/30", "10.0.0.4/30", "10.0.0.5/32", "10.0.0.2/32"];
const addresses = Array.from({ length: 18 }, (_, i) => parseIp(`10.0.0.${i}`));
const identities = [2, 6, 300, 301, 0x0200_0001];

const step = fc.oneof(
  fc.record({
    of: fc.constant("entry"),
    prefix: fc.nat(5),
    value: fc.option(fc.constantFrom(...identities)),
  }),
  fc.record({ of: fc.constant("number"), prefix: fc.nat(5), value: fc.option(fc.nat(3)) }),
);

/** The maps in the kernel. */
class Maps {
  readonly entries = new Lpm<number>();
  readonly numbers = new Lpm<number>();

  pairs(match: "address" | "nodes" | "identity"): Set<string> {
    const pairs = addresses.flatMap((ip) => {
      const [identity, number] = [this.entries.lookup(ip)?.value, this.numbers.lookup(ip)?.value];
      if (identity === undefined || number === undefined || !isMatchedByCidr(match, identity)) return [];
      return [`${identity} ${number}`];
    });
    return new Set(pairs);
  }
}

test.each(["address", "nodes", "identity"] as const)(
  "every pair is told before it is so and taken back after, in the mode %s",
  (match) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const maps = new Maps();
        const ipcache = new Ipcache();
        const known = new Set<string>();
        const engine = {
          addPlacement: (identity: number, cidr: number) => void known.add(`${identity} ${cidr}`),
          deletePlacement: (identity: number, cidr: number) => void known.delete(`${identity} ${cidr}`),
        };
        const places = new AddressPlaces({ engine, ipcache, match, commitRows: () => undefined });
        const write = (map: Lpm<number>, prefix: Prefix, value: number | undefined): void => {
          const before = maps.pairs(match);
          if (value === undefined) map.delete(prefix);
          else map.set(prefix, value);
          for (const pair of [...before, ...maps.pairs(match)]) expect(known, pair).toContain(pair);
          places.settle();
        };
        for (const { of, prefix: at, value } of steps) {
          const prefix = parsePrefix(texts[at] ?? "");
          if (of === "entry") {
            if (value === null) ipcache.delete(prefix, "local", "t");
            else ipcache.upsert(prefix, "local", "t", { identity: value });
            places.beforeRows([{ prefix, identity: value ?? undefined }]);
            write(maps.entries, prefix, value ?? undefined);
          } else {
            const number = value === null ? undefined : 1000 + at * 10 + value;
            places.beforePrefix(prefix, number);
            write(maps.numbers, prefix, number);
          }
          // A prefix all of whose addresses are in longer ones is told all the same.
          for (const pair of maps.pairs(match)) expect(known).toContain(pair);
          for (const ip of addresses) {
            const identity = maps.entries.lookup(ip)?.value ?? 0;
            const number = isMatchedByCidr(match, identity) ? (maps.numbers.lookup(ip)?.value ?? 0) : 0;
            expect(places.cidrOf(ip, identity), formatIp(ip)).toBe(number);
          }
        }
        for (const at of texts.keys()) {
          const prefix = parsePrefix(texts[at] ?? "");
          ipcache.delete(prefix, "local", "t");
          places.beforeRows([{ prefix, identity: undefined }]);
          places.settle();
        }
        expect([...known]).toEqual([]);
      }),
      { numRuns: 150 },
    );
  },
  60_000,
);
