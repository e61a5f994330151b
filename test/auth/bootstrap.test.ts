import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findPrincipal } from "../../src/auth/auth.store.ts";
import { bootstrap, type Credentials } from "../../src/bootstrap.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";

describe.each(databasesHere())("the keys of a first start, in $name", ({ create }) => {
  let database: TestDatabase;
  const folders: string[] = [];
  beforeAll(async () => {
    database = await create();
  });
  afterAll(async () => {
    for (const folder of folders) rmSync(folder, { recursive: true });
    await database.close();
  });

  const start = (dataDir: string): Promise<Credentials> =>
    bootstrap({ db: database.db, quota: new QuotaService() }, { dataDir, url: "http://127.0.0.1:1" });
  const newFolder = (): string => {
    const folder = mkdtempSync(join(tmpdir(), "atelier-bootstrap-"));
    folders.push(folder);
    return folder;
  };
  const works = ({ apiKey, adminApiKey }: Credentials): Promise<boolean[]> =>
    database.db.transaction(asPlatform, async (tx) => {
      const [member, admin] = [await findPrincipal(tx, apiKey), await findPrincipal(tx, adminApiKey)];
      return [member !== undefined, admin !== undefined];
    });

  test("are those of the next one, and of one tenant whoever starts", async () => {
    const folder = newFolder();
    const others = database.db.isExclusive ? [] : [newFolder()];
    const [first] = await Promise.all([folder, ...others].map(start));
    expect(await start(folder)).toEqual(first);
    expect(await database.db.transaction(asPlatform, (tx) => tx.tenant.count())).toBe(1);
  });

  test("are made anew where their file is gone: then old ones end, unless others may have them", async () => {
    const old = await start(newFolder());
    const current = await start(newFolder());
    expect(await works(current)).toEqual([true, true]);
    const isShared = !database.db.isExclusive;
    expect(await works(old)).toEqual([isShared, isShared]);
  });
});
