/** The embedded, Kubernetes-compatible API server of the lab. */

export { kubeletAnnotation } from "./routes/kubelet.ts";
export type { Access } from "./security/rbac.ts";
export { ApiServer, type ApiServerOptions, type Listen } from "./server.ts";
