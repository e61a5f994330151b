/** Who calls: a key acting for one member of one tenant. */
import type { Role } from "../generated/prisma/enums.ts";

export interface Principal {
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string;
  readonly role: Role;
  readonly isPlatformAdmin: boolean;
}
