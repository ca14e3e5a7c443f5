import { hostPrefix, ipEqual, parseIp } from "@axoneme/base";
import { Ipcache, reserved } from "@axoneme/identity";
import { expect, it } from "vitest";
import { ApiServerAddresses } from "../src/state/apiserver.ts";
import { plainClasses } from "./plain-classes.ts";

const own = parseIp("192.0.2.1");
const slice = (...addresses: string[]) => ({
  metadata: {
    namespace: "default",
    name: "kubernetes",
    labels: { "kubernetes.io/service-name": "kubernetes" },
  },
  endpoints: [{ addresses }],
});

it("API servers elsewhere are the entity; one of this node makes the host one, as long as it is there", () => {
  const ipcache = new Ipcache();
  const servers = new ApiServerAddresses(ipcache, (ip) => ipEqual(ip, own), plainClasses);
  const told: boolean[] = [];
  servers.onOwn = (here) => told.push(here);
  const handlers = servers.handlers();
  const identity = (text: string) => ipcache.get(hostPrefix(parseIp(text)))?.identity;
  handlers.onAdd?.(slice("192.0.2.2"));
  expect([identity("192.0.2.2"), told]).toEqual([reserved.kubeApiserver, []]);
  handlers.onUpdate?.(slice("192.0.2.2", "192.0.2.1"), slice());
  handlers.onUpdate?.(slice("192.0.2.1"), slice());
  expect([identity("192.0.2.1"), identity("192.0.2.2"), told]).toEqual([undefined, undefined, [true]]);
  handlers.onDelete?.(slice("192.0.2.1"));
  expect(told).toEqual([true, false]);
});
