import { createHash, randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ImageStore } from "../../src/storage/image-store.ts";
import { FakeClock } from "../support/fake-clock.ts";

export interface ImageStoreUnderTest {
  readonly store: ImageStore;
  /** Makes a folder look as old as if it had been written then. */
  age(folder: string, at: Date): Promise<void>;
  close(): Promise<void>;
}

/** What every image store must do. */
export function imageStoreConformance(name: string, create: (clock: FakeClock) => Promise<ImageStoreUnderTest>): void {
  describe(`${name} is an image store`, () => {
    let clock: FakeClock;
    let subject: ImageStoreUnderTest;
    const bytes = Uint8Array.of(1, 2, 3, 4, 5);
    const newFolder = (): string => `${randomUUID()}/${randomUUID()}/${randomUUID()}`;

    beforeEach(async () => {
      clock = new FakeClock();
      subject = await create(clock);
    });
    afterEach(() => subject.close());

    test("gives back what was put, under a link that works without credentials", async () => {
      const key = `${newFolder()}/0/original.png`;
      await subject.store.put(key, bytes);
      expect(await subject.store.get(key)).toEqual(Buffer.from(bytes));
      expect(await subject.store.get(`${newFolder()}/0/original.png`)).toBeUndefined();
      const response = await fetch(subject.store.url(key, 60));
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe("image/png");
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(bytes);
    });

    test("replaces what stood under a key", async () => {
      const key = `${newFolder()}/0/w256.webp`;
      await subject.store.put(key, bytes);
      await subject.store.put(key, Uint8Array.of(9));
      expect(new Uint8Array(await (await fetch(subject.store.url(key, 60))).arrayBuffer())).toEqual(Uint8Array.of(9));
    });

    test("stores a stream, and gives one back that deleting does not cut off", async () => {
      const folder = newFolder();
      async function* source(): AsyncGenerator<Uint8Array> {
        yield bytes.subarray(0, 2);
        yield bytes.subarray(2);
      }
      await subject.store.putStream(`${folder}/sent.bin`, source());
      expect(await subject.store.get(`${folder}/sent.bin`)).toEqual(Buffer.from(bytes));
      const stream = await subject.store.getStream(`${folder}/sent.bin`);
      await subject.store.deleteFolder(folder);
      expect(await subject.store.getStream(`${folder}/sent.bin`)).toBeUndefined();
      const chunks: Uint8Array[] = [];
      expect(stream!.sizeBytes).toBe(bytes.length);
      for await (const chunk of stream!.content) chunks.push(chunk);
      expect(Buffer.concat(chunks)).toEqual(Buffer.from(bytes));
    });

    test("stores a stream of many megabytes as it is", async () => {
      const key = `${newFolder()}/sent.bin`;
      const hash = createHash("sha256");
      async function* source(): AsyncGenerator<Uint8Array> {
        for (let i = 0; i < 9; i++) {
          const chunk = Buffer.alloc(1024 * 1024 + 7, i);
          hash.update(chunk);
          yield chunk;
        }
      }
      await subject.store.putStream(key, source());
      const stored = await subject.store.get(key);
      expect(stored?.length).toBe(9 * (1024 * 1024 + 7));
      expect(createHash("sha256").update(stored!).digest("hex")).toBe(hash.digest("hex"));
    });

    test("leaves nothing of a long stream that breaks off, and throws what it threw", async () => {
      const folder = newFolder();
      async function* source(): AsyncGenerator<Uint8Array> {
        yield Buffer.alloc(9 * 1024 * 1024);
        throw new Error("cut off");
      }
      await expect(subject.store.putStream(`${folder}/sent.bin`, source())).rejects.toThrow("cut off");
      expect(await subject.store.get(`${folder}/sent.bin`)).toBeUndefined();
    });

    test("says under a link how large a picture is, without its bytes", async () => {
      const key = `${newFolder()}/0/original.png`;
      await subject.store.put(key, bytes);
      const response = await fetch(subject.store.url(key, 60), { method: "HEAD" });
      expect([response.status, response.headers.get("content-length")]).toEqual([200, "5"]);
      expect((await response.arrayBuffer()).byteLength).toBe(0);
    });

    test("keeps what stood under a key when a stream breaks off", async () => {
      const key = `${newFolder()}/sent.bin`;
      await subject.store.put(key, bytes);
      async function* source(): AsyncGenerator<Uint8Array> {
        yield Uint8Array.of(9);
        throw new Error("cut off");
      }
      await expect(subject.store.putStream(key, source())).rejects.toThrow("cut off");
      expect(await subject.store.get(key)).toEqual(Buffer.from(bytes));
    });

    test("refuses links that expired, that were made for another picture, or that were changed", async () => {
      const key = `${newFolder()}/0/original.png`;
      const other = `${newFolder()}/0/original.png`;
      await subject.store.put(key, bytes);
      await subject.store.put(other, bytes);
      const url = subject.store.url(key, 60);
      const swapped = url.replace(key, other);
      const longer = url.replace(/expires=(\d+)/, (_, seconds) => `expires=${Number(seconds) + 1000}`);
      for (const forged of [swapped, longer, url.split("?")[0]!]) expect((await fetch(forged)).status).toBe(403);
      clock.advance(61_000);
      expect((await fetch(url)).ok).toBe(false);
    });

    test("lists folders of attempts that were last written before a time", async () => {
      const [old, young] = [newFolder(), newFolder()];
      await subject.store.put(`${old}/0/original.png`, bytes);
      await subject.store.put(`${young}/0/original.png`, bytes);
      const now = new Date();
      await subject.age(old, new Date(now.getTime() - 7200_000));
      const found: string[] = [];
      for await (const folder of subject.store.listFolders(new Date(now.getTime() - 3600_000))) found.push(folder);
      expect(found).toEqual([old]);
    });

    test("lists every old folder, and none in which one file is young, however many there are", async () => {
      const [tenant, generation] = [randomUUID(), randomUUID()];
      const folders = Array.from({ length: 7 }, () => `${tenant}/${generation}/${randomUUID()}`).sort();
      for (const folder of folders)
        for (const file of ["original.png", "w256.webp", "w512.webp"])
          await subject.store.put(`${folder}/0/${file}`, bytes);
      const now = new Date();
      for (const folder of folders) await subject.age(folder, new Date(now.getTime() - 7200_000));
      await subject.store.put(`${folders[3]}/1/original.png`, bytes);
      const found: string[] = [];
      for await (const folder of subject.store.listFolders(new Date(now.getTime() - 3600_000))) found.push(folder);
      expect(found.sort()).toEqual(folders.filter((_, i) => i !== 3));
    });

    test("deletes a tenant with everything in it, while others keep theirs", async () => {
      const [gone, kept] = [randomUUID(), newFolder()];
      const keys = Array.from({ length: 5 }, () => `${gone}/${randomUUID()}/${randomUUID()}/0/original.png`);
      for (const key of [...keys, `${kept}/0/original.png`]) await subject.store.put(key, bytes);
      await subject.store.deleteFolder(gone);
      for (const key of keys) expect(await subject.store.get(key)).toBeUndefined();
      expect(await subject.store.get(`${kept}/0/original.png`)).toBeDefined();
    });

    test("deletes a folder with everything in it, and nothing else", async () => {
      const [gone, kept] = [newFolder(), newFolder()];
      for (const folder of [gone, kept]) await subject.store.put(`${folder}/0/original.png`, bytes);
      await subject.store.deleteFolder(gone);
      await subject.store.deleteFolder(gone);
      expect((await fetch(subject.store.url(`${gone}/0/original.png`, 60))).status).toBe(404);
      expect((await fetch(subject.store.url(`${kept}/0/original.png`, 60))).status).toBe(200);
    });

    test("takes no key that is not made of ids", async () => {
      for (const key of [
        "../secret.png",
        `${newFolder()}/../x.png`,
        "/etc/passwd",
        "a/b/c/d/original.png",
        `${newFolder()}/0/original.svg`,
      ]) {
        await expect(subject.store.put(key, bytes)).rejects.toThrow("is not a storage key");
      }
    });
  });
}
