import { decodeSvcFlow, encodeFlowKey, flowKeySize } from "@axoneme/abi";
import { Datapath, decoded, encoded } from "./datapath.ts";
import { dissect, mapped } from "./dissect.ts";
import { Tcp, tcp, udp } from "./packet.ts";

/**
 * One of several senders on the same maps, each in a process of its own: opens, answers and closes flows to one
 * frontend at random. Arguments: folder of the pins, device, seed, number of packets. Prints what it sent as JSON.
 */
const [pinDir = "", device = "0", seed = "1", packets = "100"] = process.argv.slice(-4);
const CLIENTS = 24;

let state = Number(seed) >>> 0;
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const dp = new Datapath("node", pinDir, false);

/** The source that a flow has now. */
function portOf(proto: number, at: { src: string; dst: string; sport: number; dport: number }) {
  const key = { saddr: mapped(at.src), daddr: mapped(at.dst), sport: at.sport, dport: at.dport, proto };
  const row = dp.map("ax_svc_flows").get(encoded(flowKeySize, encodeFlowKey, key));
  return row && decoded(decodeSvcFlow, row).natPort;
}

const counts = { forwarded: 0, refused: 0, wrong: 0 };
for (let i = 0; i < Number(packets); i++) {
  const sport = 1000 + random(CLIENTS);
  const at = { src: `192.0.2.${10 + random(4)}`, dst: "172.30.0.11", sport, dport: 30080 };
  const flags = [Tcp.SYN, Tcp.ACK, Tcp.FIN | Tcp.ACK, Tcp.RST][random(4)] ?? Tcp.SYN;
  const { verdict, out } = dp.run("node_from", random(2) ? tcp({ ...at, flags }) : udp(at), {
    ifindex: Number(device),
  });
  if (verdict !== 7) {
    counts.refused++;
    continue;
  }
  counts.forwarded++;
  const sent = dissect(out);
  const proto = sent.proto === 17 ? udp : tcp;
  const back = { src: sent.dst, dst: sent.src, sport: sent.dport ?? 0, dport: sent.sport ?? 0 };
  const answer = dp.run("node_from", proto({ ...back, flags: Tcp.ACK }), { ifindex: Number(device) });
  // Another process may have ended the flow meanwhile: then the answer is nobody's.
  if (answer.verdict !== 7) continue;
  const seen = dissect(answer.out);
  if (seen.src !== at.dst || seen.sport !== at.dport) counts.wrong++;
  const ours = seen.dst === at.src && seen.dport === at.sport;
  // Ended meanwhile and its port given to another: then the answer is that one's.
  if (!ours && portOf(sent.proto ?? 0, at) === sent.sport) counts.wrong++;
}
dp.close();
console.log(JSON.stringify(counts));
