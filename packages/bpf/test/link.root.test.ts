import { execFileSync } from "node:child_process";
import { mkdirSync, readlinkSync, rmdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  AttachType,
  attachTc,
  cgroupId,
  describeOpenFds,
  findCgroup2,
  Link,
  LinkType,
  type LoadedObject,
  queryTcx,
  TcFilter,
  unpin,
} from "../src/index.ts";
import { compile, privateBpffs, readU64, scratch, u32 } from "./fixtures.ts";
import { type TestNetwork, testNetwork } from "./network.ts";

const folder = scratch();
const bpffs = privateBpffs(folder.path);
let object: LoadedObject;
let network: TestNetwork;

beforeAll(() => {
  object = compile("hooks", folder.path).load();
  network = testNetwork("link");
});

afterAll(() => {
  network.remove();
  object.close();
  bpffs.remove();
  folder.remove();
  expect(describeOpenFds()).toEqual([]);
});

afterEach(() => {
  for (let row = 0; row < 8; row++) object.map("runs").put(u32(row), new Uint8Array(8));
});

function runs(row: number): number {
  return Number(readU64(object.map("runs").get(u32(row)) ?? new Uint8Array(8)));
}

const place = () => ({ ifindex: network.ifindex, netnsFd: network.netnsFd, direction: "ingress" as const });

describe("tcx", () => {
  it("attaches in another namespace and leaves this process in its own", async () => {
    const home = readlinkSync("/proc/thread-self/ns/net");
    const link = Link.attachTcx(object.program("first"), place());
    expect(link.info()).toMatchObject({ type: LinkType.TCX, attachType: AttachType.TCX_INGRESS });
    expect(queryTcx(place())).toEqual([{ progId: object.program("first").id, linkId: link.info().id }]);
    expect(await network.ping(5, 10)).toBe(5);
    expect(runs(0)).toBe(5);
    link.close();
    expect(queryTcx(place())).toEqual([]);
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
  });

  it("replaces the program under traffic: every packet meets the old one or the new one", async () => {
    const link = Link.attachTcx(object.program("first"), place());
    const [a, b] = [object.program("first"), object.program("second")];
    let sending = true;
    const answered = network.ping(400, 2).finally(() => {
      sending = false;
    });
    let replaced = 0;
    for (; sending; replaced++) {
      link.update(replaced % 2 === 0 ? b : a);
      await pause(1);
    }
    expect(await answered).toBe(400);
    expect(replaced).toBeGreaterThan(50);
    expect(runs(0) + runs(1)).toBe(400);
    expect(Math.min(runs(0), runs(1))).toBeGreaterThan(0);
    link.close();
  });

  it("updates only when the expected program is there", () => {
    const link = Link.attachTcx(object.program("first"), place());
    link.update(object.program("second"), object.program("first"));
    expect(() => link.update(object.program("first"), object.program("first"))).toThrow(
      /put first into the tcx/,
    );
    expect(link.info().progId).toBe(object.program("second").id);
    link.close();
  });

  it("stays in place by its pin and is found again by it", async () => {
    const path = join(bpffs.path, "links/tcx");
    const link = Link.attachTcx(object.program("blocks"), place());
    link.pin(path);
    link.close();
    expect(await network.ping(2, 10)).toBe(0);
    const again = Link.openPinned(path);
    expect(again.info().ifindex).toBe(network.ifindex);
    again.update(object.program("first"));
    expect(await network.ping(2, 10)).toBe(2);
    again.detach();
    again.close();
    expect(queryTcx(place())).toEqual([]);
    expect([unpin(path), unpin(path)]).toEqual([true, false]);
    expect(Link.tryOpenPinned(path)).toBeUndefined();
  });

  it("names the program and the interface in errors", () => {
    expect(() => Link.attachTcx(object.program("first"), { ...place(), ifindex: 9999 })).toThrow(
      /attach tcx ingress link of first on interface 9999: ENODEV/,
    );
    expect(() => Link.attachTcx(object.program("passes"), place())).toThrow(/of passes on interface/);
  });
});

describe("the filter where tcx is missing", () => {
  it("attaches, replaces in place, is found by a later process and goes away", async () => {
    expect(TcFilter.find(place())).toBeUndefined();
    const filter = TcFilter.attach(object.program("first"), place());
    expect(filter.programId()).toBe(object.program("first").id);
    expect(await network.ping(3, 10)).toBe(3);
    filter.update(object.program("blocks"));
    expect(await network.ping(2, 10)).toBe(0);
    expect(runs(0)).toBe(3);
    const later = TcFilter.find(place());
    later?.update(object.program("second"));
    expect(await network.ping(2, 10)).toBe(2);
    later?.detach();
    later?.detach();
    expect(filter.programId()).toBeUndefined();
  });

  it("is not chosen on this kernel", () => {
    const attachment = attachTc(object.program("first"), { ...place(), direction: "egress" });
    expect(attachment).toBeInstanceOf(Link);
    attachment.close();
  });
});

describe("XDP", () => {
  it("attaches in generic mode in another namespace", async () => {
    const link = Link.attachXdp(object.program("passes"), { ...place(), mode: "generic" });
    expect(link.info()).toMatchObject({ type: LinkType.XDP, ifindex: network.ifindex });
    expect(await network.ping(3, 10)).toBe(3);
    expect(runs(4)).toBeGreaterThanOrEqual(3);
    link.detach();
    link.close();
  });
});

/** Connects from inside a cgroup; resolves to the error's code, or "connected". */
function connectFrom(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("connect", () => {
      socket.destroy();
      resolve("connected");
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

describe("cgroup", () => {
  const path = join(findCgroup2(), `axt-bpf-${process.pid}`);
  const home = join(findCgroup2(), "cgroup.procs");

  beforeAll(() => {
    mkdirSync(path);
    writeFileSync(join(path, "cgroup.procs"), String(process.pid));
  });

  afterAll(() => {
    writeFileSync(home, String(process.pid));
    rmdirSync(path);
  });

  it("decides connects of the processes below, several links together", async () => {
    const refuses = Link.attachCgroup(object.program("refuses"), path, AttachType.CGROUP_INET4_CONNECT);
    const allows = Link.attachCgroup(object.program("allows"), path, AttachType.CGROUP_INET4_CONNECT);
    expect(refuses.info()).toMatchObject({ type: LinkType.CGROUP, cgroupId: cgroupId(path) });
    expect(await connectFrom(9)).toBe("EPERM");
    expect(await connectFrom(1)).toBe("ECONNREFUSED");
    expect([runs(2), runs(3)]).toEqual([2, 2]);
    refuses.update(object.program("allows"));
    expect(await connectFrom(9)).toBe("ECONNREFUSED");
    refuses.close();
    allows.close();
    expect(await connectFrom(9)).toBe("ECONNREFUSED");
    expect(runs(2)).toBe(2);
  });

  it("names a cgroup that is not there", () => {
    expect(() =>
      Link.attachCgroup(object.program("allows"), `${path}-none`, AttachType.CGROUP_INET4_CONNECT),
    ).toThrow(/axt-bpf-\d+-none/);
  });
});

describe("tracing", () => {
  it("attaches to a raw tracepoint", () => {
    const link = Link.attachRawTracepoint(object.program("enters"), "sys_enter");
    execFileSync("true");
    expect(runs(5)).toBeGreaterThan(0);
    link.close();
    expect(() => Link.attachRawTracepoint(object.program("enters"), "no_such")).toThrow(
      /raw tracepoint no_such/,
    );
  });

  it("attaches to a tracepoint", () => {
    const link = Link.attachTracepoint(object.program("traces"), "syscalls:sys_enter_getpid");
    expect(link.info().type).toBe(LinkType.PERF_EVENT);
    execFileSync("sh", ["-c", ":"]); // a shell asks for its own pid first
    expect(runs(6)).toBeGreaterThan(0);
    link.close();
    expect(() => Link.attachTracepoint(object.program("traces"), "syscalls:none")).toThrow(
      /no tracepoint syscalls:none/,
    );
  });
});

describe("an interface that goes away", () => {
  it("leaves a pinned link that says so", () => {
    const gone = testNetwork("gone");
    const path = join(bpffs.path, "links/gone");
    const options = { ifindex: gone.ifindex, netnsFd: gone.netnsFd, direction: "egress" as const };
    const link = Link.attachTcx(object.program("first"), options);
    link.pin(path);
    gone.removeInterface();
    expect(link.info().ifindex).toBe(0);
    expect(() => link.update(object.program("second"))).toThrow(/ENOLINK/);
    link.close();
    unpin(path);
    gone.remove();
  });
});
