export type { CallWatch, CallWatcher } from "./call-watch.ts";
export {
  checkTls,
  TlsFileSource,
  type TlsFiles,
  TlsHolder,
  type TlsMaterial,
  type TlsSource,
  tlsOfSecret,
} from "./certificates.ts";
export { type ClientOptions, type ClientTls, Connection, parseTarget, type Target } from "./client.ts";
export { FrameBatch, FrameReader, framed } from "./frames.ts";
export type { KeepAlive } from "./keepalive.ts";
export { type Handler, type Methods, RpcServer, type ServerOptions } from "./server.ts";
export type { ServerCall } from "./server-call.ts";
export { GrpcError, grpcCode } from "./status.ts";
