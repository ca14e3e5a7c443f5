import type { OptionSet } from "@axoneme/app";

/** Options of pods' identities. */
export const identityOptions = {
  identityMode: {
    default: "classes",
    doc: "what makes a pod's identity. classes: the labels that policies tell pods apart by; labels: all labels that the option labels leaves, for clusters in which agents of the field are left",
    liveness: "restart",
    oneOf: ["classes", "labels"] as const,
  },
  labels: {
    default: "",
    doc: "labels that policies may look at: patterns of keys, separated by blanks, ! before one excludes; empty: all but those that differ from pod to pod by nature",
    liveness: "restart",
  },
  identityMergeDelay: {
    default: 600,
    doc: "seconds after the last policy that names a label key until pods are no longer told apart by it",
    unit: "s",
    liveness: "restart",
    min: 1,
    max: 86_400,
  },
  enableCiliumEndpointSlice: {
    default: false,
    doc: "learn of other nodes' pods from CiliumEndpointSlices wherever the operator writes them, else from CiliumEndpoints",
    liveness: "restart",
  },
} as const satisfies OptionSet;
