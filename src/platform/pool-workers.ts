/** The setting that says where workers are. */
import { z } from "zod";

/** Where workers are that this server does not start itself. */
export type PoolWorkers =
  | { readonly kind: "LIST"; readonly targets: readonly string[] }
  | { readonly kind: "DNS"; readonly host: string; readonly port: number }
  | { readonly kind: "SRV"; readonly srv: string }
  /** Without a namespace, this pod's. */
  | { readonly kind: "KUBERNETES"; readonly namespace: string | undefined; readonly service: string };

const EXPECTED =
  "Give addresses with ports, such as 10.0.0.5:50051,10.0.0.6:50051, or dns:<name>:<port>, srv:<name>, " +
  "kubernetes:<service> or kubernetes:<namespace>/<service>.";

const TARGET = /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+):(\d{1,5})$/i;
const NAME = /^[a-z0-9_.-]+$/i;
const SERVICE = /^(?:([a-z0-9-]+)\/)?([a-z0-9-]+)$/;

export const poolWorkersSchema = z
  .string()
  .optional()
  .transform((text, context): PoolWorkers | undefined => {
    if (text === undefined) return undefined;
    const found = parse(text.trim());
    if (found === undefined) context.addIssue({ code: "custom", message: EXPECTED });
    return found;
  });

function parse(text: string): PoolWorkers | undefined {
  const [, scheme, rest = ""] = /^(dns|srv|kubernetes):(.*)$/.exec(text) ?? [];
  switch (scheme) {
    case "dns": {
      const [, host, port] = TARGET.exec(rest) ?? [];
      return host === undefined || !isPort(port) ? undefined : { kind: "DNS", host, port: Number(port) };
    }
    case "srv":
      return NAME.test(rest) ? { kind: "SRV", srv: rest } : undefined;
    case "kubernetes": {
      const [, namespace, service] = SERVICE.exec(rest) ?? [];
      return service === undefined ? undefined : { kind: "KUBERNETES", namespace, service };
    }
    default: {
      const targets = text.split(",").map((target) => target.trim());
      const areTargets = targets.every((target) => isPort(TARGET.exec(target)?.[2]));
      return areTargets ? { kind: "LIST", targets: [...new Set(targets)] } : undefined;
    }
  }
}

const isPort = (text: string | undefined): boolean => Number(text) >= 1 && Number(text) <= 65_535;
