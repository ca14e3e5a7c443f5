import { formatIp, type Ip, ipAdd, parseIp } from "@axoneme/base";

/** Port of every Service, and of the backends that answer. */
export const servicePort = 80;
export const backendPort = 17_001;

/** One backend of a Service. */
export interface ModelBackend {
  readonly ip: string;
  readonly port: number;
}

/** One Service of the benchmark, the same for us and for the peers. */
export interface ModelService {
  readonly index: number;
  readonly namespace: string;
  readonly name: string;
  readonly clusterIp: string;
  readonly backends: readonly ModelBackend[];
}

/** Backends of each Service. */
export const backendsEach = 4;
/** One in so many Services has backends that answer; the others' are addresses of their own that nobody has. */
const answeringEvery = 8;
/** Services a namespace. */
const perNamespace = 500;
/** Most Services clients choose from: as many as axon-perf takes. */
const mostTargets = 1000;

/** Beyond what the lab gives to its own Services and to those that ask for none in particular. */
const firstClusterIp = parseIp("10.96.16.0");
const firstIdleBackend = parseIp("10.160.0.1");

const text = (ip: Ip): string => formatIp(ip);

/** Whether somebody answers behind the Service of this number. */
export function answers(index: number): boolean {
  return index % answeringEvery === 0;
}

/** Service number `index`, with `servers` behind it if it answers. */
export function serviceOf(index: number, servers: readonly string[]): ModelService {
  const idle = Array.from({ length: backendsEach }, (_, i) =>
    text(ipAdd(firstIdleBackend, BigInt(index * backendsEach + i))),
  );
  return {
    index,
    namespace: `bench-${Math.floor(index / perNamespace)}`,
    name: `svc-${index}`,
    clusterIp: text(ipAdd(firstClusterIp, BigInt(index))),
    backends: (answers(index) ? servers : idle).map((ip) => ({ ip, port: backendPort })),
  };
}

/** The first `count` Services. */
export function servicesOf(count: number, servers: readonly string[]): ModelService[] {
  return Array.from({ length: count }, (_, index) => serviceOf(index, servers));
}

/** Addresses a client chooses from among `count` Services: spread over all of them, each with somebody behind it. */
export function targetsOf(count: number): string[] {
  const all = Array.from({ length: count }, (_, index) => index).filter(answers);
  const step = Math.max(1, all.length / mostTargets);
  const chosen = Array.from(
    { length: Math.min(all.length, mostTargets) },
    (_, i) => all[Math.floor(i * step)],
  );
  return chosen.map((index) => text(ipAdd(firstClusterIp, BigInt(index ?? 0))));
}

/** Namespaces of the first `count` Services. */
export function namespacesOf(count: number): string[] {
  return Array.from({ length: Math.ceil(count / perNamespace) }, (_, i) => `bench-${i}`);
}
