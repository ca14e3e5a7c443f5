/** Run as a bundle by ringbuf.root.test.ts: waits on an empty ring buffer, with or without keeping the process alive. */
import { BpfMap, MapType, RingBuffer } from "../src/index.ts";

const map = BpfMap.create({
  name: "axt_wait",
  type: MapType.RINGBUF,
  keySize: 0,
  valueSize: 0,
  maxEntries: 4096,
});
const ring = RingBuffer.open(map);
ring.watch(() => ring.arm());
if (process.argv[2] === "unref") ring.unref();
console.log("waiting");
