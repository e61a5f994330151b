import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";

/**
 * What failed waits for no pause before its next attempt: for tests of what comes after it.
 * @returns what lets it wait again
 */
export async function skipPauses(db: Database): Promise<() => Promise<void>> {
  await asOwner(
    db,
    `create or replace function skip_pause() returns trigger language plpgsql as
      $$ begin new.not_before := null; return new; end $$`,
    "create trigger skip_pause before update on generation for each row execute function skip_pause()",
  );
  return () => asOwner(db, "drop trigger skip_pause on generation");
}

async function asOwner(db: Database, ...statements: readonly string[]): Promise<void> {
  await db.transaction(asPlatform, async (tx) => {
    await tx.$executeRaw`select set_config('role', 'none', true)`;
    for (const statement of statements) await tx.$executeRawUnsafe(statement);
  });
}
