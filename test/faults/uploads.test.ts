import { readdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, inject, test } from "vitest";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { until } from "../support/until.ts";
import { createUpload, finishUpload, send, sha256Of, startSending } from "../support/uploads.ts";

test("a server killed between sending and finishing has lost nothing that was sent, and takes files again", async () => {
  const folder = temporaryFolder(inject("templateData"));
  let server = await ServerProcess.start(folder.path);
  const bytes = await sharp({ create: { width: 32, height: 32, channels: 3, background: "red" } })
    .png()
    .toBuffer();
  const sent = await createUpload(server.client, "PICTURE");
  expect((await send(sent, bytes)).status).toBe(204);
  const half = await createUpload(server.client, "PICTURE");
  const socket = startSending(half, 1000);
  await until(() => expect(storedFiles(folder.path)).toHaveLength(2));
  await server.end("SIGKILL");
  socket.destroy();

  server = await ServerProcess.start(folder.path);
  const { client } = server;
  expect((await finishUpload(client, sent.uploadId, sha256Of(bytes))).upload).toMatchObject({ status: "READY" });
  expect((await finishUpload(client, half.uploadId, sha256Of(bytes))).userErrors[0].message).toContain(
    "No file was sent",
  );
  const url = half.url.replace(/^http:\/\/[^/]*/, new URL(client.url).origin); // the system chose another port
  expect((await send({ ...half, url }, bytes)).status).toBe(204);
  expect((await finishUpload(client, half.uploadId, sha256Of(bytes))).upload).toMatchObject({ status: "READY" });
  await server.end("SIGTERM");
  folder.remove();
});

const storedFiles = (dataDir: string): readonly string[] =>
  readdirSync(join(dataDir, "images"), { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [entry.name] : [],
  );
