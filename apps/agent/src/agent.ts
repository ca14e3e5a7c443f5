import { join } from "node:path";
import type { Lifecycle, StructuredLogger } from "@axoneme/app";
import { findCgroup2 } from "@axoneme/bpf";
import { Kernel } from "@axoneme/datapath";
import type { KubeClient } from "@axoneme/kube";
import { Netlink } from "@axoneme/netlink";
import { Composition, type Paths } from "./composition.ts";
import type { Configuration } from "./config/configuration.ts";
import { serviceConfig } from "./lb/config.ts";
import type { Meters } from "./metrics/meters.ts";
import { prepareKernel } from "./node/host-devices.ts";
import { findDevice } from "./node/local-node.ts";

/** A running agent. */
export class Agent {
  readonly #lifecycle: Lifecycle;
  readonly #kernel: Kernel;
  readonly #netlink: Netlink;
  readonly #client: KubeClient;
  /** Resolves when pods can be added; rejects when the start failed on the way. */
  readonly ready: Promise<void>;

  private constructor(
    lifecycle: Lifecycle,
    kernel: Kernel,
    netlink: Netlink,
    client: KubeClient,
    ready: Promise<void>,
  ) {
    this.#lifecycle = lifecycle;
    this.#kernel = kernel;
    this.#netlink = netlink;
    this.#client = client;
    this.ready = ready;
  }

  /**
   * Starts an agent. When this returns its sockets answer; pods are served once `ready` resolves.
   * @throws AxonError naming what the node or the configuration lacks.
   */
  static async start(
    configuration: Configuration,
    client: KubeClient,
    meters: Meters,
    log: StructuredLogger,
  ): Promise<Agent> {
    const config = configuration.running;
    const services = serviceConfig(config);
    const netlink = Netlink.open();
    const device = await findDevice(netlink, config.device);
    await prepareKernel();
    const paths: Paths = {
      objects: config.objectDir || join(import.meta.dirname, "../build/bpf"),
      cgroup: config.cgroup || findCgroup2(),
    };
    const kernel = Kernel.open(
      {
        objectDir: paths.objects,
        bpffs: config.bpffs,
        maxEntries: {
          ax_ct: config.conntrackMax,
          ax_nat: config.natMax,
          ax_svc_flows: config.lbFlowMax,
        },
      },
      log,
    );
    const givens = { config, configuration, services, log, paths, device, netlink, kernel, client, meters };
    const parts = new Composition(givens);
    const lifecycle = parts.compose();
    await lifecycle.start();
    return new Agent(lifecycle, kernel, netlink, client, parts.ready);
  }

  /** Stops serving; what is in the kernel goes on working. */
  async stop(): Promise<void> {
    await this.#lifecycle.stop();
    await this.#client.close();
    this.#netlink.close();
    this.#kernel.close();
  }
}
