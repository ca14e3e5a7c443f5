/**
 * The whole of undici costs 20 MB of resident memory (fetch, caches, WebSocket); the pool alone half of it.
 * Its package has no `exports` map, so the file can be named; the types are those of the whole.
 */
declare module "undici/lib/dispatcher/pool.js" {
  import { Pool } from "undici";
  export default Pool;
}

/** Makes the function that opens connections, with a cache of TLS sessions. */
declare module "undici/lib/core/connect.js" {
  import type { buildConnector } from "undici";

  const connector: (options?: buildConnector.BuildOptions) => buildConnector.connector;
  export default connector;
}
