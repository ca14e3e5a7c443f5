import { packSlice, unpackSlice } from "@axoneme/kube";
import { expect, test } from "vitest";

const member = (name: string, labels: string[] | undefined) => ({ core: { name, id: 300 }, labels });

test("label lines are in a slice once, and come back as they were", () => {
  const members = [
    member("a", ["k8s:app=web", "k8s:tier=gold"]),
    member("b", ["k8s:tier=gold", "k8s:app=web", "k8s:build=7"]),
    member("c", []),
    member("d", undefined),
  ];
  const packed = packSlice(members);
  expect(packed["axoneme-labels"]).toEqual(["k8s:app=web", "k8s:tier=gold", "k8s:build=7"]);
  expect(unpackSlice(packed)).toEqual(members);
});

test("what the field's own operator writes says nothing of labels", () => {
  expect(unpackSlice({ endpoints: [{ name: "a", id: 300 }] })).toEqual([member("a", undefined)]);
});

test("a label that points nowhere makes the labels unknown", () => {
  const endpoints = [{ name: "a", id: 300, "axoneme-labels": [0, 7] }];
  expect(unpackSlice({ endpoints, "axoneme-labels": ["k8s:app=web"] })).toEqual([member("a", undefined)]);
});
