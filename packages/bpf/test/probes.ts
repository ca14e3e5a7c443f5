/** Run as a bundle without privileges by system.root.test.ts: what probes say when the kernel refuses to tell. */
import { features } from "../src/index.ts";

console.log(JSON.stringify(features()));
