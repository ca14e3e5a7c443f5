import { request } from "node:http";
import { AxonError } from "@axoneme/base";
import type { EndpointView, MapDumpView, MapName, PolicyView } from "@axoneme/observe";

/** One answer of an agent's API. */
export function ask(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, timeout: 10_000 }, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk: string) => {
        body += chunk;
      });
      answer.on("error", reject);
      answer.on("end", () => {
        if (answer.statusCode === 200) resolve(body);
        else reject(new AxonError("test.agent", `${path} answered ${answer.statusCode}: ${body}`));
      });
    });
    sent.on("timeout", () => sent.destroy(new AxonError("test.agent", `${path} did not answer in 10 s`)));
    sent.on("error", reject);
    sent.end();
  });
}

/** A flow as far as the tests read it. */
export interface SeenFlow {
  readonly verdict?: string;
  readonly drop_reason_desc?: string;
  readonly source?: { readonly pod_name?: string; readonly namespace?: string };
  readonly destination?: { readonly pod_name?: string; readonly namespace?: string };
  readonly ingress_allowed_by?: readonly { readonly name?: string; readonly kind?: string }[];
  readonly ingress_denied_by?: readonly { readonly name?: string; readonly kind?: string }[];
  readonly egress_allowed_by?: readonly { readonly name?: string; readonly kind?: string }[];
  readonly egress_denied_by?: readonly { readonly name?: string; readonly kind?: string }[];
}

/** The API of one node's agent. */
export class AgentApi {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  async json<T>(path: string): Promise<T> {
    return JSON.parse(await ask(this.#socket, path)) as T;
  }

  endpoints(): Promise<EndpointView[]> {
    return this.json("/v1/endpoints");
  }

  policies(): Promise<PolicyView[]> {
    return this.json("/v1/policy");
  }

  map(name: MapName): Promise<MapDumpView> {
    return this.json(`/v1/maps/${name}`);
  }

  /** The last flows that pass one of the filters, oldest first. */
  async flows(whitelist: readonly object[], last = 200): Promise<SeenFlow[]> {
    const query = encodeURIComponent(JSON.stringify({ number: String(last), whitelist }));
    const lines = (await ask(this.#socket, `/v1/flows?q=${query}`)).split("\n").filter((line) => line !== "");
    return lines.flatMap((line) => {
      const { flow } = JSON.parse(line) as { flow?: SeenFlow };
      return flow === undefined ? [] : [flow];
    });
  }

  /** Whether it serves pods. */
  async isReady(): Promise<boolean> {
    const answer = await ask(this.#socket, "/healthz").catch(() => "");
    return answer === "ok\n";
  }
}
