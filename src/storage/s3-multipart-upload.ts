/** One object that is sent in parts, and is there only when all of them are. */
import { type S3Client, S3Refusal } from "./s3-client.ts";
import { completionOf, elementOf } from "./s3-xml.ts";

export class S3MultipartUpload {
  private readonly etags: string[] = [];

  private constructor(
    private readonly client: S3Client,
    private readonly key: string,
    private readonly uploadId: string,
  ) {}

  static async begin(
    client: S3Client,
    key: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<S3MultipartUpload> {
    const uploadId = await client.send({ method: "POST", key, query: { uploads: "" }, headers }, async (response) => {
      const xml = await response.text();
      const found = elementOf(xml, "UploadId");
      if (found === undefined) throw S3Refusal.of(500, xml);
      return found;
    });
    return new S3MultipartUpload(client, key, uploadId);
  }

  /** Every part but the last one has 5 MiB or more, as the protocol demands. */
  async add(body: Uint8Array): Promise<void> {
    const query = { partNumber: String(this.etags.length + 1), uploadId: this.uploadId };
    const etag = await this.client.send({ method: "PUT", key: this.key, query, body }, async (response) => {
      await response.arrayBuffer();
      return response.headers.get("etag") ?? "";
    });
    this.etags.push(etag);
  }

  async complete(): Promise<void> {
    const body = Buffer.from(completionOf(this.etags));
    const request = { method: "POST", key: this.key, query: { uploadId: this.uploadId }, body } as const;
    await this.client.send(request, async (response) => {
      const xml = await response.text();
      if (xml.includes("<Error>")) throw S3Refusal.of(500, xml); // after the status was sent
    });
  }

  /** What cannot be taken away now, the bucket's rule for unfinished uploads does. */
  async abort(): Promise<void> {
    const request = { method: "DELETE", key: this.key, query: { uploadId: this.uploadId } } as const;
    await this.client.find(request, (response) => response.arrayBuffer()).catch(() => {});
  }
}
