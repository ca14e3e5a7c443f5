import { parsePrefix } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cidrLabels,
  defaultLabelFilter,
  identityKey,
  identityName,
  isLocalIdentity,
  labelFilter,
  labelLines,
  parseLabelLine,
  podLabels,
  reserved,
  reservedIdentities,
  reservedLabels,
  splitKey,
} from "../src/index.ts";

describe("labels", () => {
  it("split at the first colon after a known source only", () => {
    expect(splitKey("k8s:app")).toEqual({ source: "k8s", key: "app" });
    expect(splitKey("app")).toEqual({ source: "any", key: "app" });
    expect(splitKey("foo:bar", "unspec")).toEqual({ source: "unspec", key: "foo:bar" });
    expect(splitKey("cidr:10.0.0.0/8").source).toBe("cidr");
  });

  it("read back the lines they print", () => {
    const labels = { "k8s:app": "web=1", "reserved:host": "" };
    expect(labelLines(labels)).toEqual(["k8s:app=web=1", "reserved:host"]);
    expect(Object.fromEntries(labelLines(labels).map(parseLabelLine))).toEqual(labels);
    expect(() => parseLabelLine("k8s:=x")).toThrowError(expect.objectContaining({ code: "label.invalid" }));
  });

  it("have one key text whatever their order, in order of key", () => {
    expect(identityKey({ "k8s:b": "2", "cni:a": "1" })).toBe("cni:a=1;k8s:b=2;");
    const label = fc.tuple(
      fc.constantFrom("k8s:a", "k8s:b", "gen:a", "reserved:x"),
      fc.constantFrom("", "1"),
    );
    fc.assert(
      fc.property(fc.uniqueArray(label, { selector: ([key]) => key }), (entries) => {
        const forward = identityKey(Object.fromEntries(entries));
        expect(identityKey(Object.fromEntries([...entries].reverse()))).toBe(forward);
      }),
    );
  });
});

describe("the label filter", () => {
  it.each<[string, boolean]>([
    ["k8s:app", true],
    ["k8s:app.kubernetes.io/name", true],
    ["k8s:io.kubernetes.pod.namespace", true],
    ["k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", true],
    ["k8s:io.cilium.k8s.policy.cluster", true],
    ["k8s:io.kubernetes.other", false],
    ["k8s:kubernetes.io/hostname", false],
    ["k8s:pod-template-hash", false],
    ["k8s:statefulset.kubernetes.io/pod-name", false],
    ["k8s:failure-domain.beta.kubernetes.io/zone", false],
    ["k8s:topology.kubernetes.io/zone", false],
    ["k8s:controller-revision-hash", false],
    ["reserved:host", true],
    ["k8s:my-pod-template-hash", true],
  ])("by default says of %s: %s", (key, want) => expect(defaultLabelFilter.includes(key)).toBe(want));

  it("takes only what is included once something is, and the mandatory ones", () => {
    const filter = labelFilter("k8s:team !k8s:team-secret");
    expect(
      filter.apply({ "k8s:team": "a", "k8s:team-secret": "b", "k8s:app": "c", "reserved:init": "" }),
    ).toEqual({
      "k8s:team": "a",
      "reserved:init": "",
    });
    expect(filter.includes("gen:team")).toBe(false);
    expect(filter.includes("k8s:io.kubernetes.pod.namespace")).toBe(true);
  });

  it("lets the longer match win", () => {
    expect(labelFilter("!app app-public").includes("k8s:app-public")).toBe(true);
    expect(() => labelFilter("(")).toThrowError(expect.objectContaining({ code: "label.filter" }));
  });
});

describe("podLabels", () => {
  it("joins the pod's, its namespace's, cluster and service account", () => {
    const pod = {
      metadata: { namespace: "shop", labels: { app: "web", "pod-template-hash": "x" } },
      spec: { serviceAccountName: "robot" },
    };
    expect(podLabels(pod, { metadata: { name: "shop", labels: { team: "a" } } }, "c1")).toEqual({
      "k8s:app": "web",
      "k8s:io.cilium.k8s.namespace.labels.team": "a",
      "k8s:io.kubernetes.pod.namespace": "shop",
      "k8s:io.cilium.k8s.policy.cluster": "c1",
      "k8s:io.cilium.k8s.policy.serviceaccount": "robot",
    });
  });

  it("does not let a pod claim another namespace, cluster, account or namespace label", () => {
    const labels = {
      "io.kubernetes.pod.namespace": "admin",
      "io.cilium.k8s.policy.cluster": "other",
      "io.cilium.k8s.policy.serviceaccount": "root",
      "io.cilium.k8s.namespace.labels.team": "admins",
    };
    expect(podLabels({ metadata: { namespace: "shop", labels } }, undefined, "c1")).toEqual({
      "k8s:io.kubernetes.pod.namespace": "shop",
      "k8s:io.cilium.k8s.policy.cluster": "c1",
    });
  });
});

describe("reserved identities", () => {
  it("have the field's numbers and names", () => {
    expect(reserved).toMatchObject({
      host: 1,
      world: 2,
      health: 4,
      init: 5,
      remoteNode: 6,
      kubeApiserver: 7,
    });
    expect(reservedLabels(7)).toEqual({ "reserved:kube-apiserver": "", "reserved:remote-node": "" });
    expect(reservedLabels(11)).toBeUndefined();
    expect(identityName(9)).toBe("reserved:world-ipv4");
    expect(identityName(300)).toBe("300");
    expect(reservedIdentities().map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect([isLocalIdentity(0x0100_0001), isLocalIdentity(0x0200_0001), isLocalIdentity(256)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it.each<[string, boolean, Record<string, string>]>([
    ["10.0.0.0/8", true, { "cidr:10.0.0.0/8": "", "reserved:world-ipv4": "" }],
    ["10.0.0.0/8", false, { "cidr:10.0.0.0/8": "", "reserved:world": "" }],
    ["2001:db8::/32", true, { "cidr:2001-db8--0/32": "", "reserved:world-ipv6": "" }],
    ["::1/128", true, { "cidr:0--1/128": "", "reserved:world-ipv6": "" }],
    ["0.0.0.0/0", true, { "reserved:world-ipv4": "" }],
    ["::/0", true, { "reserved:world-ipv6": "" }],
  ])("label %s (dual stack %s)", (text, dual, want) =>
    expect(cidrLabels(parsePrefix(text), dual)).toEqual(want),
  );
});
