import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  type Action,
  authorize,
  authorizePlatform,
  effectiveScopes,
  may,
  mayForAll,
  RULES,
  reaches,
} from "../../src/auth/authorization.ts";
import { Role } from "../../src/generated/prisma/enums.ts";
import { newId } from "../../src/platform/ids.ts";
import { principalFor } from "../support/principals.ts";

const OWN = { tenantId: newId(), userId: newId() };
const COLLEAGUES = { ...OWN, userId: newId() };
const ACTIONS = Object.keys(RULES) as Action[];

test.each(Object.values(Role))("%s may do to things of others only what it may do to its own", (role) => {
  const principal = principalFor({ ...OWN, role });
  for (const action of ACTIONS)
    if (may(principal, action, COLLEAGUES)) expect(may(principal, action, OWN), action).toBe(true);
});

test("nobody may do anything to another tenant's things, not even to those that they made there", () => {
  const owner = principalFor({ ...OWN, role: "OWNER", isPlatformAdmin: true });
  for (const action of ACTIONS) expect(may(owner, action, { ...OWN, tenantId: newId() }), action).toBe(false);
});

test("a key does what both its role and its scopes allow, and is told which scope it lacks", () => {
  const key = principalFor({ ...OWN, apiKeyId: newId(), role: "OWNER", scopes: ["GENERATION_READ"] });
  expect(ACTIONS.filter((action) => may(key, action, OWN))).toEqual(["generation:read", "deadLetter:read"]);
  expect(mayForAll(key, "generation:read")).toBe(true);
  expect(() => authorize(key, "generation:create")).toThrow(/lacks the scope GENERATION_WRITE/);
  const viewer = principalFor({ ...OWN, role: "VIEWER", scopes: ["GENERATION_WRITE"] });
  expect(() => authorize(viewer, "generation:create")).toThrow(/role VIEWER does not allow generation:create/);
});

test("a suspended tenant's members read what they could read, and change nothing", () => {
  for (const role of Object.values(Role)) {
    const active = principalFor({ ...OWN, role });
    const suspended = principalFor({ ...OWN, role, isSuspended: true });
    for (const action of ACTIONS)
      expect(may(suspended, action, OWN), action).toBe(may(active, action, OWN) && RULES[action].reads);
  }
  const owner = principalFor({ ...OWN, role: "OWNER", isSuspended: true });
  expect(() => authorize(owner, "generation:cancel")).toThrow(expect.objectContaining({ code: "TENANT_SUSPENDED" }));
});

test("only administrators of the platform, with the scope for it, act on the platform", () => {
  const owner = principalFor({ ...OWN, role: "OWNER" });
  expect(() => authorizePlatform(owner)).toThrow(/Only administrators of the platform/);
  expect(() => authorizePlatform({ ...owner, isPlatformAdmin: true, scopes: ["AUDIT_READ"] })).toThrow(
    /lacks the scope PLATFORM_ADMIN/,
  );
  expect(() => authorizePlatform({ ...owner, isPlatformAdmin: true, isSuspended: true })).not.toThrow();
});

test("the effective scopes are those that the role has a use for, as far as the key has them", () => {
  expect(effectiveScopes(principalFor({ ...OWN, role: "VIEWER" }))).toEqual(
    expect.arrayContaining(["GENERATION_READ", "KEY_ADMIN"]),
  );
  expect(effectiveScopes(principalFor({ ...OWN, role: "VIEWER" }))).not.toContain("MEMBER_ADMIN");
  const key = principalFor({ ...OWN, role: "OWNER", isPlatformAdmin: true, scopes: ["AUDIT_READ", "PLATFORM_ADMIN"] });
  expect(effectiveScopes(key)).toEqual(["AUDIT_READ", "PLATFORM_ADMIN"]);
});

test("a role reaches itself and those below it", () => {
  expect(reaches("ADMIN", "ADMIN")).toBe(true);
  expect(reaches("ADMIN", "VIEWER")).toBe(true);
  expect(reaches("ADMIN", "OWNER")).toBe(false);
});

test("the table in docs/tenancy.md has exactly the rules of the code", () => {
  const rows = ACTIONS.map((action) => {
    const cells = Object.values(Role).map((role) => {
      const principal = principalFor({ ...OWN, role });
      if (may(principal, action, COLLEAGUES)) return "all";
      return may(principal, action, OWN) ? "own" : "";
    });
    const { scope, reads } = RULES[action];
    const row = [`\`${action}\``, scope, ...cells, reads ? "yes" : ""];
    return `|${row.map((cell) => (cell === "" ? " " : ` ${cell} `)).join("|")}|`;
  });
  const table = readFileSync("docs/tenancy.md", "utf8")
    .split("\n")
    .filter((line) => /^\| `\w+:/.test(line));
  expect(table).toEqual(rows);
});
