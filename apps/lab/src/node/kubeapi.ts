import { isConflict, isNotFound, type KubeClient, resources } from "@axoneme/kube";
import type { Pod } from "kubernetes-types/core/v1";
import type { EventRecorder } from "../controllers/eventrecorder.ts";
import { nameOf, uidOf } from "../controllers/objects.ts";
import type { NodeApi } from "./context.ts";

/** The API as a node uses it. */
export function nodeApi(client: KubeClient, events: EventRecorder): NodeApi {
  const pods = client.resource(resources.pods);
  const where = (pod: Pod) => ({ namespace: pod.metadata?.namespace });
  const unlessMissing = async <T>(call: Promise<T>): Promise<T | undefined> => {
    try {
      return await call;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  return {
    // The uid in the patch makes the server refuse it for a later pod of the same name.
    updatePodStatus: async (pod, status) => {
      const patch = { metadata: { uid: uidOf(pod) }, status };
      try {
        return await unlessMissing(pods.patch(nameOf(pod), patch, { ...where(pod), subresource: "status" }));
      } catch (error) {
        if (isConflict(error)) return undefined;
        throw error;
      }
    },
    removePod: async (pod) => {
      const options = { ...where(pod), gracePeriodSeconds: 0, preconditions: { uid: uidOf(pod) } };
      try {
        await pods.deleteIfExists(nameOf(pod), options);
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
    },
    configMap: async (namespace, name) => {
      const found = await client.resource(resources.configmaps).find(name, { namespace });
      if (found === undefined) return undefined;
      return { ...found.data, ...decoded(found.binaryData) };
    },
    secret: async (namespace, name) => {
      const found = await client.resource(resources.secrets).find(name, { namespace });
      return found === undefined ? undefined : decoded(found.data);
    },
    event: (about, type, reason, message) =>
      events.record({ apiVersion: "v1", kind: "Pod", ...about }, type, reason, message),
  };
}

function decoded(data: Record<string, string> | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]),
  );
}
