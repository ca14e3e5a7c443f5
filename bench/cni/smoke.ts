/** The peer against itself: shows the noise of the method. Usage: run after the build; [pods] [rounds]. */
import { buildPerf } from "../net/index.ts";
import { cniTable, compareCni, ptpSubject } from "./ptp.ts";

const root = process.cwd();
buildPerf(root);
const peer = await ptpSubject();
try {
  const again = { ...peer.subject, name: "ptp again" };
  const count = Number(process.argv[2] ?? 20);
  const rounds = Number(process.argv[3] ?? 3);
  const comparison = await compareCni([peer.subject, again], { rounds, count });
  console.log(cniTable(comparison));
  for (const figure of comparison.figures) if (figure.firstError !== "") console.log(figure.firstError);
} finally {
  await peer.close();
}
