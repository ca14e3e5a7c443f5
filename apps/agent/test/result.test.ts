import { parseIp } from "@axoneme/base";
import type { CniRequest, CniResult, EndpointRecord } from "@axoneme/endpoint";
import { expect, test } from "vitest";
import { adopt, hostDevicesOf, resultOf } from "../src/endpoint/result.ts";

const request: CniRequest = {
  command: "ADD",
  cniVersion: "1.1.0",
  networkName: "axoneme",
  containerId: "abc",
  netns: "/run/netns/x",
  ifname: "eth0",
  pod: { namespace: "shop", name: "web", uid: "u" },
  prevResult: undefined,
  validAttachments: undefined,
  bandwidth: undefined,
};

const record: EndpointRecord = {
  version: 1,
  state: "ready",
  id: 7,
  containerId: "abc",
  ifname: "eth0",
  netns: "/run/netns/x",
  pod: request.pod,
  ips: ["10.0.0.7", "fd10::7"],
  hostIfname: "lxc12345678",
  hostIfindex: 9,
  mac: "0a:00:00:00:00:01",
  hostMac: "0e:00:00:00:00:02",
  identity: 5000,
  chained: false,
  createdAt: 1,
};

const gateways = { v4: parseIp("10.0.0.1"), v6: parseIp("fd10::1") };

/** As another plugin answers: its bridge, the host's end and the pod's end. */
const earlier: CniResult = {
  cniVersion: "1.0.0",
  interfaces: [
    { name: "cni0", mac: "02:00:00:00:00:03" },
    { name: "veth1", mac: "02:00:00:00:00:04" },
    { name: "eth0", mac: "02:00:00:00:00:05", sandbox: "/run/netns/x" },
  ],
  ips: [{ address: "10.9.0.5/24", gateway: "10.9.0.1", interface: 2 }],
};

test("the result names both interfaces, host prefixes, and one default route a family", () => {
  expect(resultOf(request, record, gateways)).toEqual({
    cniVersion: "1.1.0",
    interfaces: [
      { name: "lxc12345678", mac: "0e:00:00:00:00:02" },
      { name: "eth0", mac: "0a:00:00:00:00:01", sandbox: "/run/netns/x" },
    ],
    ips: [
      { address: "10.0.0.7/32", interface: 1, gateway: "10.0.0.1" },
      { address: "fd10::7/128", interface: 1, gateway: "fd10::1" },
    ],
    routes: [
      { dst: "0.0.0.0/0", gw: "10.0.0.1" },
      { dst: "::/0", gw: "fd10::1" },
    ],
  });
});

test("the result has the version that was asked for", () => {
  expect(resultOf({ ...request, cniVersion: "1.0.0" }, record, gateways).cniVersion).toBe("1.0.0");
});

test("before 1.0.0 every address says of which family it is", () => {
  for (const cniVersion of ["0.3.0", "0.3.1", "0.4.0"]) {
    const { ips } = resultOf({ ...request, cniVersion }, record, gateways);
    expect(ips?.map(({ version }) => version)).toEqual(["4", "6"]);
  }
  expect(resultOf(request, record, gateways).ips?.some((ip) => "version" in ip)).toBe(false);
});

test("a pod of one family gets one address and one route", () => {
  const result = resultOf(request, { ...record, ips: ["fd10::7"] }, gateways);
  expect(result.ips?.map(({ address }) => address)).toEqual(["fd10::7/128"]);
  expect(result.routes).toEqual([{ dst: "::/0", gw: "fd10::1" }]);
});

test("behind another plugin its interface, addresses and MACs are taken over", () => {
  const adopted = adopt({ ...request, prevResult: earlier }, 8, { name: "veth1", index: 12 });
  expect(adopted).toMatchObject({
    chained: true,
    state: "creating",
    id: 8,
    hostIfname: "veth1",
    hostIfindex: 12,
    ips: ["10.9.0.5"],
    mac: "02:00:00:00:00:05",
    hostMac: "02:00:00:00:00:04",
  });
});

test("the host's devices are those without a sandbox", () => {
  expect(hostDevicesOf(earlier)).toEqual(["cni0", "veth1"]);
});

test("a result without a veth device or an address cannot be isolated, and is refused", () => {
  const chained = { ...request, prevResult: earlier };
  expect(() => adopt(chained, 8, undefined)).toThrow(expect.objectContaining({ cniCode: 7 }));
  const { ips: _none, ...bare } = earlier;
  expect(() => adopt({ ...chained, prevResult: bare }, 8, { name: "veth1", index: 12 })).toThrow(
    expect.objectContaining({ cniCode: 7 }),
  );
});
