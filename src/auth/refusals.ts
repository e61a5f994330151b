/** To callers that were known. Close frames of sockets hold 123 bytes. */
import type { Refusal } from "./auth.store.ts";

export const REFUSALS: Record<Refusal, string> = {
  REVOKED: "This API key was revoked. Ask an administrator of your tenant for a new one.",
  EXPIRED: "This API key has expired. Ask an administrator of your tenant for a new one.",
  REMOVED: "You are no longer a member of this tenant. Ask its administrators.",
};
