/** Reasons in their public form. */
import type { Before, Reason } from "./schedule.ts";
import type { SchedulingReason } from "./schedule.type.ts";

export function toSchedulingReason(reason: Reason): SchedulingReason {
  const none = { before: null, limit: null, until: null, since: null };
  const base = { ...none, kind: reason.kind, message: messageOf(reason) };
  switch (reason.kind) {
    case "TURN":
      return { ...base, before: { ...reason.before, isEstimate: reason.isEstimate } };
    case "LIMIT":
      return { ...base, limit: { ...reason.limit, kind: "RUNNING", max: reason.limit.max ?? null } };
    case "WORKERS_BUSY":
    case "PAUSE":
    case "BATCH":
      return { ...base, until: reason.until };
    case "RUNNING":
      return { ...base, since: reason.since };
    case "NO_WORKER":
    case "TENANT_SUSPENDED":
      return base;
  }
}

function messageOf(reason: Reason): string {
  switch (reason.kind) {
    case "TURN":
      return turnMessage(reason.before, reason.isEstimate);
    case "WORKERS_BUSY":
      return `It is the next one. A worker is expected to be free at ${reason.until.toISOString()}.`;
    case "LIMIT":
      return limitMessage(reason.limit);
    case "NO_WORKER":
      return `No worker that lives serves the preset ${reason.preset}. It starts when one comes.`;
    case "PAUSE":
      return `An attempt failed. The next one comes after ${reason.until.toISOString()}.`;
    case "TENANT_SUSPENDED":
      return "Its tenant is suspended: nothing of it starts. Ask the operator of this server.";
    case "BATCH":
      return `It is of the class BATCH: others go first while they wait, until ${reason.until.toISOString()} at the latest.`;
    case "RUNNING":
      return `It runs since ${reason.since.toISOString()}.`;
  }
}

function turnMessage({ ofOtherTenants, ofOtherMembers, ofOwn }: Before, isEstimate: boolean): string {
  const parts = [
    ofOtherTenants > 0 ? [`${ofOtherTenants} of other tenants`] : [],
    ofOtherMembers > 0 ? [`${ofOtherMembers} of other members`] : [],
    ofOwn > 0 ? [`${ofOwn} of the same member`] : [],
  ].flat();
  return `${isEstimate ? "About this many start" : "These start"} before it: ${parts.join(", ")}.`;
}

const OWNERS = { TENANT: "your tenant", MEMBER: "its member", API_KEY: "its API key" } as const;

function limitMessage({ level, max }: Extract<Reason, { kind: "LIMIT" }>["limit"]): string {
  if (level === "PLATFORM") return "As much runs on this server as its operator allows at a time.";
  return `As many run as a limit of ${OWNERS[level]} allows: ${max} at a time.`;
}
