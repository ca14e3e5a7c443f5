import { reserved } from "@axoneme/identity";
import type { NodeClasses } from "../src/node/node-identities.ts";

/** Nodes that no rule tells apart. */
export const plainClasses: Pick<NodeClasses, "set" | "delete"> = {
  set: (_key, { entity }, apply) =>
    apply(entity === "remote-node" ? reserved.remoteNode : reserved.kubeApiserver),
  delete: () => undefined,
};
