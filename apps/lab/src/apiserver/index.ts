/** The embedded, Kubernetes-compatible API server of the lab. */
export { kubeletAnnotation } from "./routes/kubelet.ts";
export { ApiServer, type ApiServerOptions, type Listen } from "./server.ts";
