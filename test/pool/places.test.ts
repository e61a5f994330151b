import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { DnsPlaces, type NameResolver } from "../../src/pool/dns-places.ts";
import { EndpointSlices } from "../../src/pool/endpoint-slices.ts";
import { KubernetesApi } from "../../src/pool/kubernetes-api.ts";
import type { PlaceSource } from "../../src/pool/remote-workers.ts";
import { FakeKubernetes, type FakePod } from "../support/fake-kubernetes.ts";

const logger = pino({ level: "silent" });

/** What a source tells, one after the other; resolves when it has told that often. */
async function listen(source: PlaceSource) {
  const told: string[][] = [];
  let wake: () => void = () => {};
  await source.start((places) => {
    told.push(places.map(({ name, target, serverName }) => [name, target, serverName].join(" ").trim()));
    wake();
  });
  onTestFinished(() => source.stop());
  return async (times: number): Promise<string[]> => {
    while (told.length < times) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return told[times - 1]!;
  };
}

describe("a name in the DNS", () => {
  /** Answers what is next, and from then on the last one. */
  const resolverOf = (answers: (readonly string[] | string)[]): NameResolver => ({
    async addresses() {
      const answer = answers.length > 1 ? answers.shift()! : answers[0]!;
      if (typeof answer === "string") throw Object.assign(new Error("as the test says"), { code: answer });
      return answer;
    },
    services: async () => [{ name: "worker-7.example.org", port: 6000 }],
  });
  const placesOf = (...answers: (readonly string[] | string)[]) =>
    listen(
      new DnsPlaces({
        name: { host: "inference", port: 50051 },
        resolver: resolverOf(answers),
        logger,
        intervalMs: 1,
      }),
    );

  test("stands for each of its addresses, which certificates bear by its name", async () => {
    const told = await placesOf(["10.0.0.1", "2001:db8::1"], ["10.0.0.2"]);
    expect(await told(1)).toEqual([
      "10.0.0.1:50051 10.0.0.1:50051 inference",
      "[2001:db8::1]:50051 [2001:db8::1]:50051 inference",
    ]);
    expect(await told(2)).toEqual(["10.0.0.2:50051 10.0.0.2:50051 inference"]);
  });

  test("stands for nothing when it is not there, and for what it did while nobody can tell", async () => {
    const told = await placesOf(["10.0.0.1"], "EAI_AGAIN", "ETIMEOUT", "ENOTFOUND");
    expect(await told(1)).toHaveLength(1);
    expect(await told(2)).toEqual([]);
  });

  test("of services has a port for each", async () => {
    const resolver = resolverOf([]);
    const told = await listen(new DnsPlaces({ name: { srv: "_grpc._tcp.inference" }, resolver, logger }));
    expect(await told(1)).toEqual(["worker-7.example.org:6000 worker-7.example.org:6000"]);
  });
});

describe("a Kubernetes service", () => {
  const pod = (number: number): FakePod => ({ name: `inference-${number}`, address: `10.0.0.${number}`, port: 50051 });
  const placeOf = (number: number) => `inference-${number} 10.0.0.${number}:50051 inference.atelier.svc`;

  async function setup() {
    const api = await FakeKubernetes.start([pod(1)]);
    onTestFinished(() => api.stop());
    const kubernetes = new KubernetesApi({ url: api.url, accountFolder: undefined });
    const slices = new EndpointSlices({
      api: kubernetes,
      namespace: "atelier",
      service: "inference",
      port: "grpc",
      logger,
    });
    const told = await listen(slices);
    await api.hasAnswered(2);
    return { api, told };
  }
  const versionsOf = (api: FakeKubernetes): (string | null)[] =>
    api.asked.map((path) => new URL(path, "http://api").searchParams.get("resourceVersion"));

  test("is listed once, and then watched", async () => {
    const { api, told } = await setup();
    expect(await told(1)).toEqual([placeOf(1)]);
    api.change([pod(1), pod(2)]);
    expect(await told(2)).toEqual([placeOf(1), placeOf(2)]);
    api.change([]);
    expect(await told(3)).toEqual([]);
    expect(versionsOf(api)).toEqual([null, "100"]);
  });

  test("is watched on from the version that was seen last, bookmarks included", async () => {
    const { api, told } = await setup();
    api.change([pod(2)]);
    await told(2);
    api.endWatches();
    await api.hasAnswered(3);
    api.bookmark();
    api.endWatches();
    await api.hasAnswered(4);
    expect(versionsOf(api)).toEqual([null, "100", "101", "102"]);
  });

  test.each(["in the watch", "instead of a watch"])(
    "is listed again when what was seen is too old, as is said %s",
    async (how) => {
      const { api, told } = await setup();
      api.change([pod(3)], { isTold: false });
      if (how === "in the watch") api.expire();
      else {
        api.refusal = 410;
        api.endWatches();
      }
      expect(await told(2)).toEqual([placeOf(3)]);
      expect(versionsOf(api).slice(-1)).not.toEqual(["100"]);
    },
  );

  test("keeps its places while the API server fails", async () => {
    const { api, told } = await setup();
    api.refusal = 500;
    api.endWatches();
    await api.hasAnswered(3);
    await api.hasAnswered(4);
    api.change([pod(1), pod(4)]);
    expect(await told(2)).toEqual([placeOf(1), placeOf(4)]);
  });
});
