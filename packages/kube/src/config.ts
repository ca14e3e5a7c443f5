import { existsSync, readFileSync } from "node:fs";
import { AxonError } from "@axoneme/base";
import { bearerToken, type CredentialSource, type Material } from "./credentials.ts";
import { FileContent } from "./filewatch.ts";

/** How to reach and convince one API server. */
export interface ClusterConfig {
  /** http(s) URL, perhaps with a path prefix. */
  readonly server: string;
  /** The namespace of the context, "default" where none is named. */
  readonly namespace: string;
  /** Certificate authority, PEM; absent: the system's. */
  readonly ca?: Material;
  /** Accept any server certificate. */
  readonly insecure?: boolean;
  /** Name to check the server certificate against, in place of the URL's host. */
  readonly tlsServerName?: string;
  readonly credentials: CredentialSource;
  /** Headers of impersonation (`as`, `as-groups`, `as-uid`). */
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

/** Where Kubernetes mounts a pod's service account. */
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * The configuration of a pod: service account token (re-read as it rotates), CA and the KUBERNETES_SERVICE_*
 * variables. Throws `kube.config` outside of a pod.
 */
export function inCluster(env: NodeJS.ProcessEnv = process.env, dir = serviceAccountDir): ClusterConfig {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"];
  if (!host || !port || !existsSync(`${dir}/token`)) {
    throw new AxonError(
      "kube.config",
      `not in a pod: KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT or ${dir}/token is missing; give a kubeconfig`,
    );
  }
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    namespace: readNamespace(`${dir}/namespace`),
    ca: { file: new FileContent(`${dir}/ca.crt`) },
    credentials: bearerToken({ file: new FileContent(`${dir}/token`) }),
  };
}

function readNamespace(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8").trim() || "default" : "default";
}
