/**
 * Policies beside the rules that iptables-based engines write for the same ones: full compute, a change among many, what
 * an agent needs, what a packet costs. Usage: node dist/bench-policy.mjs [policies] [changes] [rounds], as 10000 200 101.
 */
import { buildPerf, formatTable, writeReport } from "../net/index.ts";
import { quantile } from "../services/change.ts";
import { type RateFigure, rateRatio } from "../services/rates.ts";
import { type Measure, writeSummary } from "../summary.ts";
import { type ChangeTimes, changeTimes } from "./change.ts";
import { computeFigures, computeHere } from "./compute.ts";
import { bare, type ConnectFigures, connectFigures, ours } from "./connects.ts";
import { identities, identityOf, placeOf, policyObject, policyOf } from "./model.ts";
import { PolicyNode } from "./node.ts";
import { packetCosts } from "./packets.ts";

const root = process.cwd();
const words = process.argv.slice(2);
/** Pods of the node. */
const endpoints = 100;

if (words[0] === "compute") console.log(JSON.stringify(computeHere(Number(words[1]), Number(words[2]))));
else await bench(Number(words[0] ?? 10_000), Number(words[1] ?? 200), Number(words[2] ?? 101));

async function bench(policies: number, changes: number, rounds: number): Promise<void> {
  const say = (text: string) => console.error(text);
  const measures: Measure[] = [];
  const judge = (measure: string, value: number, atMost: number, peer = ""): void => {
    measures.push({ measure, ours: value.toFixed(2), peer, value, bar: { atMost } });
  };
  buildPerf(root);

  say("full compute");
  const compute = await computeFigures(policies, endpoints, 3);
  judge(
    `${policies} policies x ${identities} identities x ${endpoints} endpoints: full compute, s`,
    compute.ms / 1000,
    2,
  );
  judge("the same, CPU s of the process", compute.cpuMs / 1000, 2);

  say("packets");
  const packets = packetCosts(policies, endpoints, rounds);
  for (const { name, one, many, ratio } of packets) {
    judge(`a new connection in ${name}, ns at ${policies} policies against one`, ratio, 1.03, one.toFixed(0));
    say(`  ${name}: ${one.toFixed(0)} ns with one policy, ${many.toFixed(0)} with ${policies}`);
  }

  say("lab");
  const node = await PolicyNode.up(root, "bench-policy");
  const report: Record<string, unknown> = { compute, packets };
  try {
    const begin = performance.now();
    await node.createIdentities(identities, (i) => ({ id: identityOf(i), place: placeOf(i) }));
    const shared = { namespace: "bench-0", app: "shared" };
    await node.createPods([{ name: "shared-0", place: shared }]);
    await node.createPolicies([policyObject({ ...policyOf(0), ...shared, name: "shared" })]);
    await node.createPolicies(Array.from({ length: policies }, (_, i) => policyObject(policyOf(i))));
    say(
      `  ${identities} identities and ${policies} policies created in ${(performance.now() - begin).toFixed(0)} ms`,
    );
    const alone = node.policyMemory();
    const half = endpoints / 2;
    await node.createPods(
      Array.from({ length: half }, (_, i) => ({ name: `shared-${i + 1}`, place: shared })),
    );
    const together = node.policyMemory();
    judge(
      `kernel memory of the policy maps, ${half + 1} endpoints of one policy against one endpoint`,
      together / alone,
      1.03,
      `${(alone / 1024).toFixed(0)} kB`,
    );
    const step = Math.floor(identities / half);
    await node.createPods(
      Array.from({ length: half }, (_, i) => ({ name: `pod-${i}`, place: placeOf(i * step) })),
    );

    say(`  ${changes} changes of each kind`);
    const place = placeOf(0);
    const times = await changeTimes(
      node,
      { pod: "pod-0", place, peer: { id: identityOf(1), place: placeOf(1) } },
      changes,
    );
    report["changes"] = times;
    const show = (name: string, { sinceAnswer, sinceRequest }: ChangeTimes) =>
      [sinceAnswer, sinceRequest].map((ms, i) => [
        name,
        i === 0 ? "since the answer, ms" : "since the request, ms",
        ...[0.5, 0.9, 0.99, 1].map((share) => quantile(ms, share).toFixed(2)),
      ]);
    console.log(
      formatTable([
        [`among ${policies} policies`, "", "p50", "p90", "p99", "max"],
        ...Object.entries(times).flatMap(([name, of]) => show(name, of)),
      ]),
    );
    say("  connections, beside rules of the packet filter");
    const connects = await connectFigures(node, { name: "pod-0", place }, 11, 0.25);
    report["connects"] = connects;
    measures.push(...rateMeasures(policies, connects));
    const theirs = connects.peers
      .map(({ name, changes: ms }) => `${name} ${quantile(ms, 0.5).toFixed(1)}`)
      .join(", ");
    for (const kind of ["added", "changed", "removed"] as const) {
      const ms = times[kind].sinceAnswer;
      const text = `${policies} policies: one ${kind}, API's answer to enforced, p50 ms`;
      judge(text, quantile(ms, 0.5), 10, kind === "changed" ? theirs : "");
      judge("the same, p99 ms", quantile(ms, 0.99), 50);
    }
    for (const kind of ["identity", "pod"] as const) {
      const ms = times[kind].sinceAnswer;
      judge(
        `${policies} policies: one ${kind} added, API's answer to the maps, p50 ms`,
        quantile(ms, 0.5),
        5,
      );
    }

    say("  an agent that starts with all of them");
    const start = await node.restartAgent();
    const memory = await node.agentMemory();
    report["start"] = start;
    report["memory"] = { agentMb: memory, alone, together };
    judge(`${policies} policies: resident memory of the agent, MB`, memory, 250);
    console.log(
      `\nstart with ${policies} policies and ${endpoints} endpoints: ${start.ms} ms, CPU ${start.cpuMs} ms; then ${memory.toFixed(0)} MB`,
    );
  } finally {
    await node.close();
  }
  console.log(`written to ${writeReport(root, "policy", report)}`);
  writeSummary(root, "policy", measures);
}

/** Connect rates as a table and as measures: ours with all policies, the peers' with a thousand. */
function rateMeasures(policies: number, { rates, peers }: ConnectFigures): Measure[] {
  const kilo = ({ rate }: RateFigure) => `${(rate / 1000).toFixed(2)}k/s`;
  const of = (name: string): RateFigure => {
    const found = rates.find(({ subject }) => subject === name);
    if (found === undefined) throw new Error(`no figure of ${name}`);
    return found;
  };
  console.log(
    `\n${formatTable([
      ["connections through policies", "", "rate", "connect p50 us", "p99 us", "to bare", "errors"],
      ...rates.map((figure) => [
        figure.subject,
        "",
        kilo(figure),
        figure.p50.toFixed(1),
        figure.p99.toFixed(1),
        rateRatio(figure, of(bare)).toFixed(3),
        String(figure.errors),
      ]),
    ])}\n`,
  );
  return peers.map(({ name }) => ({
    measure: `connections a second, ${policies} policies, against ${name} with a thousand`,
    ours: kilo(of(ours)),
    peer: kilo(of(name)),
    value: rateRatio(of(ours), of(name)),
    bar: { atLeast: 1 },
  }));
}
