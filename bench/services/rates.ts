import { type Measurement, measureClient, median, serve, tuneClient } from "../net/index.ts";
import { backendPort, servicePort } from "./model.ts";

/** Both ends on one CPU, as in the other benchmarks: the figure is what the path costs. */
const cpu = 1;
/** Other work of the machine is not to come between a client and its server. */
const realtime = true;

/** A client and servers with something between them. */
export interface RateSubject {
  readonly name: string;
  readonly clientNs: string | { readonly netns: string; readonly cgroups: readonly string[] };
  /** What the client connects to, one at random for each connection. */
  targets(): { readonly hosts: readonly string[]; readonly port: number };
}

/** Medians over the rounds of one subject. */
export interface RateFigure {
  readonly subject: string;
  /** Connections a second: connect, request, answer, close. */
  readonly rate: number;
  /** Of connect() alone, in microseconds: the first packet and its answer. */
  readonly p50: number;
  readonly p99: number;
  readonly errors: number;
  readonly rounds: readonly Measurement[];
}

/** Starts one server for each address; they live until `stop`. */
export async function startServers(
  ends: readonly { readonly netns: string; readonly ip: string }[],
): Promise<() => Promise<void>> {
  const running = await Promise.all(
    ends.map(({ netns, ip }) =>
      serve("tcp-crr", backendPort, { serverNs: netns, serverIp: ip, cpu, realtime }),
    ),
  );
  return async () => {
    await Promise.all(running.map((server) => server.stop()));
  };
}

/** The Services of a subject as targets. */
export function serviceTargets(hosts: readonly string[]): { hosts: readonly string[]; port: number } {
  return { hosts, port: servicePort };
}

const netnsOf = ({ clientNs }: RateSubject) => (typeof clientNs === "string" ? clientNs : clientNs.netns);

/** Measures the subjects in turn, every second round in the other order. */
export async function measureRates(
  subjects: readonly RateSubject[],
  rounds: number,
  seconds: number,
): Promise<RateFigure[]> {
  const all = new Map<string, Measurement[]>(subjects.map(({ name }) => [name, []]));
  for (const subject of subjects) await tuneClient(netnsOf(subject));
  for (let round = 0; round < rounds; round++) {
    for (const subject of round % 2 === 0 ? subjects : [...subjects].reverse()) {
      const { hosts, port } = subject.targets();
      const options = { clientNs: subject.clientNs, seconds, warmup: 0.05, cpu, realtime };
      all.get(subject.name)?.push(await measureClient("tcp-crr", hosts, port, options));
    }
  }
  return [...all].map(([subject, measured]) => ({
    subject,
    rate: median(measured.map(({ opsPerSecond }) => opsPerSecond)),
    p50: median(measured.map(({ connectUs }) => connectUs?.p50 ?? Number.NaN)),
    p99: median(measured.map(({ connectUs }) => connectUs?.p99 ?? Number.NaN)),
    errors: measured.reduce((sum, { errors }) => sum + errors, 0),
    rounds: measured,
  }));
}

/** Median over the rounds of one subject's rate against another's in the same round. */
export function rateRatio(ours: RateFigure, theirs: RateFigure): number {
  return median(
    ours.rounds.map((own, i) => own.opsPerSecond / (theirs.rounds[i]?.opsPerSecond ?? Number.NaN)),
  );
}

/** The same of the latency of connect(): its median, or what one in a hundred exceeds. */
export function latencyRatio(ours: RateFigure, theirs: RateFigure, which: "p50" | "p99"): number {
  return median(
    ours.rounds.map(
      (own, i) =>
        (own.connectUs?.[which] ?? Number.NaN) / (theirs.rounds[i]?.connectUs?.[which] ?? Number.NaN),
    ),
  );
}
