import { formatIp, tryParseIp } from "@axoneme/base";
import { type CacheEntry, NameIndex } from "@axoneme/dns";
import { apiPath, type FqdnCacheView, type FqdnCleanView, type FqdnSelectorView } from "@axoneme/observe";
import { type ApiHandler, action, HttpError } from "../api-server.ts";
import type { EndpointManager } from "../endpoint/manager.ts";
import { findEndpoint } from "../views/endpoints.ts";
import type { Dns } from "./dns.ts";

/** What the routes of names answer from. */
export interface DnsRouteSources {
  readonly dns: Dns;
  readonly endpoints: EndpointManager;
}

/** The part of the agent API that is about DNS names. */
export function dnsRoutes(sources: DnsRouteSources): [path: string, handler: ApiHandler][] {
  const { dns } = sources;
  return [
    [apiPath.fqdnCache, ({ query }) => ({ json: cacheViews(sources, testOf(sources, query)) })],
    [
      action(apiPath.fqdnCache),
      ({ query }) => {
        const view: FqdnCleanView = { removed: dns.clean(testOf(sources, query)) };
        return { json: view };
      },
    ],
    [apiPath.fqdnNames, () => ({ json: selectorViews(dns) })],
  ];
}

/** The entries that a request is about: `match` is a name or pattern, `endpoint` a number, namespace/pod or address. */
function testOf({ endpoints }: DnsRouteSources, query: URLSearchParams): (entry: CacheEntry) => boolean {
  const pattern = query.get("match");
  const wanted = query.get("endpoint");
  const ip = query.get("ip");
  const index = new NameIndex<true>();
  try {
    if (pattern !== null) index.add({ matchPattern: pattern }, true);
  } catch (cause) {
    throw new HttpError(400, "bad_pattern", cause instanceof Error ? cause.message : String(cause));
  }
  const address = ip === null ? undefined : tryParseIp(ip);
  if (ip !== null && address === undefined) throw new HttpError(400, "bad_address", `"${ip}" is no address`);
  const text = address && formatIp(address);
  // An endpoint of another node has learned nothing here.
  const id = wanted === null ? undefined : (findEndpoint(endpoints.endpoints(), wanted)?.record.id ?? 0);
  return (entry) =>
    (pattern === null || index.matches(entry.name)) &&
    (id === undefined || entry.endpoint === id) &&
    (text === undefined || entry.ip === text);
}

function cacheViews(
  { dns, endpoints }: DnsRouteSources,
  isMeant: (entry: CacheEntry) => boolean,
): FqdnCacheView[] {
  const now = Date.now();
  const views = [...dns.names.cache.entries()].filter(isMeant).map((entry): FqdnCacheView => {
    const { pod } = endpoints.get(entry.endpoint)?.record ?? {};
    const { name, ip, ttl, endpoint, learnedAt, expiresAt, isDead } = entry;
    const identity = identityOf(dns, ip);
    return {
      endpoint,
      ...(pod ? { pod: `${pod.namespace}/${pod.name}` } : {}),
      name: name.slice(0, -1),
      ip,
      ttl,
      state: isDead || expiresAt <= now ? "kept" : "alive",
      learned: new Date(learnedAt).toISOString(),
      expires: new Date(expiresAt).toISOString(),
      ...(identity === undefined ? {} : { identity }),
    };
  });
  return views.sort((a, b) => a.endpoint - b.endpoint || compare(a.name, b.name) || compare(a.ip, b.ip));
}

function identityOf(dns: Dns, ip: string): number | undefined {
  const parsed = tryParseIp(ip);
  return parsed && dns.names.classes.classOf(parsed)?.id;
}

function selectorViews(dns: Dns): FqdnSelectorView[] {
  const views = [...dns.names.classes.selectors()].map(({ selector, names, addresses }): FqdnSelectorView => {
    const sorted = addresses.map(({ ip, id }) => ({ ip: formatIp(ip), identity: id }));
    return {
      selector,
      policies: dns.names.policiesOf(selector).sort(),
      names: names.map((name) => name.slice(0, -1)).sort(),
      identities: [...new Set(addresses.map(({ id }) => id))].sort((a, b) => a - b),
      addresses: sorted.sort((a, b) => compare(a.ip, b.ip)),
    };
  });
  return views.sort((a, b) => compare(a.selector, b.selector));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
