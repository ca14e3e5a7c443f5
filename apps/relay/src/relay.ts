import { hostname } from "node:os";
import type { Logger } from "@axoneme/base";
import type { TlsSource } from "@axoneme/grpc";
import { inCluster, KubeClient, loadKubeconfig } from "@axoneme/kube";
import { type Relay, startRelay, type WatchedPeers, watchPeers } from "@axoneme/observe";
import { hubbleSecrets } from "@axoneme/pki";
import { Registry } from "prom-client";
import { certificates } from "./certificates.ts";
import { kubePeers } from "./kube-peers.ts";
import { listen } from "./listener.ts";
import { registerMetrics } from "./metrics.ts";
import type { RelayConfig } from "./options.ts";

/** A relay as a program: where its nodes, certificates and listeners come from. */
export class RelayProcess {
  readonly #config: RelayConfig;
  readonly #version: string;
  readonly #log: Logger;
  readonly #stops: (() => Promise<void> | void)[] = [];
  #client: KubeClient | undefined;

  constructor(config: RelayConfig, version: string, log: Logger) {
    this.#config = config;
    this.#version = version;
    this.#log = log;
  }

  /**
   * Starts serving. Nodes, certificates and the API may be missing: they are waited for.
   * @throws AxonError naming what in the configuration cannot work
   */
  async start(): Promise<void> {
    const { socketPath, metricsAddress, disableClientTls, nodeName, mergeWaitMs } = this.#config;
    const clientTls = disableClientTls ? undefined : this.#clientTls();
    const peers = await this.#peers();
    const registry = new Registry();
    const relay = await startRelay({
      peers,
      clientTls,
      version: this.#version,
      nodeName: nodeName || hostname(),
      log: this.#log,
      times: { liveMs: mergeWaitMs },
      registry,
    });
    this.#stops.push(() => relay.stop());
    if (socketPath !== "") await relay.listenUnix(socketPath);
    if (metricsAddress !== "") {
      registerMetrics(registry, relay, peers);
      const server = await listen(metricsAddress, relay, peers, registry);
      this.#stops.push(() => void server.close());
    }
    await this.#listenTcp(relay);
  }

  /** Ends what was started, last first. */
  async stop(): Promise<void> {
    for (let stop = this.#stops.pop(); stop !== undefined; stop = this.#stops.pop()) await stop();
    await this.#client?.close();
  }

  async #peers(): Promise<WatchedPeers> {
    const { peerService, clusterName, peerPort, disableClientTls } = this.#config;
    const peers =
      peerService === "kubernetes"
        ? kubePeers(this.#kube(), { clusterName, port: peerPort, isTls: !disableClientTls }, this.#log)
        : await watchPeers(peerService, this.#log);
    this.#stops.push(() => peers.stop());
    return peers;
  }

  #clientTls(): TlsSource {
    const { clientTlsCert, clientTlsKey, clientTlsCa, tlsSecretNamespace: namespace } = this.#config;
    return this.#certificates({
      option: "clientTls",
      files: { cert: clientTlsCert, key: clientTlsKey, ca: clientTlsCa },
      secret: { namespace, name: hubbleSecrets.relayClient },
    });
  }

  #certificates(options: Pick<Parameters<typeof certificates>[0], "option" | "files" | "secret">): TlsSource {
    const source = certificates({ ...options, client: () => this.#kube(), log: this.#log });
    this.#stops.push(() => source.stop());
    return source;
  }

  async #listenTcp(relay: Relay): Promise<void> {
    const { listenAddress, disableServerTls, tlsSecretNamespace: namespace } = this.#config;
    if (listenAddress === "") return;
    if (disableServerTls) {
      await relay.listenTcp(listenAddress, undefined);
      return;
    }
    const { serverTlsCert, serverTlsKey, serverTlsClientCa } = this.#config;
    const tls = this.#certificates({
      option: "serverTls",
      files: { cert: serverTlsCert, key: serverTlsKey, ca: serverTlsClientCa },
      secret: { namespace, name: hubbleSecrets.relayServer },
    });
    if (tls.current !== undefined) {
      await relay.listenTcp(listenAddress, tls);
      return;
    }
    // The socket serves meanwhile.
    this.#log.info({ why: tls.problem, address: listenAddress }, "waiting for certificates of the listener");
    tls.changes.once(() => {
      relay.listenTcp(listenAddress, tls).catch((error: unknown) => {
        this.#log.error({ err: error, address: listenAddress }, "flows are not served over TCP");
      });
    });
  }

  #kube(): KubeClient {
    const { kubeconfig } = this.#config;
    this.#client ??= new KubeClient(kubeconfig === "" ? inCluster() : loadKubeconfig({ path: kubeconfig }));
    return this.#client;
  }
}
