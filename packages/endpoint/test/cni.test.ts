import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CniError,
  decodeRequest,
  encodeResponse,
  maxRequestBytes,
  parseRequest,
  RequestReader,
} from "../src/index.ts";

const conf = (extra: object = {}) =>
  JSON.stringify({ cniVersion: "1.1.0", name: "axoneme", type: "axoneme-cni", ...extra });
const env = (extra: Record<string, string> = {}) =>
  new Map(
    Object.entries({
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "abc123",
      CNI_NETNS: "/run/netns/x",
      CNI_IFNAME: "eth0",
      CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u1",
      ...extra,
    }),
  );

function codeOf(run: () => unknown): number | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof CniError) return error.cniCode;
    throw error;
  }
  return undefined;
}

describe("parseRequest", () => {
  it("reads the pod out of CNI_ARGS", () => {
    const request = parseRequest(env(), conf());
    expect(request).toMatchObject({
      command: "ADD",
      containerId: "abc123",
      ifname: "eth0",
      networkName: "axoneme",
    });
    expect(request.pod).toEqual({ namespace: "shop", name: "web-0", uid: "u1" });
  });

  const rows: [string, number, () => unknown][] = [
    ["an unknown command is code 4", 4, () => parseRequest(env({ CNI_COMMAND: "MULTIPLY" }), conf())],
    ["a missing container id is code 4", 4, () => parseRequest(env({ CNI_CONTAINERID: "" }), conf())],
    [
      "a container id with a slash is code 4",
      4,
      () => parseRequest(env({ CNI_CONTAINERID: "../x" }), conf()),
    ],
    ["ADD without a namespace is code 4", 4, () => parseRequest(env({ CNI_NETNS: "" }), conf())],
    ["a relative namespace path is code 4", 4, () => parseRequest(env({ CNI_NETNS: "netns/x" }), conf())],
    [
      "an interface name of 16 characters is code 4",
      4,
      () => parseRequest(env({ CNI_IFNAME: "e".repeat(16) }), conf()),
    ],
    ["stdin that is not JSON is code 6", 6, () => parseRequest(env(), "{")],
    ["stdin that is a list is code 7", 7, () => parseRequest(env(), "[]")],
    ["an unknown version is code 1", 1, () => parseRequest(env(), conf({ cniVersion: "9.9.9" }))],
    [
      "STATUS under 1.0.0 is code 1",
      1,
      () => parseRequest(env({ CNI_COMMAND: "STATUS" }), conf({ cniVersion: "1.0.0" })),
    ],
    [
      "CHECK under 0.3.1 is code 1",
      1,
      () => parseRequest(env({ CNI_COMMAND: "CHECK" }), conf({ cniVersion: "0.3.1" })),
    ],
    [
      "a runtimeConfig that is no object is code 7",
      7,
      () => parseRequest(env(), conf({ runtimeConfig: [] })),
    ],
    [
      "port mappings that are no list are code 7",
      7,
      () => parseRequest(env(), conf({ runtimeConfig: { portMappings: {} } })),
    ],
    [
      "a bandwidth that is no object is code 7",
      7,
      () => parseRequest(env(), conf({ runtimeConfig: { bandwidth: 5 } })),
    ],
    ["GC without its list is code 7", 7, () => parseRequest(env({ CNI_COMMAND: "GC" }), conf())],
    ["a prevResult that is no object is code 7", 7, () => parseRequest(env(), conf({ prevResult: "x" }))],
  ];
  it.each(rows)("%s", (_sentence, code, run) => expect(codeOf(run)).toBe(code));

  it("takes every version from 0.3.0 on", () => {
    for (const cniVersion of ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
      expect(parseRequest(env(), conf({ cniVersion })).cniVersion).toBe(cniVersion);
  });

  it("takes port mappings, and reads the bandwidth", () => {
    const runtimeConfig = {
      portMappings: [{ hostPort: 80, containerPort: 8080, protocol: "tcp" }],
      bandwidth: { egressRate: 1e6, egressBurst: 4e9, ingressRate: 0 },
    };
    expect(parseRequest(env(), conf({ runtimeConfig })).bandwidth).toEqual({
      egress: 1e6,
      ingress: undefined,
    });
    expect(parseRequest(env(), conf()).bandwidth).toBeUndefined();
  });

  it("DEL works without a namespace: it may be gone", () => {
    expect(parseRequest(env({ CNI_COMMAND: "DEL", CNI_NETNS: "" }), conf()).netns).toBe("");
  });

  it("throws nothing but CniError, whatever comes", () => {
    const anyEnv = fc.array(
      fc.tuple(
        fc.constantFrom("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"),
        fc.string(),
      ),
    );
    fc.assert(
      fc.property(anyEnv, fc.oneof(fc.string(), fc.json()), (pairs, stdin) => {
        codeOf(() => parseRequest(new Map(pairs), stdin));
      }),
    );
  });
});

function frame(body: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(body.length);
  return Buffer.concat([head, body]);
}

describe("wire", () => {
  it("gives the request back however it is cut", () => {
    const body = Buffer.from("CNI_COMMAND=ADD\0CNI_ARGS=a=b\0\0{}");
    const whole = frame(body);
    for (let cut = 1; cut < whole.length; cut++) {
      const reader = new RequestReader();
      expect(reader.push(whole.subarray(0, cut))).toBeUndefined();
      const { env, stdin } = decodeRequest(reader.push(whole.subarray(cut)) ?? Buffer.alloc(0));
      expect([env.get("CNI_COMMAND"), env.get("CNI_ARGS"), stdin]).toEqual(["ADD", "a=b", "{}"]);
    }
  });

  it("refuses more than the bound and more than announced", () => {
    const huge = Buffer.alloc(4);
    huge.writeUInt32LE(maxRequestBytes + 1);
    expect(codeOf(() => new RequestReader().push(huge))).toBe(6);
    expect(
      codeOf(() => new RequestReader().push(Buffer.concat([frame(Buffer.from("x")), Buffer.from("y")]))),
    ).toBe(6);
  });

  it("never reads past an environment without an end", () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => void codeOf(() => decodeRequest(Buffer.from(bytes)))));
  });

  it("frames the answer", () => {
    expect([...encodeResponse(1, "é")]).toEqual([1, 0, 0, 0, 2, 0, 0, 0, 0xc3, 0xa9]);
  });
});
