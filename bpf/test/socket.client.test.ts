import { join } from "node:path";
import { EpFlags, SvcAlgorithm, SvcFlags } from "@axoneme/abi";
import { hostPrefix, parseIp, waitFor } from "@axoneme/base";
import { Netlink, Netns, netnsCookie } from "@axoneme/netlink";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Datapath } from "./datapath.ts";
import { Proto } from "./packet.ts";
import {
  affinities,
  type FamilyCase,
  families,
  putPod,
  putRange,
  putSkip,
  ServedCgroup,
  Sockets,
  startServer,
} from "./sockets.ts";

/** Who a socket's client is taken for, and what that means: one namespace plays the node and a pod of it in turn. */
const netns = join("/run", `axdp-sockc-${process.pid}`);
const ports = { a: 8081, b: 8082 };

let dp: Datapath;
let cgroup: ServedCgroup;
let sockets: Sockets;
let cookie: bigint;
const stops: (() => void)[] = [];

beforeAll(async () => {
  await Netns.create(netns);
  const netlink = Netlink.open({ netnsPath: netns });
  for (const { other } of families.slice(0, 2))
    await netlink.addrAdd({ index: 1, prefix: hostPrefix(parseIp(other)), noDad: true });
  netlink.close();
  cookie = netnsCookie(netns);
  dp = new Datapath("socket");
  cgroup = new ServedCgroup("axdp-sockc", dp);
  for (const [name, port] of Object.entries(ports)) stops.push(startServer(netns, port, name));
  sockets = new Sockets(netns, cgroup.path);
  for (const port of Object.values(ports)) {
    const answers = async () => (await (await sockets.open("tcp4")).connect("127.0.0.1", port)) === "ok";
    await waitFor(answers, { timeoutMs: 5000, everyMs: 20, what: "the servers" });
  }
});
afterAll(async () => {
  sockets.close();
  for (const stop of stops) stop();
  await cgroup.close();
  dp.close();
  await Netns.delete(netns);
});
beforeEach(() => dp.reset());

const backend = (f: FamilyCase, name: keyof typeof ports) => ({ ip: f.backend, port: ports[name] });

/** Connects over TCP; who answers, or the errno. */
async function dial(f: FamilyCase, ip: string, port: number, source?: string): Promise<string> {
  const socket = await sockets.open(`tcp${f.kind}`);
  try {
    if (source) await socket.must("bind", source, 0);
    const connected = await socket.connect(ip, port);
    if (connected !== "ok") return connected;
    const answer = await socket.ask();
    return "by" in answer ? answer.by : answer.failed;
  } finally {
    await socket.close();
  }
}

async function datagram(f: FamilyCase, ip: string, port: number): Promise<string> {
  const socket = await sockets.open(`udp${f.kind}`);
  try {
    const answer = await socket.ask(ip, port);
    return "by" in answer ? answer.by : answer.failed;
  } finally {
    await socket.close();
  }
}

const asPod = (f: FamilyCase) => putPod(dp, cookie, f.pod);

describe.each(families)("the client of a socket, $name", (f) => {
  const affine = { flags: SvcFlags.CLUSTERIP | SvcFlags.AFFINITY, affinityTimeoutS: 60 };

  test.each([
    ["of a pod is the pod's address", true, undefined, f.pod],
    ["of the node is the node's address", false, undefined, f.node],
    ["that is bound is the bound address", true, f.bind, f.other],
    ["bound on the node likewise", false, f.bind, f.other],
  ] as const)("%s", async (_, isPod, source, client) => {
    if (isPod) asPod(f);
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, [backend(f, "a"), backend(f, "b")], affine);
    expect(await dial(f, f.dialled, 80, source)).toMatch(/^[ab]$/);
    expect(affinities(dp).map(([address]) => address)).toEqual([client]);
  });

  test("a pod that has no address of the family has none", async () => {
    putPod(dp, cookie, f.service.includes(":") ? "10.201.0.7" : "fd10:1::7");
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, [backend(f, "a")], affine);
    expect(await dial(f, f.dialled, 80)).toBe("a");
    expect(affinities(dp).map(([address]) => address)).toEqual(["::"]);
  });

  test("outside of the source ranges is refused, inside and on the node it passes", async () => {
    const flags = SvcFlags.LOADBALANCER | SvcFlags.SOURCE_RANGES;
    for (const proto of [Proto.TCP, Proto.UDP])
      dp.service(5, { ip: f.service, port: 80, proto }, [backend(f, "a")], { flags });
    expect(await dial(f, f.dialled, 80)).toBe("a");
    asPod(f);
    expect(await dial(f, f.dialled, 80)).toBe("EPERM");
    expect(await datagram(f, f.dialled, 80)).toBe("EPERM");
    putRange(dp, 5, `${f.other}/${f.other.includes(":") ? 128 : 32}`);
    expect(await dial(f, f.dialled, 80)).toBe("EPERM");
    expect(await dial(f, f.dialled, 80, f.bind)).toBe("a");
    putRange(dp, 5, f.pod.includes(":") ? "fd10:1::/64" : "10.201.0.0/16");
    expect(await dial(f, f.dialled, 80)).toBe("a");
    expect(await datagram(f, f.dialled, 80)).toBe("a");
  });

  test("a NodePort answers on the node's addresses, and on its loopback for the node itself", async () => {
    for (const proto of [Proto.TCP, Proto.UDP])
      dp.service(5, { ip: f.wildcard, port: 30080, proto }, [backend(f, "a")], { flags: SvcFlags.NODEPORT });
    expect(await dial(f, f.loopback, 30080)).toBe("a");
    expect(await datagram(f, f.loopback, 30080)).toBe("a");
    expect(await dial(f, f.bind, 30080)).toBe("ECONNREFUSED");
    dp.endpoint(f.other, { identity: 1, flags: EpFlags.HOST | EpFlags.NODEPORT });
    expect(await dial(f, f.bind, 30080)).toBe("a");
    expect(await datagram(f, f.bind, 30080)).toBe("a");
    asPod(f);
    expect(await dial(f, f.bind, 30080)).toBe("a");
    expect(await dial(f, f.loopback, 30080)).toBe("ECONNREFUSED");
    expect(await datagram(f, f.loopback, 30080)).toBe("ETIMEDOUT");
  });

  test("an address of the node that serves no NodePorts is left alone", async () => {
    dp.service(5, { ip: f.wildcard, port: 30080, proto: Proto.TCP }, [backend(f, "a")]);
    dp.endpoint(f.other, { identity: 1, flags: EpFlags.HOST });
    expect(await dial(f, f.bind, 30080)).toBe("ECONNREFUSED");
  });

  test("a host port of 127.0.0.1 is the node's alone, not what a pod means by it", async () => {
    const frontend = { ip: f.backend, port: 9090, proto: Proto.TCP };
    dp.service(5, frontend, [backend(f, "b")], { flags: SvcFlags.HOSTPORT | SvcFlags.LOOPBACK_ONLY });
    expect(await dial(f, f.loopback, 9090)).toBe("b");
    asPod(f);
    expect(await dial(f, f.loopback, 9090)).toBe("ECONNREFUSED");
  });

  test("a Service with a list for outside and one for inside gives sockets the inner one", async () => {
    const frontend = { ip: f.service, port: 80, proto: Proto.TCP };
    dp.service(5, frontend, [backend(f, "a")], { flags: SvcFlags.LOADBALANCER | SvcFlags.TWO_SCOPES });
    dp.service(6, { ...frontend, scope: 1 }, [backend(f, "b")]);
    expect(await dial(f, f.dialled, 80)).toBe("b");
  });

  test("a local redirect leaves the clients alone that it names", async () => {
    const frontend = { ip: f.service, port: 80, proto: Proto.TCP };
    asPod(f);
    dp.service(5, frontend, [backend(f, "a")], { flags: SvcFlags.LOCAL_REDIRECT | SvcFlags.SKIP });
    expect(await dial(f, f.dialled, 80)).toBe("a");
    putSkip(dp, 5, f.pod);
    dp.service(6, { ...frontend, scope: 2 }, [backend(f, "b")]);
    expect(await dial(f, f.dialled, 80)).toBe("b");
  });

  test("Maglev by address alone gives a client one backend, whatever its ports", async () => {
    const [a, b] = [backend(f, "a"), backend(f, "b")];
    const service = { ...affine, algorithm: SvcAlgorithm.MAGLEV };
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, [a, b, a, b, a, b, a], service);
    const seen = new Set<string>();
    for (let i = 0; i < 8; i++) {
      dp.map("ax_affinity").clear();
      seen.add(await dial(f, f.dialled, 80));
    }
    expect(seen.size).toBe(1);
    expect([...seen][0]).toMatch(/^[ab]$/);
  });

  test("what is remembered of a TCP connection is with its socket alone", async () => {
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, [backend(f, "a")]);
    expect(await dial(f, f.dialled, 80)).toBe("a");
    for (const map of ["ax_sock_rev", "ax_sock_fwd", "ax_affinity"]) expect([...dp.map(map)]).toEqual([]);
  });
});

describe("an IPv6 socket bound to all addresses", () => {
  afterEach(() => dp.reset());
  test.each(["::", "::ffff:0.0.0.0"])("(%s) has no source of its own yet", async (any) => {
    const f = families[2];
    asPod(f);
    const flags = SvcFlags.CLUSTERIP | SvcFlags.AFFINITY;
    dp.service(5, { ip: f.service, port: 80, proto: Proto.TCP }, [backend(f, "a")], {
      flags,
      affinityTimeoutS: 60,
    });
    expect(await dial(f, f.dialled, 80, any)).toBe("a");
    expect(affinities(dp).map(([address]) => address)).toEqual([f.pod]);
  });
});
