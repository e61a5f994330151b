/** What little XML the S3 protocol needs. Names stay as they were escaped, so that they can be sent back. */

export interface ListedObject {
  readonly key: string;
  readonly lastModified: Date;
}

export interface ListedPage {
  readonly objects: readonly ListedObject[];
  /** Names the next page; undefined on the last one. */
  readonly next: string | undefined;
}

/** Text of the first element of that name. */
export const elementOf = (xml: string, name: string): string | undefined =>
  new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];

export function listedPageOf(xml: string): ListedPage {
  const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, content = ""]) => ({
    key: elementOf(content, "Key") ?? "",
    lastModified: new Date(elementOf(content, "LastModified") ?? ""),
  }));
  const isLast = elementOf(xml, "IsTruncated") !== "true";
  return { objects, next: isLast ? undefined : unescaped(elementOf(xml, "NextContinuationToken")) };
}

/** Body of a request that deletes these; keys escaped. */
export const deletionOf = (keys: readonly string[]): string =>
  `<Delete><Quiet>true</Quiet>${keys.map((key) => `<Object><Key>${key}</Key></Object>`).join("")}</Delete>`;

/** Body of a request that joins parts, which are told by their ETags. */
export const completionOf = (etags: readonly string[]): string => {
  const parts = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escaped(etag)}</ETag></Part>`);
  return `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
};

const ENTITIES = { "&quot;": '"', "&apos;": "'", "&lt;": "<", "&gt;": ">", "&amp;": "&" } as const;

function unescaped(text: string | undefined): string | undefined {
  return text?.replace(/&(quot|apos|lt|gt|amp);/g, (entity) => ENTITIES[entity as keyof typeof ENTITIES]);
}

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
